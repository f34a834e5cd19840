/* Fuzz target: whatever a client sends, what is made of it stays in its place — no byte of a value
 * ends a line, a rewritten target is one path with one query, a Location leads to no host but the
 * configuration's or the request's own. The input is lines: the host, the target, X-Forwarded-For,
 * another header's value, a cookie; the routes are those below. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define fail_msg(...) abort()
#include "gateway/http/exchange_fixture_test.h"
#include "gateway/http/expand.h"
#include "gateway/http/requester.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct rewrite rewrites[][2] = {
    {{.strip = "/api"}, {.prefix = "/v1/"}},
    {{.regex = "^/([^/]*)/(.*)$", .replacement = "/${2}/${1}"}, {.strip = "/a/b"}},
    {{.regex = "^(.*)$", .replacement = "${1}x?a=${arg.a}&h=${header.X}&${query}"},
     {.prefix = "/caf\xc3\xa9"}},
    {{.regex = "^/", .replacement = "/${header.X}/${cookie.c}"}, {.strip = "/"}},
    {{.regex = "([^/]+)/?", .replacement = "/${uri}${host}${client}"}, {.prefix = "/p"}},
};
static const struct header_rule rules[] = {
    {false, HEADER_SET, "X", "${header.X}${1}"},
    {false, HEADER_ADD, "Y", "${cookie.c}-${arg.a}-${client}-${scheme}"},
    {false, HEADER_REMOVE, "Cookie", NULL},
};
static const char *const locations[] = {"https://${host}${uri}", "/${1}", "${path}", "/x${query}",
                                        "/${header.X}${arg.a}"};

static struct network trusted[] = {{.length = 0}}; /* everybody */

static void demand(bool good)
{
    if (!good)
        abort();
}

static void no_line_ends(struct slice text)
{
    for (uint32_t i = 0; i < text.length; i++) {
        unsigned char byte = (unsigned char)text.bytes[i];
        demand((byte >= ' ' && byte != 0x7f) || byte == '\t');
    }
}

/* The client's query stays as it was sent, so only the path is looked at. */
static void target_verify(struct slice target, bool rewritten)
{
    if (!target.bytes || !rewritten)
        return;
    demand(target.length && *target.bytes == '/');
    for (uint32_t i = 0; i < target.length && target.bytes[i] != '?'; i++) {
        unsigned char byte = (unsigned char)target.bytes[i];
        demand(byte > ' ' && byte < 0x7f && byte != '#');
    }
}

static void location_verify(const char *pattern, const char *head)
{
    if (strncmp(head, "Location: ", 10) != 0)
        return;
    const char *location = head + 10;
    size_t length = strcspn(location, "\n");
    for (size_t i = 0; i < length; i++)
        demand(location[i] > ' ' && location[i] < 0x7f);
    if (strncmp(pattern, "https://", 8) != 0)
        demand(location[0] == '/' && location[1] != '/');
    else
        demand(location[8 + strcspn(location + 8, "@/\\")] == '/');
}

static struct exchange *asked(const struct route *route, char *const lines[5])
{
    struct exchange *exchange = fixture_begin(route, lines[0], lines[1]);
    fixture.site.trusted = trusted;
    fixture.site.trusted_count = lines[0][0] == 't';
    exchange->client_trusted = true;
    fixture_field("X-Forwarded-For", lines[2]);
    fixture_field("X", lines[3]);
    fixture_field("Cookie", lines[4]);
    exchange->captures[1] = text_slice(lines[1] + (lines[1][0] != 0));
    return exchange;
}

static void rewrites_try(char *const lines[5], size_t number)
{
    const struct route route = {.path = "/",
                                .name = "r",
                                .rewrites = rewrites[number],
                                .rewrite_count = 2,
                                .headers_change = rules,
                                .headers_change_count = 3};
    struct exchange *exchange = asked(&route, lines);
    target_verify(expand_target(exchange), lines[1][0] == '/');
    uint32_t count;
    const struct field *fields =
        expand_fields(exchange, false, fixture.fields, exchange->request.field_count, &count);
    for (uint32_t i = 0; fields && i < count; i++)
        if (slice_is(fields[i].name, "Y"))
            no_line_ends(fields[i].value);
    char client[REQUESTER_BYTES];
    demand(requester_address(exchange, client) < REQUESTER_BYTES);
    fixture_end();
}

static void locations_try(char *const lines[5], size_t number)
{
    const struct route route = {.path = "/",
                                .name = "r",
                                .kind = ROUTE_REDIRECT,
                                .status = 308,
                                .location = locations[number]};
    struct exchange *exchange = asked(&route, lines);
    handler_redirect.start(exchange);
    demand(fixture.released == 1);
    location_verify(locations[number], fixture.head);
    fixture_end();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), *rest = text;
    memcpy(text, data, size);
    text[size] = 0;
    char *lines[5];
    for (int i = 0; i < 5; i++) {
        lines[i] = strsep(&rest, "\n");
        if (!lines[i])
            lines[i] = (char[]){""};
    }
    for (size_t i = 0; i < sizeof rewrites / sizeof *rewrites; i++)
        rewrites_try(lines, i);
    for (size_t i = 0; i < sizeof locations / sizeof *locations; i++)
        locations_try(lines, i);
    free(text);
    return 0;
}
