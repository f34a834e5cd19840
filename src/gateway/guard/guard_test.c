/* Requests before guards: a worker, a client and an instance, by a clock that the test moves. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/guard/guard.h"
#include "gateway/http/h1_rig.h"

#define GET  "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define OK_2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static struct guard guards[4];

static void assert_has(const struct rig *rig, const char *text)
{
    if (!strstr(rig->text, text))
        fail_msg("no “%s” in: %s", text, rig->text);
}

static void guarded_by(struct rig *rig, size_t count)
{
    rig->route.guards = guards;
    rig->route.guard_count = count;
}

static void served(struct rig *rig, int client, int *origin, const char *request)
{
    rig_say(rig, client, request);
    if (*origin < 0)
        *origin = rig_origin(rig, 1);
    rig_hear(rig, *origin, "\r\n\r\n");
    rig_say(rig, *origin, OK_2);
    rig_hear(rig, client, "ok");
    assert_has(rig, "HTTP/1.1 200 ");
}

static void refused(struct rig *rig, int client, const char *request, const char *status)
{
    char line[32];
    snprintf(line, sizeof line, "HTTP/1.1 %s ", status);
    rig_say(rig, client, request);
    rig_hear(rig, client, "request: ");
    assert_has(rig, line);
}

/* RST. */
static void reset(int fd)
{
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(fd);
}

/* ---- limits --------------------------------------------------------------------------------- */

static struct guard_limit limit;

static void limited(struct rig *rig, enum guard_kind kind, uint64_t identity)
{
    guards[0] = (struct guard){.kind = kind, .text = "limit 2/s", .limit = &limit};
    limit.identity = identity;
    limit.status = 429;
    guarded_by(rig, 1);
}

static void too_many_are_told_when_to_come_again(void **state)
{
    struct rig *rig = *state;
    limit = (struct guard_limit){.interval_ns = 2500000000, .burst = 2};
    limited(rig, GUARD_RATE, 1);
    rig_start(rig, 1);
    int client = rig_client(rig), origin = -1;
    served(rig, client, &origin, GET);
    served(rig, client, &origin, GET);
    refused(rig, client, GET, "429");
    assert_has(rig, "Retry-After: 3\r\n");
    assert_has(rig, "Cache-Control: no-store\r\n");
    rig_pass(rig, 2400);
    refused(rig, client, GET, "429");
    assert_has(rig, "Retry-After: 1\r\n");
    rig_pass(rig, 100);
    served(rig, client, &origin, GET);
    refused(rig, client, GET, "429");
    assert_int_equal(rig->plan_tally->guarded[GUARD_RATE], 3);
    assert_int_equal(rig->plan_tally->refused, 3);
    assert_int_equal(tally_traffic(rig->tally, 0, TALLY_ROUTE, 0)->guarded[GUARD_RATE], 3);
    close(client);
    close(origin);
}

static void keys_have_limits_of_their_own(void **state)
{
    struct rig *rig = *state;
    limit = (struct guard_limit){.interval_ns = 1000000000, .burst = 1, .key = "${header.K}"};
    limited(rig, GUARD_RATE, 2);
    rig_start(rig, 1);
    int client = rig_client(rig), origin = -1;
    served(rig, client, &origin, "GET / HTTP/1.1\r\nHost: a\r\nK: x\r\n\r\n");
    refused(rig, client, "GET / HTTP/1.1\r\nHost: a\r\nK: x\r\n\r\n", "429");
    served(rig, client, &origin, "GET / HTTP/1.1\r\nHost: a\r\nK: y\r\n\r\n");
    served(rig, client, &origin, GET);
    refused(rig, client, GET, "429"); /* those that say nothing are one */
    close(client);
    close(origin);
}

