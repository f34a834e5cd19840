/* By a small DNS server on loopback, in the same loop, and a clock that the test moves. */
#include "upstream/resolver.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "upstream/resolved_private.h"
#include "upstream/resolver_private.h"
#include "upstream/tally.h"

static uint64_t now_ms = 1000000;

uint64_t __wrap_clock_monotonic_ms(void);
uint64_t __wrap_clock_monotonic_ms(void)
{
    return now_ms;
}

/* ---- the server ----------------------------------------------------------------------------- */

enum { TYPE_A = 1, TYPE_AAAA = 28, RCODE_SERVFAIL = 2, RCODE_NXDOMAIN = 3, RECORDS_MAX = 40 };

struct record {
    int type;
    uint32_t ttl_s;
    const char *address;
};

struct server {
    struct loop *loop;
    int fd;
    char text[32]; /* 127.0.0.1:PORT */
    struct watch watch;
    const struct record *records; /* of every name; the end has type 0 */
    int rcode;
    bool mute;
    unsigned questions;
    char last[256]; /* the name asked last, "one.example." */
};

static size_t question_end(const uint8_t *packet, size_t length, char *ret_name)
{
    size_t at = 12;
    size_t out = 0;
    while (at < length && packet[at]) {
        memcpy(ret_name + out, packet + at + 1, packet[at]);
        out += packet[at];
        ret_name[out++] = '.';
        at += packet[at] + 1u;
    }
    ret_name[out] = '\0';
    return at + 5;
}

static uint8_t *put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return at + 2;
}

static uint8_t *put_record(uint8_t *at, const struct record *record)
{
    uint8_t address[16];
    int family = record->type == TYPE_A ? AF_INET : AF_INET6;
    unsigned size = record->type == TYPE_A ? 4 : 16;
    assert_int_equal(inet_pton(family, record->address, address), 1);
    at = put16(at, 0xc00c); /* the question's name */
    at = put16(at, (unsigned)record->type);
    at = put16(at, 1);
    at = put16(at, record->ttl_s >> 16);
    at = put16(at, record->ttl_s & 0xffff);
    at = put16(at, size);
    memcpy(at, address, size);
    return at + size;
}

static void server_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct server *server = watch->owner;
    uint8_t packet[2048];
    struct sockaddr_in from;
    socklen_t from_length = sizeof from;
    ssize_t length = recvfrom(server->fd, packet, 512, 0, (void *)&from, &from_length);
    assert_true(length > 16);
    server->questions++;
    size_t end = question_end(packet, (size_t)length, server->last);
    int type = packet[end - 3];
    if (server->mute)
        return;
    uint8_t *at = packet + end;
    unsigned answers = 0;
    for (const struct record *record = server->records; record && record->type; record++)
        if (server->rcode == 0 && record->type == type) {
            at = put_record(at, record);
            answers++;
        }
    packet[2] = 0x81; /* an answer, recursion desired */
    packet[3] = (uint8_t)(0x80 | server->rcode);
    put16(packet + 6, answers);
    memset(packet + 8, 0, 4);
    assert_true(sendto(server->fd, packet, (size_t)(at - packet), 0, (void *)&from, from_length) >
                0);
}

static void server_start(struct server *server, struct loop *loop)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    *server = (struct server){.loop = loop, .fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
    assert_int_equal(bind(server->fd, (void *)&address, length), 0);
    assert_int_equal(getsockname(server->fd, (void *)&address, &length), 0);
    snprintf(server->text, sizeof server->text, "127.0.0.1:%u", ntohs(address.sin_port));
    assert_int_equal(
        watch_start(loop, &server->watch, server->fd, WATCH_READ, server_ready, server), 0);
}

/* ---- the fixture ---------------------------------------------------------------------------- */

enum { REMOTES = 64, SLOTS = 8 };

struct fixture {
    struct loop *loop;
    struct resolved *resolved;
    struct tally *tally;
    int tally_fd;
    struct resolver *resolver;
    struct server server;
    unsigned changes;
};

static void changed(void *owner)
{
    ((struct fixture *)owner)->changes++;
}

static void no_log(void *context, enum log_level level, const char *line, size_t length)
{
    (void)context;
    (void)level;
    (void)line;
    (void)length;
}

