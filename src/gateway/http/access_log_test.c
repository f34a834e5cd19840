#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "gateway/core/journal.h"
#include "gateway/http/access_log.h"
#include "gateway/http/exchange_fixture_test.h"

static const struct route_target to_api = {.service = 1};
static const struct route route = {
    .path = "/api/", .name = "shop.example /api/", .targets = &to_api, .target_count = 1};
static const struct codec codec = {.name = "HTTP/1.1"};
static struct service services[] = {{.name = "web"}, {.name = "api"}};
static struct topology topology = {.services = services, .service_count = 2};
static struct generation generation = {.topology = &topology};
static struct generation_use use = {.generation = &generation};

static const uint64_t wall_ms = 1767323045123; /* 2026-01-02T03:04:05.123Z */

static int teardown(void **state)
{
    (void)state;
    fixture_end();
    return 0;
}

static struct exchange *asked(void)
{
    struct exchange *exchange = fixture_begin(&route, "shop.example", "/api/a?b=1");
    exchange->codec = &codec;
    exchange->use = &use;
    exchange->status = 200;
    exchange->bytes_in = 5;
    exchange->bytes_out = 1600000;
    exchange->upstream_us = 11902;
    exchange->tries = 1;
    strcpy(exchange->upstream, "api.2");
    fixture_field("User-Agent", "curl/8.5");
    return exchange;
}

static const char *logged(enum access_log_format format, const char *const *fields)
{
    static char line[JOURNAL_LINE_BYTES_MAX + 1];
    fixture.site.access_log = format;
    fixture.site.access_fields = fields;
    char *exact = malloc(JOURNAL_LINE_BYTES_MAX); /* ASan sees a byte more */
    size_t length = access_log_format(&fixture.exchange, wall_ms, 1012345, exact);
    assert_true(length <= JOURNAL_LINE_BYTES_MAX);
    memcpy(line, exact, length);
    line[length] = 0;
    free(exact);
    return line;
}

static void text_is_as_people_know_it(void **state)
{
    (void)state;
    struct exchange *exchange = asked();
    assert_string_equal(
        logged(ACCESS_TEXT, NULL),
        "192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] \"GET /api/a?b=1 HTTP/1.1\" 200 1600000 \"-\" "
        "\"curl/8.5\" \"shop.example\" \"shop.example /api/\" api.2 1.012345 0.011902 1 4711 "
        "\"-\"");
    exchange->request.version_minor = 0;
    exchange->route = NULL;
    exchange->status = 0;
    exchange->upstream[0] = 0;
    exchange->upstream_us = 0;
    exchange->tries = 0;
    exchange->blame = BLAME_CLIENT;
    exchange->why = "no \"route\"";
    exchange->request.host = (struct slice){0};
    assert_string_equal(
        logged(ACCESS_TEXT, NULL),
        "192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] \"GET /api/a?b=1 HTTP/1.0\" - 1600000 \"-\" "
        "\"curl/8.5\" \"-\" \"-\" - 1.012345 - 0 4711 \"client: no \\\"route\\\"\"");
}

static void text_with_fields_of_choice(void **state)
{
    (void)state;
    static const char *const fields[] = {"status",  "uri",  "time", "sni",
                                         "service", "host", "tls",  NULL};
    struct exchange *exchange = asked();
    assert_string_equal(logged(ACCESS_TEXT, fields),
                        "200 \"/api/a?b=1\" 2026-01-02T03:04:05.123Z - api \"shop.example\" -");
    exchange->tls_version = "TLSv1.3";
    exchange->tls_sni = "www.shop.example";
    assert_string_equal(logged(ACCESS_TEXT, fields),
                        "200 \"/api/a?b=1\" 2026-01-02T03:04:05.123Z \"www.shop.example\" api "
                        "\"shop.example\" TLSv1.3");
}

static void json_has_stable_names(void **state)
{
    (void)state;
    asked();
    assert_string_equal(
        logged(ACCESS_JSON, NULL),
        "{\"time\":\"2026-01-02T03:04:05.123Z\",\"client\":\"192.0.2.7\",\"host\":\"shop.example\","
        "\"method\":\"GET\",\"uri\":\"/api/a?b=1\",\"protocol\":\"HTTP/1.1\",\"status\":200,"
        "\"bytes_in\":5,\"bytes_out\":1600000,\"duration\":1.012345,\"response\":0.011902,"
        "\"listener\":\"tcp:8080\",\"route\":\"shop.example /api/\",\"service\":\"api\","
        "\"instance\":\"api.2\",\"tries\":1,\"request_id\":\"4711\",\"referer\":null,"
        "\"user_agent\":\"curl/8.5\",\"failure\":null}");
}