static void so_many_may_be_under_way(void **state)
{
    struct rig *rig = *state;
    limit = (struct guard_limit){.requests = 2};
    limited(rig, GUARD_REQUESTS, 3);
    rig_start(rig, 1);
    int clients[3] = {rig_client(rig), rig_client(rig), rig_client(rig)}, origins[2];
    for (int i = 0; i < 2; i++) {
        rig_say(rig, clients[i], GET);
        origins[i] = rig_origin(rig, 1);
        rig_hear(rig, origins[i], "\r\n\r\n");
    }
    refused(rig, clients[2], GET, "429");
    assert_has(rig, "Retry-After: 1\r\n");
    rig_say(rig, origins[0], OK_2);
    rig_hear(rig, clients[0], "ok");
    served(rig, clients[2], &origins[0], GET);
    reset(clients[1]); /* while its request is under way */
    rig_turns(rig);
    int further = -1;
    served(rig, clients[2], &origins[0], GET);
    rig_say(rig, clients[0], GET);
    rig_say(rig, clients[2], GET);
    rig_hear(rig, origins[0], "\r\n\r\n");
    further = rig_origin(rig, 1);
    rig_hear(rig, further, "\r\n\r\n");
    rig_say(rig, further, OK_2);
    rig_say(rig, origins[0], OK_2);
    rig_hear(rig, clients[0], "ok");
    rig_hear(rig, clients[2], "ok");
    close(clients[0]);
    close(clients[2]);
    close(further);
    close(origins[0]);
    close(origins[1]);
}

/* ---- addresses ------------------------------------------------------------------------------ */

static void who_is_not_allowed_is_refused(void **state)
{
    static const struct access_segment segments[] = {
        {.verdict = ACCESS_DENY},
        {.from = {[10] = 0xff, [11] = 0xff, [12] = 192}, .verdict = ACCESS_ALLOW},
        {.from = {[10] = 0xff, [11] = 0xff, [12] = 193}, .verdict = ACCESS_DENY}};
    static const struct access_list list = {.segments = segments, .count = 3};
    static const struct network loopback = {.address = {[10] = 0xff, [11] = 0xff, [12] = 127},
                                            .length = 104};
    struct rig *rig = *state;
    guards[0] = (struct guard){.kind = GUARD_ACCESS, .text = "deny", .access = &list};
    guarded_by(rig, 1);
    rig->site.trusted = &loopback;
    rig->site.trusted_count = 1;
    rig_start(rig, 1);
    int client = rig_client(rig), origin = -1;
    refused(rig, client, GET, "403");
    served(rig, client, &origin, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n");
    refused(rig, client, "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 193.0.2.1\r\n\r\n", "403");
    assert_int_equal(rig->plan_tally->guarded[GUARD_ACCESS], 2);
    close(client);
    close(origin);
}

/* ---- cors ----------------------------------------------------------------------------------- */

static const char *const origins[] = {"https://a.example", "https://*.b.example", NULL};
static struct guard_cors cors;

static void cors_start(struct rig *rig)
{
    cors.origins = origins;
    cors.methods = "GET, PUT";
    cors.max_age = "600";
    guards[0] = (struct guard){.kind = GUARD_CORS, .text = "cors", .cors = &cors};
    limit = (struct guard_limit){
        .identity = limit.identity, .interval_ns = 1000000000, .burst = 1, .status = 429};
    guards[1] = (struct guard){.kind = GUARD_RATE, .text = "limit", .limit = &limit};
    guarded_by(rig, 2);
    rig_start(rig, 1);
}

static void preflight(struct rig *rig, int client, const char *origin)
{
    char request[512];
    snprintf(request, sizeof request,
             "OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: %s\r\nAccess-Control-Request-Method: PUT\r\n"
             "Access-Control-Request-Headers: x-one, x-two\r\n\r\n",
             origin);
    rig_say(rig, client, request);
    rig_hear(rig, client, "\r\n\r\n");
}

static void assert_lacks(const struct rig *rig, const char *text)
{
    if (strcasestr(rig->text, text))
        fail_msg("“%s” in: %s", text, rig->text);
}

static void preflights_are_answered(void **state)
{
    struct rig *rig = *state;
    cors = (struct guard_cors){.credentials = true};
    limit.identity = 10;
    cors_start(rig);
    int client = rig_client(rig);
    for (int i = 0; i < 3; i++) { /* no other guard is asked */
        preflight(rig, client, "https://x.y.b.example");
        assert_has(rig, "HTTP/1.1 204 ");
        assert_has(rig, "Access-Control-Allow-Origin: https://x.y.b.example\r\n");
        assert_has(rig, "Access-Control-Allow-Credentials: true\r\n");
        assert_has(rig, "Access-Control-Allow-Methods: GET, PUT\r\n");
        assert_has(rig, "Access-Control-Allow-Headers: x-one, x-two\r\n");
        assert_has(rig, "Access-Control-Max-Age: 600\r\n");
        assert_has(rig, "Vary: Origin\r\n");
    }
    static const char *const others[] = {"https://b.example",     "https://a.example.evil",
                                         "http://a.example",      "https://evilb.example",
                                         "https://a.example:444", "null"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        preflight(rig, client, others[i]);
        assert_has(rig, "HTTP/1.1 403 ");
        assert_lacks(rig, "Access-Control-Allow-Origin");
        assert_has(rig, "Vary: Origin\r\n");
    }
    close(client);
}

static void responses_say_who_may_read_them(void **state)
{
    struct rig *rig = *state;
    cors = (struct guard_cors){.expose = "X-Seen"};
    limit.identity = 11;
    cors_start(rig);
    int client = rig_client(rig);
    rig_say(rig, client, "GET / HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\n\r\n");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin,
            "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nX-Seen: 1\r\n"
            "Content-Length: 2\r\n\r\nok");
    rig_hear(rig, client, "ok");
    assert_has(rig, "Access-Control-Allow-Origin: https://a.example\r\n");
    assert_has(rig, "Access-Control-Expose-Headers: X-Seen\r\n");
    assert_lacks(rig, "Allow-Origin: *");
    assert_lacks(rig, "Allow-Credentials");
    /* Refusals of other guards may be read, too. */
    refused(rig, client, "GET / HTTP/1.1\r\nHost: a\r\nOrigin: https://a.example\r\n\r\n", "429");
    assert_has(rig, "Access-Control-Allow-Origin: https://a.example\r\n");
    refused(rig, client, GET, "429");
    assert_lacks(rig, "Access-Control-Allow-Origin");
    close(client);
    close(origin);
}