static int fixture_begin(void **state)
{
    static const struct tally_sizes sizes = {
        .threads = 1, .slots_max = SLOTS, .remotes_max = REMOTES, .rows = {1, 1, 1}};
    struct fixture *fixture = calloc(1, sizeof *fixture);
    log_setup("test", LOG_LEVEL_INFO, no_log, NULL);
    fixture->loop = loop_new();
    fixture->resolved = resolved_new();
    assert_int_equal(tally_new(&sizes, &fixture->tally, &fixture->tally_fd), 0);
    server_start(&fixture->server, fixture->loop);
    fixture->resolver =
        resolver_new(fixture->loop, fixture->resolved, fixture->tally, changed, fixture);
    assert_non_null(fixture->resolver);
    assert_int_equal(resolver_servers_set(fixture->resolver, fixture->server.text), 0);
    assert_int_equal(resolver_hosts_set(fixture->resolver, "/nonexistent"), 0);
    *state = fixture;
    return 0;
}

static int fixture_end(void **state)
{
    struct fixture *fixture = *state;
    resolver_free(fixture->resolver);
    watch_stop(fixture->loop, &fixture->server.watch);
    close(fixture->server.fd);
    resolved_free(fixture->resolved);
    tally_close(fixture->tally);
    close(fixture->tally_fd);
    loop_free(fixture->loop);
    free(fixture);
    return 0;
}

/* A topology of one service with these remotes; lives until the next call. */
static int settle(struct fixture *fixture, const struct remote *remotes, size_t count)
{
    static struct service service;
    static struct topology topology;
    service.gateway = (struct service_gateway){.remotes = remotes, .remote_count = count};
    topology = (struct topology){.services = &service, .service_count = 1};
    return resolver_settle(fixture->resolver, &topology);
}

static const struct remote one = {
    .host = "one.example.", .port = 80, .weight = 1, .text = "one.example:80"};

/* Its addresses, "10.0.0.1:80 [fe80::1]:80!": `!` is ill. */
static const char *known(const struct fixture *fixture, const char *text)
{
    static char line[2048];
    struct resolved_address addresses[RESOLVE_ADDRESSES_MAX];
    uint32_t version;
    uint32_t place = resolved_find(fixture->resolved, text);
    if (place == UINT32_MAX)
        return "nobody";
    uint32_t count = resolved_read(fixture->resolved, place, addresses, &version);
    line[0] = '\0';
    for (uint32_t i = 0; i < count; i++) {
        const char *name = tally_remote_name(fixture->tally, addresses[i].row);
        snprintf(line + strlen(line), sizeof line - strlen(line), "%s%s%s", i ? " " : "", name,
                 addresses[i].ill ? "!" : "");
    }
    return line;
}