static void every_field_that_may_be_configured_is_there(void **state)
{
    (void)state;
    asked();
    for (size_t i = 0; access_log_fields[i]; i++) {
        const char *const one[] = {access_log_fields[i], NULL};
        char begin[64];
        snprintf(begin, sizeof begin, "{\"%s\":", one[0]);
        const char *line = logged(ACCESS_JSON, one);
        if (strncmp(line, begin, strlen(begin)) != 0)
            fail_msg("%s: %s", one[0], line);
        assert_int_not_equal(logged(ACCESS_TEXT, one)[0], 0);
        char name[32]; /* a text of its own */
        snprintf(name, sizeof name, "%s", one[0]);
        const char *const copied[] = {name, NULL};
        assert_memory_equal(logged(ACCESS_JSON, copied), begin, strlen(begin));
    }
}

static void outside_text_does_not_leave_its_string(void **state)
{
    (void)state;
    asked();
    fixture_field("Referer", "\" 200 \"\nGET / \xff\x01\\");
    json_t *json = json_loads(logged(ACCESS_JSON, NULL), 0, NULL);
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "referer")),
                        "\" 200 \"\nGET / \xc3\xbf\x01\\");
    json_decref(json);
    const char *line = logged(ACCESS_TEXT, NULL);
    assert_null(strchr(line, '\n'));
    assert_non_null(strstr(line, " \"\\\" 200 \\\"\\nGET / \\u00ff\\u0001\\\\\" \"curl"));
}

static void the_longest_line_is_still_one(void **state)
{
    (void)state;
    asked();
    static char filler[60000];
    memset(filler, '"', sizeof filler - 1);
    struct head *request = &fixture.exchange.request;
    struct slice *outside[] = {&request->host, &request->target, &request->path, &request->query,
                               &request->method_name};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++)
        *outside[i] = text_slice(filler);
    fixture_field("Referer", filler);
    fixture_field("Traceparent", filler);
    fixture.fields[0].value = text_slice(filler);
    fixture.exchange.blame = BLAME_UPSTREAM;
    fixture.exchange.why = filler;
    const char *const *all[] = {NULL, access_log_fields};
    for (size_t i = 0; i < 2; i++) {
        json_error_t error;
        json_t *json = json_loads(logged(ACCESS_JSON, all[i]), 0, &error);
        if (!json)
            fail_msg("%s", error.text);
        json_decref(json);
        assert_true(strlen(logged(ACCESS_TEXT, all[i])) > 1000);
    }
    static const char *const often[] = {"uri", "uri", "uri", "uri", "uri",
                                        "uri", "uri", "uri", NULL};
    json_t *json = json_loads(logged(ACCESS_JSON, often), 0, NULL);
    assert_non_null(json);
    json_decref(json);
}

static void a_new_second_is_noticed(void **state)
{
    (void)state;
    static const char *const fields[] = {"time", NULL};
    struct exchange *exchange = asked();
    char line[JOURNAL_LINE_BYTES_MAX];
    fixture.site.access_log = ACCESS_TEXT;
    fixture.site.access_fields = fields;
    assert_int_equal(access_log_format(exchange, 999, 0, line), 24);
    assert_memory_equal(line, "1970-01-01T00:00:00.999Z", 24);
    access_log_format(exchange, 1000, 0, line);
    assert_memory_equal(line, "1970-01-01T00:00:01.000Z", 24);
    access_log_format(exchange, 1086399001, 0, line);
    assert_memory_equal(line, "1970-01-13T13:46:39.001Z", 24);
}

static void lines_go_into_the_journal(void **state)
{
    (void)state;
    struct exchange *exchange = asked();
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    struct loop *loop = loop_new();
    fixture.worker.journal = journal_new(loop, ends[0]);
    static const char *const fields[] = {"duration", "status", NULL};
    fixture.site.access_log = ACCESS_TEXT;
    fixture.site.access_fields = fields;
    exchange->begun_us = 5500000;
    access_log_exchange(exchange);
    journal_free(fixture.worker.journal);
    char packet[256];
    ssize_t length = recv(ends[1], packet, sizeof packet, MSG_DONTWAIT);
    assert_true(length > 13);
    assert_memory_equal(packet + length - 13, "1.500000 200\n", 13);
    close(ends[0]);
    close(ends[1]);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(text_is_as_people_know_it, teardown),
        cmocka_unit_test_teardown(text_with_fields_of_choice, teardown),
        cmocka_unit_test_teardown(json_has_stable_names, teardown),
        cmocka_unit_test_teardown(every_field_that_may_be_configured_is_there, teardown),
        cmocka_unit_test_teardown(outside_text_does_not_leave_its_string, teardown),
        cmocka_unit_test_teardown(the_longest_line_is_still_one, teardown),
        cmocka_unit_test_teardown(a_new_second_is_noticed, teardown),
        cmocka_unit_test_teardown(lines_go_into_the_journal, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