static void all_origins_may(void **state)
{
    struct rig *rig = *state;
    cors = (struct guard_cors){.any = true, .headers = "X-A"};
    limit.identity = 12;
    cors_start(rig);
    int client = rig_client(rig);
    preflight(rig, client, "https://anybody.example");
    assert_has(rig, "Access-Control-Allow-Origin: *\r\n");
    assert_has(rig, "Access-Control-Allow-Headers: X-A\r\n");
    assert_lacks(rig, "Vary:");
    close(client);
}

/* ---- bodies --------------------------------------------------------------------------------- */

static void bodies_pass_by_guards(void **state)
{
    struct rig *rig = *state;
    limit = (struct guard_limit){.interval_ns = 1000000000, .burst = 100};
    limited(rig, GUARD_RATE, 4);
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "hello");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    rig_say(rig, client, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    rig_hear(rig, origin, "chunked\r\n\r\n");
    rig_say(rig, client, "3\r\nabc\r\n0\r\n\r\n");
    rig_hear(rig, origin, "0\r\n\r\n");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    close(client);
    close(origin);
}

static void the_body_of_who_is_refused_is_passed_over(void **state)
{
    struct rig *rig = *state;
    limit = (struct guard_limit){.interval_ns = 1000000000, .burst = 1};
    limited(rig, GUARD_RATE, 5);
    rig_start(rig, 1);
    int client = rig_client(rig), origin = -1;
    served(rig, client, &origin, GET);
    refused(rig, client, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", "429");
    rig_pass(rig, 1000);
    served(rig, client, &origin, GET);
    close(client);
    close(origin);
}

int main(void)
{
#define RIGGED(test) cmocka_unit_test_setup_teardown(test, rig_begin, rig_end)
    const struct CMUnitTest tests[] = {
        RIGGED(too_many_are_told_when_to_come_again),
        RIGGED(keys_have_limits_of_their_own),
        RIGGED(so_many_may_be_under_way),
        RIGGED(who_is_not_allowed_is_refused),
        RIGGED(preflights_are_answered),
        RIGGED(responses_say_who_may_read_them),
        RIGGED(all_origins_may),
        RIGGED(bodies_pass_by_guards),
        RIGGED(the_body_of_who_is_refused_is_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