static uint64_t real_ms(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

/* Lets the loop turn until nothing has happened for a moment. */
static void settle_down(struct fixture *fixture)
{
    for (int quiet = 0; quiet < 3; quiet++) {
        unsigned before = fixture->server.questions + fixture->changes;
        assert_int_equal(loop_turn(fixture->loop, 10), 0);
        if (fixture->server.questions + fixture->changes != before)
            quiet = -1;
    }
}

static void pass(struct fixture *fixture, uint64_t ms)
{
    now_ms += ms;
    settle_down(fixture);
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void all_addresses_of_both_families_are_known(void **state)
{
    static const struct record records[] = {{TYPE_AAAA, 60, "fd00::2"},
                                            {TYPE_A, 60, "10.0.0.2"},
                                            {TYPE_A, 60, "10.0.0.1"},
                                            {TYPE_A, 60, "10.0.0.2"},
                                            {0}};
    struct fixture *fixture = *state;
    fixture->server.records = records;
    assert_string_equal(known(fixture, one.text), "nobody");
    assert_int_equal(settle(fixture, &one, 1), 0);
    assert_true(resolved_pending(fixture->resolved, resolved_find(fixture->resolved, one.text)));
    settle_down(fixture);
    assert_string_equal(known(fixture, one.text), "10.0.0.1:80 10.0.0.2:80 [fd00::2]:80");
    assert_false(resolved_pending(fixture->resolved, resolved_find(fixture->resolved, one.text)));
    assert_int_equal(fixture->changes, 1);
    assert_int_equal(fixture->server.questions, 2);
    assert_string_equal(fixture->server.last, "one.example.");
}

static void a_name_is_asked_again_when_its_time_is_over(void **state)
{
    static const struct record first[] = {
        {TYPE_A, 300, "10.0.0.1"}, {TYPE_AAAA, 5, "fd00::1"}, {0}};
    static const struct record second[] = {{TYPE_A, 0, "10.0.0.2"}, {0}};
    static const struct record third[] = {{TYPE_A, 100000, "10.0.0.3"}, {0}};
    struct fixture *fixture = *state;
    fixture->server.records = first;
    settle(fixture, &one, 1);
    settle_down(fixture);
    pass(fixture, 4999);
    assert_int_equal(fixture->server.questions, 2);
    pass(fixture, 1);
    assert_int_equal(fixture->server.questions, 4);
    assert_int_equal(fixture->changes, 1); /* nothing did */
    fixture->server.records = second;
    pass(fixture, 5000);
    assert_string_equal(known(fixture, one.text), "10.0.0.2:80");
    assert_int_equal(fixture->changes, 2);
    fixture->server.records = third;
    pass(fixture, RESOLVE_TTL_MIN_MS - 1);
    assert_string_equal(known(fixture, one.text), "10.0.0.2:80");
    pass(fixture, 1);
    assert_string_equal(known(fixture, one.text), "10.0.0.3:80");
    fixture->server.records = first;
    pass(fixture, RESOLVE_TTL_MAX_MS);
    assert_string_equal(known(fixture, one.text), "10.0.0.1:80 [fd00::1]:80");
}

static void what_was_known_is_kept_while_the_servers_fail(void **state)
{
    static const struct record records[] = {{TYPE_A, 10, "10.0.0.1"}, {0}};
    static const struct record others[] = {{TYPE_A, 10, "10.0.0.9"}, {0}};
    static const int rcodes[] = {RCODE_SERVFAIL, RCODE_NXDOMAIN};
    struct fixture *fixture = *state;
    fixture->server.records = records;
    settle(fixture, &one, 1);
    settle_down(fixture);
    for (size_t i = 0; i < 2; i++) {
        fixture->server.rcode = rcodes[i];
        unsigned before = fixture->server.questions;
        pass(fixture, 10000);
        assert_true(fixture->server.questions > before);
        before = fixture->server.questions;
        pass(fixture, RESOLVE_RETRY_MS - 1);
        assert_int_equal(fixture->server.questions, before);
        pass(fixture, 1);
        assert_true(fixture->server.questions > before);
        assert_string_equal(known(fixture, one.text), "10.0.0.1:80");
        fixture->server.rcode = 0;
        pass(fixture, RESOLVE_RETRY_MS);
    }
    fixture->server.records = NULL; /* good, but empty */
    pass(fixture, 10000);
    assert_string_equal(known(fixture, one.text), "10.0.0.1:80");
    assert_int_equal(fixture->changes, 1);
    fixture->server.records = others;
    pass(fixture, RESOLVE_RETRY_MS);
    assert_string_equal(known(fixture, one.text), "10.0.0.9:80");
}

static void a_name_that_never_was_is_not_worth_waiting_for(void **state)
{
    static const struct record records[] = {{TYPE_A, 10, "10.0.0.1"}, {0}};
    struct fixture *fixture = *state;
    fixture->server.rcode = RCODE_NXDOMAIN;
    settle(fixture, &one, 1);
    settle_down(fixture);
    uint32_t place = resolved_find(fixture->resolved, one.text);
    assert_false(resolved_pending(fixture->resolved, place));
    assert_int_equal(fixture->changes, 1);
    assert_string_equal(known(fixture, one.text), "");
    fixture->server.rcode = 0;
    fixture->server.records = records;
    pass(fixture, RESOLVE_RETRY_MS);
    assert_string_equal(known(fixture, one.text), "10.0.0.1:80");
}

static void a_mute_server_blocks_nobody(void **state)
{
    struct fixture *fixture = *state;
    fixture->server.mute = true;
    uint64_t begun_ms = real_ms();
    assert_int_equal(settle(fixture, &one, 1), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(loop_turn(fixture->loop, 0), 0);
    assert_true(real_ms() - begun_ms < 500);
    settle_down(fixture);
    assert_int_equal(fixture->server.questions, 2);
    assert_true(resolved_pending(fixture->resolved, resolved_find(fixture->resolved, one.text)));
}

static void what_is_no_name_needs_no_question(void **state)
{
    static const struct remote remotes[] = {
        {.host = "10.1.2.3", .port = 81, .weight = 1, .text = "10.1.2.3:81"},
        {.host = "fd00::7", .port = 82, .weight = 1, .text = "[fd00::7]:82"},
        {.host = "localhost", .port = 83, .weight = 1, .text = "localhost:83"},
        {.path = "/run/app.sock", .weight = 1, .text = "unix:/run/app.sock"},
    };
    struct fixture *fixture = *state;
    settle(fixture, remotes, 4);
    assert_string_equal(known(fixture, remotes[0].text), "10.1.2.3:81");
    assert_string_equal(known(fixture, remotes[1].text), "[fd00::7]:82");
    assert_string_equal(known(fixture, remotes[2].text), "127.0.0.1:83");
    assert_string_equal(known(fixture, remotes[3].text), "unix:/run/app.sock");
    pass(fixture, RESOLVE_TTL_MAX_MS);
    assert_int_equal(fixture->server.questions, 0);
}

static void the_hosts_file_comes_first_and_is_read_once(void **state)
{
    struct fixture *fixture = *state;
    char path[] = "/tmp/resolver-test-XXXXXX";
    int fd = mkstemp(path);
    static const char text[] = "10.7.7.7 one.example\nfd00::77 ONE.example\n";
    assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
    assert_int_equal(resolver_hosts_set(fixture->resolver, path), 0);
    unlink(path);
    static const struct remote in_file = {
        .host = "one.example", .port = 80, .weight = 1, .text = "one.example:80"};
    settle(fixture, &in_file, 1);
    settle_down(fixture);
    assert_string_equal(known(fixture, one.text), "10.7.7.7:80 [fd00::77]:80");
    assert_int_equal(fixture->server.questions, 0);
}

static void a_remote_that_is_gone_is_forgotten_after_a_while(void **state)
{
    static const struct record records[] = {{TYPE_A, 5, "10.0.0.1"}, {0}};
    static const struct remote two = {
        .host = "two.example.", .port = 80, .weight = 1, .text = "two.example:80"};
    struct fixture *fixture = *state;
    fixture->server.records = records;
    settle(fixture, &one, 1);
    settle_down(fixture);
    settle(fixture, &two, 1);
    settle_down(fixture);
    assert_string_equal(known(fixture, one.text), "10.0.0.1:80");
    assert_string_equal(known(fixture, two.text), "10.0.0.1:80");
    pass(fixture, RESOLVE_FORGET_MS - 1);
    assert_string_equal(fixture->server.last, "two.example."); /* the other is not asked for */
    assert_string_equal(known(fixture, one.text), "10.0.0.1:80");
    settle(fixture, (const struct remote[]){two, one}, 2); /* it is back */
    settle_down(fixture);
    pass(fixture, 1);
    assert_string_equal(known(fixture, one.text), "10.0.0.1:80");
    settle(fixture, &two, 1);
    uint32_t before = resolved_changes(fixture->resolved);
    pass(fixture, RESOLVE_FORGET_MS);
    assert_string_equal(known(fixture, one.text), "nobody");
    assert_string_equal(known(fixture, two.text), "10.0.0.1:80");
    assert_int_not_equal(resolved_changes(fixture->resolved), before);
}

/* It was asked for when it went, and the answer comes later. */
static void a_late_answer_is_no_reason_to_ask_again(void **state)
{
    static const struct record records[] = {{TYPE_A, 5, "10.0.0.1"}, {0}};
    struct fixture *fixture = *state;
    fixture->server.records = records;
    settle(fixture, &one, 1);
    assert_int_equal(settle(fixture, NULL, 0), 0);
    settle_down(fixture);
    assert_string_equal(known(fixture, one.text), "10.0.0.1:80");
    unsigned before = fixture->server.questions;
    pass(fixture, 5000);
    assert_int_equal(fixture->server.questions, before);
    assert_string_equal(known(fixture, one.text), "10.0.0.1:80");
    pass(fixture, RESOLVE_FORGET_MS);
    assert_string_equal(known(fixture, one.text), "nobody");
}

static void health_stays_with_its_address(void **state)
{
    static const struct record first[] = {{TYPE_A, 5, "10.0.0.1"}, {TYPE_A, 5, "10.0.0.2"}, {0}};
    static const struct record second[] = {{TYPE_A, 5, "10.0.0.2"}, {TYPE_A, 5, "10.0.0.3"}, {0}};
    struct fixture *fixture = *state;
    fixture->server.records = first;
    settle(fixture, &one, 1);
    settle_down(fixture);
    uint32_t place = resolved_find(fixture->resolved, one.text);
    resolver_health_set(fixture->resolver, place, 1, true);
    assert_int_equal(fixture->changes, 2);
    resolver_health_set(fixture->resolver, place, 1, true);
    assert_int_equal(fixture->changes, 2);
    assert_string_equal(known(fixture, one.text), "10.0.0.1:80 10.0.0.2:80!");
    fixture->server.records = second;
    pass(fixture, 5000);
    assert_string_equal(known(fixture, one.text), "10.0.0.2:80! 10.0.0.3:80");
}

static void more_addresses_than_fit_are_left_out(void **state)
{
    static struct record records[RECORDS_MAX + 1];
    static char texts[RECORDS_MAX][16];
    struct fixture *fixture = *state;
    enum { COUNT = 28 }; /* a packet of 512 bytes */
    memset(records, 0, sizeof records);
    for (int i = 0; i < COUNT; i++) {
        snprintf(texts[i], sizeof texts[i], "10.0.0.%d", 100 - i);
        records[i] = (struct record){TYPE_A, 60, texts[i]};
    }
    fixture->server.records = records;
    settle(fixture, &one, 1);
    settle_down(fixture);
    const char *all = known(fixture, one.text);
    assert_ptr_equal(strstr(all, "10.0.0.73:80 10.0.0.74:80"), all);
    assert_string_equal(all + strlen(all) - 12, "10.0.0.88:80");
}

/* It ends while a question is out: nothing of it is left. */
static void the_end_may_come_at_any_time(void **state)
{
    struct fixture *fixture = *state;
    fixture->server.mute = true;
    settle(fixture, &one, 1);
    settle_down(fixture);
    resolver_free(fixture->resolver);
    fixture->resolver = NULL;
    settle_down(fixture);
    assert_int_equal(fixture->changes, 0);
}

static void a_remote_that_cannot_be_is_an_error(void **state)
{
    struct fixture *fixture = *state;
    static char path[200];
    memset(path, 'p', sizeof path - 1);
    const struct remote remote = {.path = path, .weight = 1, .text = "unix:p"};
    assert_int_equal(settle(fixture, &remote, 1), -ENAMETOOLONG);
}

int main(void)
{
#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, fixture_begin, fixture_end)
    const struct CMUnitTest tests[] = {
        WITH_SERVER(all_addresses_of_both_families_are_known),
        WITH_SERVER(a_name_is_asked_again_when_its_time_is_over),
        WITH_SERVER(what_was_known_is_kept_while_the_servers_fail),
        WITH_SERVER(a_name_that_never_was_is_not_worth_waiting_for),
        WITH_SERVER(a_mute_server_blocks_nobody),
        WITH_SERVER(what_is_no_name_needs_no_question),
        WITH_SERVER(the_hosts_file_comes_first_and_is_read_once),
        WITH_SERVER(a_remote_that_is_gone_is_forgotten_after_a_while),
        WITH_SERVER(a_late_answer_is_no_reason_to_ask_again),
        WITH_SERVER(health_stays_with_its_address),
        WITH_SERVER(more_addresses_than_fit_are_left_out),
        WITH_SERVER(the_end_may_come_at_any_time),
        WITH_SERVER(a_remote_that_cannot_be_is_an_error),
    };
    return cmocka_run_group_tests_name("resolver", tests, NULL, NULL);
}
