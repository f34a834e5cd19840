#include "upstream/checker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"
#include "upstream/check_rig.h"
#include "upstream/resolved_private.h"
#include "upstream/tally.h"

enum { SLOTS = 512, SLOT = 5, NUMBER = 2 };

struct fixture {
    struct loop *loop;
    struct board *board;
    int board_fd;
    int bell;
    struct tally *tally;
    int tally_fd;
    struct resolved *resolved;
    struct resolver *resolver;
    struct checker *checker;
    struct rig_server server;
    struct service service;
    struct topology topology;
    struct remote remote;
    char remote_text[64];
    unsigned changes;    /* of what is resolved */
    char told[64][300];  /* "well 5.1", "ill 5.1 status 503": slot, epoch, why */
    unsigned told_count; /* may be more than are kept */
};

static void told(void *owner, uint32_t slot, uint32_t epoch, bool well, const char *why)
{
    struct fixture *fixture = owner;
    snprintf(fixture->told[fixture->told_count++ % 64], sizeof fixture->told[0], "%s %u.%u%s%s",
             well ? "well" : "ill", slot, epoch, *why ? " " : "", why);
}

static void role_told(void *owner, uint32_t slot, uint32_t epoch, const char *word, const char *why)
{
    struct fixture *fixture = owner;
    snprintf(fixture->told[fixture->told_count++ % 64], sizeof fixture->told[0], "%u.%u is %s%s",
             slot, epoch, *word ? word : "unknown: ", why);
}

static const char *last_told(const struct fixture *fixture)
{
    return fixture->told_count ? fixture->told[(fixture->told_count - 1) % 64] : "";
}

static void changed(void *owner)
{
    ((struct fixture *)owner)->changes++;
}

static void no_log(void *context, enum log_level level, const char *line, size_t length)
{
    (void)context, (void)level, (void)line, (void)length;
}

static int fixture_begin(void **state)
{
    static const struct tally_sizes sizes = {
        .threads = 1, .slots_max = SLOTS, .remotes_max = 16, .rows = {4, 1, 1}};
    struct fixture *fixture = calloc(1, sizeof *fixture);
    log_setup("test", LOG_LEVEL_INFO, no_log, NULL);
    fixture->loop = loop_new();
    assert_int_equal(board_new(4, SLOTS, &fixture->board, &fixture->board_fd, &fixture->bell), 0);
    assert_int_equal(tally_new(&sizes, &fixture->tally, &fixture->tally_fd), 0);
    fixture->resolved = resolved_new();
    fixture->resolver =
        resolver_new(fixture->loop, fixture->resolved, fixture->tally, changed, fixture);
    fixture->checker = checker_new(fixture->loop, fixture->board, fixture->resolved,
                                   fixture->resolver, fixture->tally, 0, told, role_told, fixture);
    assert_non_null(fixture->checker);
    rig_server_start(&fixture->server, fixture->loop, false);
    fixture->server.closes = true;
    fixture->server.answer = "HTTP/1.1 200 OK\r\n\r\n";
    fixture->service = (struct service){.name = "api",
                                        .realm = "",
                                        .check = CHECK_HTTP,
                                        .check_every_ms = 1000,
                                        .check_timeout_ms = 500,
                                        .check_rise = 2,
                                        .check_fall = 3};
    fixture->topology = (struct topology){.services = &fixture->service, .service_count = 1};
    struct board_service *row = board_service(fixture->board, NUMBER);
    board_write_begin(row);
    row->first = BOARD_NONE;
    strcpy(row->name, "api");
    board_write_end(row);
    *state = fixture;
    return 0;
}

static int fixture_end(void **state)
{
    struct fixture *fixture = *state;
    checker_free(fixture->checker);
    resolver_free(fixture->resolver);
    resolved_free(fixture->resolved);
    rig_server_stop(&fixture->server);
    board_close(fixture->board);
    tally_close(fixture->tally);
    close(fixture->board_fd);
    close(fixture->bell);
    close(fixture->tally_fd);
    loop_free(fixture->loop);
    free(fixture);
    return 0;
}

