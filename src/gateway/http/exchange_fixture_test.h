/* For tests of what stands behind an exchange: one exchange with a request of the test's own, and
 * stand-ins for the calls of exchange.h, which note what they are given. Included once by a test;
 * each test begins with fixture_begin. */
#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "gateway/core/generation.h"
#include "gateway/http/bump.h"
#include "gateway/http/exchange.h"
#include "gateway/http/match.h"

static struct {
    struct bump_store *store;
    struct exchange exchange;
    struct client_base client;
    struct worker worker;
    struct plan_listener plan;
    struct listener listener;
    struct site site;
    struct site_host host;
    struct field fields[32];
    /* What was answered. */
    uint16_t status;
    char head[1024]; /* "Name: value\n" … */
    enum body_kind body_kind;
    uint64_t body_length;
    char body[1024];
    size_t body_bytes;
    bool last;
    bool failed; /* by exchange_fail */
    int released;
    ssize_t room; /* bytes that respond and write take, -errno: what they give */
} fixture;

static struct slice text_slice(const char *text)
{
    return (struct slice){text, (uint32_t)strlen(text)};
}

static void fixture_end(void)
{
    if (fixture.exchange.arena)
        bump_free(fixture.exchange.arena);
    bump_store_free(fixture.store);
    match_free(fixture.plan.match);
    memset(&fixture, 0, sizeof fixture);
}

/* The route is the site's only one, and the exchange's. */
static struct exchange *fixture_begin(const struct route *route, const char *host,
                                      const char *target)
{
    static const char *const any[] = {"*", NULL};
    fixture_end();
    fixture.store = bump_store_new(4);
    fixture.host = (struct site_host){.names = any, .routes = route, .route_count = 1};
    fixture.site = (struct site){.hosts = &fixture.host, .host_count = 1};
    fixture.listener = (struct listener){.site = &fixture.site, .port = 8080, .text = "tcp:8080"};
    fixture.plan.listener = &fixture.listener;
    char why[128] = "";
    if (match_new(&fixture.site, &fixture.plan.match, why, sizeof why))
        fail_msg("%s", why);
    fixture.client = (struct client_base){.plan = &fixture.plan, .worker = &fixture.worker};
    fixture.client.peer.v4 = (struct sockaddr_in){.sin_family = AF_INET};
    inet_pton(AF_INET, "192.0.2.7", &fixture.client.peer.v4.sin_addr);
    fixture.room = sizeof fixture.body;
    struct exchange *exchange = &fixture.exchange;
    *exchange = (struct exchange){
        .client = &fixture.client,
        .worker = &fixture.worker,
        .route = route,
        .arena = bump_new(fixture.store, EXCHANGE_ARENA_BYTES_MAX),
        .request = {.method = METHOD_GET,
                    .method_name = SLICE("GET"),
                    .host = text_slice(host),
                    .target = text_slice(target),
                    .version_minor = 1,
                    .fields = fixture.fields},
    };
    for (int i = 0; i < 10; i++)
        exchange->captures[i] = SLICE("");
    const char *mark = strchr(target, '?');
    size_t path = mark ? (size_t)(mark - target) : strlen(target);
    exchange->request.path = (struct slice){target, (uint32_t)path};
    exchange->request.query = text_slice(mark ? mark + 1 : "");
    exchange->request.has_query = mark;
    return exchange;
}

static void fixture_field(const char *name, const char *value)
{
    struct head *request = &fixture.exchange.request;
    struct field *field = &fixture.fields[request->field_count++];
    *field = (struct field){.name = text_slice(name), .value = text_slice(value)};
    field->id = (uint8_t)field_id_of(field->name);
    if (!request->first[field->id])
        request->first[field->id] = (uint16_t)request->field_count;
}

/* ---- stand-ins ------------------------------------------------------------------------------ */

uint64_t worker_now_us(struct worker *worker)
{
    (void)worker;
    return 7000000;
}

const char *exchange_request_id(struct exchange *exchange)
{
    (void)exchange;
    return "4711";
}

void exchange_fail(struct exchange *exchange, uint16_t status, enum exchange_blame blame,
                   const char *why)
{
    (void)exchange, (void)blame, (void)why;
    fixture.failed = true;
    fixture.status = status;
}

void exchange_release(struct exchange *exchange)
{
    (void)exchange;
    fixture.released++;
}

static ssize_t fixture_take(const char *bytes, size_t length, bool last)
{
    if (fixture.room < 0)
        return fixture.room;
    size_t taken = length < (size_t)fixture.room ? length : (size_t)fixture.room;
    if (taken)
        memcpy(fixture.body + fixture.body_bytes, bytes, taken);
    fixture.body_bytes += taken;
    fixture.last = last && taken == length;
    return (ssize_t)taken;
}

ssize_t exchange_respond(struct exchange *exchange, const struct response_head *head,
                         const char *bytes, size_t length, bool last)
{
    (void)exchange;
    fixture.status = head->status;
    fixture.body_kind = head->body;
    fixture.body_length = head->body_length;
    size_t at = 0;
    for (uint32_t i = 0; i < head->field_count && at < sizeof fixture.head; i++)
        at += (size_t)snprintf(fixture.head + at, sizeof fixture.head - at, "%.*s: %.*s\n",
                               (int)head->fields[i].name.length, head->fields[i].name.bytes,
                               (int)head->fields[i].value.length, head->fields[i].value.bytes);
    return fixture_take(bytes, length, last);
}

ssize_t exchange_write(struct exchange *exchange, const char *bytes, size_t length, bool last)
{
    (void)exchange;
    return fixture_take(bytes, length, last);
}