static void settle(struct fixture *fixture)
{
    assert_int_equal(checker_settle(fixture->checker, &fixture->topology, NULL), 0);
}

/* `count` instances, from SLOT on, all where the server listens. */
static void instances(struct fixture *fixture, uint32_t count, enum board_state state,
                      uint32_t epoch)
{
    struct board_service *row = board_service(fixture->board, NUMBER);
    board_write_begin(row);
    row->first = SLOT;
    for (uint32_t i = 0; i < count; i++)
        *board_instance(fixture->board, SLOT + i) =
            (struct board_instance){.state = state,
                                    .service = NUMBER,
                                    .number = i + 1,
                                    .epoch = epoch,
                                    .address = INADDR_LOOPBACK,
                                    .weight = 1,
                                    .next = i + 1 < count ? SLOT + i + 1 : BOARD_NONE,
                                    .ports = {ntohs(fixture->server.address.sin_port)}};
    board_write_end(row);
    checker_news(fixture->checker);
}

static void instance_state(struct fixture *fixture, enum board_state state)
{
    atomic_store(&board_instance(fixture->board, SLOT)->state, state);
    checker_news(fixture->checker);
}

/* So many seconds, each in ten steps. */
static void seconds(struct fixture *fixture, unsigned count)
{
    for (unsigned i = 0; i < 10 * count; i++)
        rig_pass(fixture->loop, 100);
}

/* ---- instances ------------------------------------------------------------------------------ */

static void one_that_starts_is_well_after_rise(void **state)
{
    struct fixture *fixture = *state;
    settle(fixture);
    instances(fixture, 1, BOARD_STARTING, 1);
    rig_pass(fixture->loop, 0);
    assert_int_equal(fixture->server.accepted, 1); /* at once */
    assert_string_equal(last_told(fixture), "");
    rig_pass(fixture->loop, 110); /* a tenth of the interval, and jitter */
    assert_int_equal(fixture->server.accepted, 2);
    assert_string_equal(last_told(fixture), "well 5.1");
    instance_state(fixture, BOARD_UP);
    seconds(fixture, 20);
    assert_int_equal(fixture->told_count, 1);
    assert_in_range(fixture->server.accepted, 2 + 18, 2 + 22);
    struct tally_endpoint counts;
    tally_endpoint_sum(fixture->tally, SLOT, &counts);
    assert_int_equal(counts.checks, fixture->server.accepted);
    assert_int_equal(counts.checks_failed, 0);
}

/* The supervisor that was told has died; its successor knows nothing. */
static void a_verdict_that_nobody_heard_is_told_again(void **state)
{
    struct fixture *fixture = *state;
    settle(fixture);
    instances(fixture, 1, BOARD_STARTING, 1);
    seconds(fixture, 3);
    assert_in_range(fixture->told_count, 2, 5);
    assert_string_equal(last_told(fixture), "well 5.1");
    instance_state(fixture, BOARD_UP);
    fixture->told_count = 0;
    seconds(fixture, 3);
    assert_int_equal(fixture->told_count, 0);
    fixture->server.answer = "HTTP/1.1 500 No\r\n\r\n";
    seconds(fixture, 8); /* the board still shows it up */
    assert_in_range(fixture->told_count, 4, 8);
    assert_string_equal(last_told(fixture), "ill 5.1 status 500");
}

static void one_that_is_up_is_ill_after_fall(void **state)
{
    struct fixture *fixture = *state;
    fixture->server.answer = "HTTP/1.1 503 Busy\r\n\r\n";
    instances(fixture, 1, BOARD_UP, 7);
    settle(fixture);
    while (fixture->server.accepted < 2)
        rig_pass(fixture->loop, 100);
    assert_string_equal(last_told(fixture), "");
    while (fixture->server.accepted < 3)
        rig_pass(fixture->loop, 100);
    assert_string_equal(last_told(fixture), "ill 5.7 status 503");
    struct tally_endpoint counts;
    tally_endpoint_sum(fixture->tally, SLOT, &counts);
    assert_true(counts.checks_failed >= 3);
    assert_int_equal(fixture->told_count, 1);
    instance_state(fixture, BOARD_STARTING); /* as the supervisor has it then */
    seconds(fixture, 5);
    assert_int_equal(fixture->told_count, 1);
    assert_in_range(fixture->server.accepted, 7, 10); /* it was well once: no hurry */
    fixture->server.answer = "HTTP/1.1 200 OK\r\n\r\n";
    seconds(fixture, 3);
    assert_string_equal(last_told(fixture), "well 5.7");
}

static void a_failure_among_good_ones_is_none(void **state)
{
    struct fixture *fixture = *state;
    instances(fixture, 1, BOARD_UP, 1);
    settle(fixture);
    for (unsigned i = 0; i < 12; i++) {
        fixture->server.answer = i % 3 == 2 ? "HTTP/1.1 200 OK\r\n\r\n" : "HTTP/1.1 500 No\r\n\r\n";
        unsigned before = fixture->server.accepted;
        while (fixture->server.accepted == before)
            rig_pass(fixture->loop, 50);
    }
    assert_int_equal(fixture->told_count, 0);
}

static void refused_and_late_are_ill(void **state)
{
    struct fixture *fixture = *state;
    instances(fixture, 1, BOARD_UP, 1);
    settle(fixture);
    fixture->server.silent = true;
    seconds(fixture, 8);
    assert_string_equal(last_told(fixture), "ill 5.1 no answer in 500 ms");
    rig_server_deafen(&fixture->server);
    fixture->told_count = 0;
    seconds(fixture, 4);
    assert_string_equal(last_told(fixture), "ill 5.1 connection refused");
}

static void who_is_down_or_drains_is_not_asked(void **state)
{
    struct fixture *fixture = *state;
    settle(fixture);
    fixture->server.silent = true;
    instances(fixture, 1, BOARD_STARTING, 1);
    rig_pass(fixture->loop, 0);
    assert_int_equal(fixture->server.accepted, 1);
    instance_state(fixture, BOARD_DOWN); /* while it is asked */
    seconds(fixture, 5);
    instance_state(fixture, BOARD_DRAINING);
    seconds(fixture, 5);
    assert_int_equal(fixture->server.accepted, 1);
    assert_int_equal(fixture->told_count, 0);
    fixture->server.silent = false;
    instances(fixture, 1, BOARD_STARTING, 2); /* another start: nothing of the first counts */
    seconds(fixture, 1);
    assert_string_equal(last_told(fixture), "well 5.2");
}

static void starts_of_one_slot_are_kept_apart(void **state)
{
    struct fixture *fixture = *state;
    settle(fixture);
    instances(fixture, 1, BOARD_STARTING, 1);
    rig_pass(fixture->loop, 0); /* one good one */
    instances(fixture, 1, BOARD_STARTING, 2);
    rig_pass(fixture->loop, 0);
    assert_int_equal(fixture->server.accepted, 2);
    assert_int_equal(fixture->told_count, 0);
    rig_pass(fixture->loop, 110);
    assert_string_equal(last_told(fixture), "well 5.2");
}

static void so_many_run_at_a_time(void **state)
{
    enum { COUNT = CHECKS_UNDER_WAY_MAX + 100 };
    struct fixture *fixture = *state;
    settle(fixture);
    fixture->server.silent = true;
    instances(fixture, COUNT, BOARD_STARTING, 1);
    for (int i = 0; i < 20; i++)
        rig_pass(fixture->loop, 0);
    assert_int_equal(fixture->server.accepted, CHECKS_UNDER_WAY_MAX);
    rig_pass(fixture->loop, 500); /* they time out; the others' turn comes */
    for (int i = 0; i < 20; i++)
        rig_pass(fixture->loop, 0);
    assert_int_equal(fixture->server.accepted, COUNT);
}

static void checks_of_a_service_are_spread(void **state)
{
    struct fixture *fixture = *state;
    fixture->service.check_every_ms = 10000;
    instances(fixture, 200, BOARD_UP, 1);
    settle(fixture);
    unsigned most = 0;
    for (int i = 0; i < 100; i++) { /* each is asked once in the first interval */
        unsigned before = fixture->server.accepted;
        rig_pass(fixture->loop, 100);
        most = fixture->server.accepted - before > most ? fixture->server.accepted - before : most;
    }
    assert_in_range(fixture->server.accepted, 180, 220);
    assert_in_range(most, 2, 12);
}

/* ---- settling ------------------------------------------------------------------------------- */

static void new_settings_count_at_once(void **state)
{
    struct fixture *fixture = *state;
    instances(fixture, 1, BOARD_UP, 1);
    settle(fixture);
    fixture->server.silent = true;
    while (fixture->server.accepted == 0)
        rig_pass(fixture->loop, 100);
    static struct service next; /* the old one is gone */
    next = fixture->service;
    next.gateway.check_path = "/other";
    memset(&fixture->service, 0xee, sizeof fixture->service);
    fixture->topology.services = &next;
    fixture->server.silent = false;
    settle(fixture);
    rig_pass(fixture->loop, 0);
    assert_non_null(strstr(fixture->server.asked, "GET /other HTTP/1.1"));
    next.check = CHECK_LISTEN; /* not ours */
    settle(fixture);
    unsigned before = fixture->server.accepted;
    seconds(fixture, 5);
    assert_int_equal(fixture->server.accepted, before);
}

static void the_end_may_come_while_checks_run(void **state)
{
    struct fixture *fixture = *state;
    settle(fixture);
    fixture->server.silent = true;
    instances(fixture, CHECKS_UNDER_WAY_MAX + 10, BOARD_STARTING, 1);
    rig_pass(fixture->loop, 0);
    checker_free(fixture->checker);
    fixture->checker = NULL;
    rig_pass(fixture->loop, 10000);
    assert_int_equal(fixture->told_count, 0);
}

/* ---- remotes -------------------------------------------------------------------------------- */

static void remote_settle(struct fixture *fixture)
{
    snprintf(fixture->remote_text, sizeof fixture->remote_text, "localhost:%u",
             ntohs(fixture->server.address.sin_port));
    fixture->remote = (struct remote){.host = "localhost",
                                      .port = ntohs(fixture->server.address.sin_port),
                                      .weight = 1,
                                      .text = fixture->remote_text};
    fixture->service.gateway.remotes = &fixture->remote;
    fixture->service.gateway.remote_count = 1;
    assert_int_equal(resolver_settle(fixture->resolver, &fixture->topology), 0);
    settle(fixture);
}

static bool remote_ill(const struct fixture *fixture)
{
    struct resolved_address addresses[RESOLVE_ADDRESSES_MAX];
    uint32_t version;
    uint32_t place = resolved_find(fixture->resolved, fixture->remote_text);
    assert_int_equal(resolved_read(fixture->resolved, place, addresses, &version), 1);
    return addresses[0].ill;
}

static void remotes_are_checked_alike(void **state)
{
    struct fixture *fixture = *state;
    remote_settle(fixture);
    seconds(fixture, 3);
    assert_in_range(fixture->server.accepted, 3, 4);
    assert_non_null(strstr(fixture->server.asked, "\r\nHost: localhost:"));
    assert_false(remote_ill(fixture));
    fixture->server.answer = "HTTP/1.1 500 No\r\n\r\n";
    unsigned changes = fixture->changes;
    seconds(fixture, 4);
    assert_true(remote_ill(fixture));
    assert_int_equal(fixture->changes, changes + 1);
    fixture->server.answer = "HTTP/1.1 200 OK\r\n\r\n";
    seconds(fixture, 4);
    assert_false(remote_ill(fixture));
    assert_int_equal(fixture->told_count, 0); /* that is for instances */
}

static void a_remote_that_is_checked_no_more_is_not_ill(void **state)
{
    struct fixture *fixture = *state;
    fixture->server.answer = "HTTP/1.1 500 No\r\n\r\n";
    remote_settle(fixture);
    seconds(fixture, 5);
    assert_true(remote_ill(fixture));
    fixture->service.check = CHECK_LISTEN;
    settle(fixture);
    assert_false(remote_ill(fixture));
}

/* ---- roles ---------------------------------------------------------------------------------- */

static void role_settle(struct fixture *fixture)
{
    fixture->service.check = CHECK_LISTEN;
    fixture->service.role = (struct service_role){
        .check = ROLE_CHECK_REDIS, .every_ms = 1000, .timeout_ms = 500, .fall = 3};
    fixture->server.answer = "*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n";
    settle(fixture);
}

static void instance_role(struct fixture *fixture, enum endpoint_role role, uint32_t term)
{
    struct board_service *row = board_service(fixture->board, NUMBER);
    board_write_begin(row);
    board_instance(fixture->board, SLOT)->role = (uint8_t)role;
    board_instance(fixture->board, SLOT)->term = term;
    board_write_end(row);
    checker_news(fixture->checker);
}

static void a_role_is_told_until_the_board_shows_it(void **state)
{
    struct fixture *fixture = *state;
    role_settle(fixture);
    instances(fixture, 1, BOARD_UP, 4);
    rig_pass(fixture->loop, 0);
    assert_string_equal(fixture->server.asked, "ROLE\r\n");
    assert_string_equal(last_told(fixture), "5.4 is primary 0");
    seconds(fixture, 3);
    assert_in_range(fixture->told_count, 3, 5);
    instance_role(fixture, ROLE_DEPOSED, 0); /* another one is, for the supervisor: it was heard */
    fixture->told_count = 0;
    seconds(fixture, 3);
    assert_int_equal(fixture->told_count, 0);
    fixture->server.answer = "*5\r\n$5\r\nslave\r\n";
    seconds(fixture, 2);
    assert_string_equal(last_told(fixture), "5.4 is replica 0");
    instance_role(fixture, ROLE_REPLICA, 0);
}

static void a_role_is_unknown_after_fall(void **state)
{
    struct fixture *fixture = *state;
    role_settle(fixture);
    instances(fixture, 1, BOARD_UP, 4);
    rig_pass(fixture->loop, 0);
    instance_role(fixture, ROLE_PRIMARY, 0);
    fixture->told_count = 0;
    fixture->server.answer = "-LOADING it\r\n";
    seconds(fixture, 2);
    assert_int_equal(fixture->told_count, 0);
    seconds(fixture, 2);
    assert_string_equal(last_told(fixture), "5.4 is unknown: it said \"LOADING it\"");
}

static void health_and_role_are_asked_side_by_side(void **state)
{
    struct fixture *fixture = *state;
    role_settle(fixture);
    fixture->service.check = CHECK_TCP;
    settle(fixture);
    instances(fixture, 1, BOARD_STARTING, 4);
    seconds(fixture, 1);
    bool well = false, primary = false;
    for (unsigned i = 0; i < fixture->told_count; i++) {
        well |= strcmp(fixture->told[i], "well 5.4") == 0;
        primary |= strcmp(fixture->told[i], "5.4 is primary 0") == 0;
    }
    assert_true(well && primary);
}

static enum endpoint_role remote_role(const struct fixture *fixture, uint32_t index)
{
    struct resolved_address addresses[RESOLVE_ADDRESSES_MAX];
    uint32_t version;
    uint32_t place = resolved_find(fixture->resolved, fixture->remote_text);
    assert_true(resolved_read(fixture->resolved, place, addresses, &version) > index);
    return addresses[index].role;
}

static void of_two_remote_primaries_the_newer_is_it(void **state)
{
    struct fixture *fixture = *state;
    struct rig_server other;
    rig_server_start(&other, fixture->loop, false);
    other.answer = "*5\r\n$5\r\nslave\r\n";
    role_settle(fixture);
    remote_settle(fixture);
    struct resolved_address both[2] = {{.length = sizeof other.address},
                                       {.length = sizeof other.address}};
    memcpy(&both[0].address, &fixture->server.address, sizeof other.address);
    memcpy(&both[1].address, &other.address, sizeof other.address);
    resolved_write(fixture->resolved, resolved_find(fixture->resolved, fixture->remote_text), both,
                   2);
    seconds(fixture, 3);
    assert_int_equal(remote_role(fixture, 0), ROLE_PRIMARY);
    assert_int_equal(remote_role(fixture, 1), ROLE_REPLICA);
    other.answer = fixture->server.answer;
    seconds(fixture, 3);
    assert_int_equal(remote_role(fixture, 0), ROLE_DEPOSED);
    assert_int_equal(remote_role(fixture, 1), ROLE_PRIMARY);
    other.answer = "-ERR\r\n";
    seconds(fixture, 5); /* then the older one is it again */
    assert_int_equal(remote_role(fixture, 0), ROLE_PRIMARY);
    assert_int_equal(remote_role(fixture, 1), ROLE_NONE);
    fixture->service.role.check = ROLE_CHECK_NONE;
    settle(fixture);
    assert_int_equal(remote_role(fixture, 0), ROLE_NONE);
    rig_server_stop(&other);
}

static void an_address_that_comes_later_is_checked(void **state)
{
    struct fixture *fixture = *state;
    remote_settle(fixture);
    seconds(fixture, 1);
    unsigned before = fixture->server.accepted;
    uint32_t place = resolved_find(fixture->resolved, fixture->remote_text);
    resolved_write(fixture->resolved, place, NULL, 0);
    seconds(fixture, 2);
    assert_in_range(fixture->server.accepted, before, before + 1);
    struct resolved_address address = {.length = sizeof fixture->server.address};
    memcpy(&address.address, &fixture->server.address, sizeof fixture->server.address);
    resolved_write(fixture->resolved, place, &address, 1);
    before = fixture->server.accepted;
    seconds(fixture, 3);
    assert_true(fixture->server.accepted > before);
}

int main(void)
{
#define WITH_CHECKER(test) cmocka_unit_test_setup_teardown(test, fixture_begin, fixture_end)
    const struct CMUnitTest tests[] = {
        WITH_CHECKER(one_that_starts_is_well_after_rise),
        WITH_CHECKER(a_verdict_that_nobody_heard_is_told_again),
        WITH_CHECKER(one_that_is_up_is_ill_after_fall),
        WITH_CHECKER(a_failure_among_good_ones_is_none),
        WITH_CHECKER(refused_and_late_are_ill),
        WITH_CHECKER(who_is_down_or_drains_is_not_asked),
        WITH_CHECKER(starts_of_one_slot_are_kept_apart),
        WITH_CHECKER(so_many_run_at_a_time),
        WITH_CHECKER(checks_of_a_service_are_spread),
        WITH_CHECKER(new_settings_count_at_once),
        WITH_CHECKER(the_end_may_come_while_checks_run),
        WITH_CHECKER(remotes_are_checked_alike),
        WITH_CHECKER(a_remote_that_is_checked_no_more_is_not_ill),
        WITH_CHECKER(a_role_is_told_until_the_board_shows_it),
        WITH_CHECKER(a_role_is_unknown_after_fall),
        WITH_CHECKER(health_and_role_are_asked_side_by_side),
        WITH_CHECKER(of_two_remote_primaries_the_newer_is_it),
        WITH_CHECKER(an_address_that_comes_later_is_checked),
    };
    return cmocka_run_group_tests_name("checker", tests, NULL, NULL);
}
