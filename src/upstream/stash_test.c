#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "upstream/board.h"
#include "upstream/stash.h"

enum { NOW = 1000, LATER = 61000, MANY = 100 };

struct fixture {
    struct stash *stash;
    struct shelf *shelf;
    tally_count connections_now;
};

static struct sockaddr_in address;

static struct shelf_identity identity_of(uint16_t port, uint32_t slot, uint32_t epoch)
{
    address = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0x7f4d0101)};
    return (struct shelf_identity){.address = (const struct sockaddr *)&address,
                                   .address_length = sizeof address,
                                   .slot = slot,
                                   .epoch = epoch,
                                   .row = slot};
}

static int begin(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->stash = stash_new();
    struct shelf_identity identity = identity_of(80, 7, 1);
    fixture->shelf = stash_shelf(fixture->stash, &identity);
    *state = fixture;
    return 0;
}

static int end(void **state)
{
    struct fixture *fixture = *state;
    shelf_unref(fixture->shelf, &fixture->connections_now);
    stash_free(fixture->stash);
    assert_int_equal(fixture->connections_now, 0);
    free(fixture);
    return 0;
}

/* A connection, counted; *ret_other is the endpoint's end of it. */
static int connected(struct fixture *fixture, int *ret_other)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    tally_add(&fixture->connections_now, 1);
    *ret_other = fds[1];
    return fds[0];
}

static bool give(struct fixture *fixture, int fd)
{
    return shelf_give(fixture->shelf, fd, LATER, MANY, &fixture->connections_now);
}

static int take(struct fixture *fixture, uint64_t now_ms)
{
    return shelf_take(fixture->shelf, now_ms, &fixture->connections_now);
}

static bool ended(int other)
{
    char byte;
    return recv(other, &byte, 1, MSG_DONTWAIT) == 0;
}

/* The one that a test took out ends. */
static void drop(struct fixture *fixture, int fd)
{
    close(fd);
    tally_add(&fixture->connections_now, (uint64_t)-1);
}

static void the_last_given_is_taken_first(void **state)
{
    struct fixture *fixture = *state;
    int others[2];
    int first = connected(fixture, &others[0]);
    int second = connected(fixture, &others[1]);
    assert_false(shelf_holds(fixture->shelf));
    assert_int_equal(take(fixture, NOW), -1);
    assert_true(give(fixture, first));
    assert_true(give(fixture, second));
    assert_true(shelf_holds(fixture->shelf));
    assert_int_equal(fixture->connections_now, 2);
    assert_int_equal(take(fixture, NOW), second);
    assert_int_equal(take(fixture, NOW), first);
    assert_int_equal(take(fixture, NOW), -1);
    assert_false(shelf_holds(fixture->shelf));
    assert_int_equal(fixture->connections_now, 2);
    assert_false(ended(others[0]));
    drop(fixture, first);
    drop(fixture, second);
    close(others[0]);
    close(others[1]);
}

static void what_ended_or_says_something_is_not_kept(void **state)
{
    struct fixture *fixture = *state;
    int other;
    int fd = connected(fixture, &other);
    close(other);
    assert_false(give(fixture, fd));
    assert_int_equal(fixture->connections_now, 0);
    fd = connected(fixture, &other);
    assert_int_equal(send(other, "x", 1, 0), 1);
    assert_false(give(fixture, fd));
    close(other);
    assert_false(shelf_holds(fixture->shelf));
    assert_int_equal(fixture->connections_now, 0);
}

static void what_ended_while_it_lay_there_is_not_taken(void **state)
{
    struct fixture *fixture = *state;
    int others[3];
    int good = connected(fixture, &others[0]);
    give(fixture, good);
    give(fixture, connected(fixture, &others[1]));
    give(fixture, connected(fixture, &others[2]));
    close(others[2]);
    assert_int_equal(send(others[1], "x", 1, 0), 1);
    assert_int_equal(take(fixture, NOW), good);
    assert_int_equal(fixture->connections_now, 1);
    drop(fixture, good);
    close(others[0]);
    close(others[1]);
}

static void who_is_too_old_is_not_taken(void **state)
{
    struct fixture *fixture = *state;
    int other;
    give(fixture, connected(fixture, &other));
    assert_int_equal(take(fixture, LATER), -1);
    assert_true(ended(other));
    assert_int_equal(fixture->connections_now, 0);
    close(other);
}

static void an_endpoint_has_its_bound(void **state)
{
    struct fixture *fixture = *state;
    int others[3];
    for (int i = 0; i < 3; i++) {
        int fd = connected(fixture, &others[i]);
        assert_int_equal(shelf_has_room(fixture->shelf, 2), i < 2);
        assert_int_equal(shelf_give(fixture->shelf, fd, LATER, 2, &fixture->connections_now),
                         i < 2);
    }
    assert_true(ended(others[2]));
    assert_int_equal(fixture->connections_now, 2);
    for (int i = 0; i < 3; i++)
        close(others[i]);
}

static void all_together_have_a_bound(void **state)
{
    struct fixture *fixture = *state;
    struct rlimit limit = {.rlim_cur = STASH_CONNECTIONS_MAX + 100,
                           .rlim_max = STASH_CONNECTIONS_MAX + 100};
    struct rlimit before;
    getrlimit(RLIMIT_NOFILE, &before);
    limit.rlim_max = before.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        skip();
    int other;
    int first = connected(fixture, &other);
    for (int i = 1; i < STASH_CONNECTIONS_MAX; i++) {
        int fd = dup(first);
        tally_add(&fixture->connections_now, 1);
        assert_true(shelf_give(fixture->shelf, fd, LATER, UINT32_MAX, &fixture->connections_now));
    }
    struct shelf_identity identity = identity_of(81, 8, 1);
    struct shelf *elsewhere = stash_shelf(fixture->stash, &identity);
    tally_add(&fixture->connections_now, 1);
    assert_true(shelf_give(elsewhere, dup(first), LATER, MANY, &fixture->connections_now));
    assert_false(shelf_has_room(elsewhere, MANY));
    assert_false(shelf_give(elsewhere, first, LATER, MANY, &fixture->connections_now));
    shelf_clear(fixture->shelf, &fixture->connections_now);
    assert_true(shelf_has_room(elsewhere, MANY));
    assert_int_equal(fixture->connections_now, 1);
    shelf_unref(elsewhere, &fixture->connections_now);
    close(other);
    setrlimit(RLIMIT_NOFILE, &before);
}

static void a_sweep_closes_what_ended_and_what_is_old(void **state)
{
    struct fixture *fixture = *state;
    int others[3];
    int good = connected(fixture, &others[0]);
    int old = connected(fixture, &others[1]);
    assert_true(shelf_give(fixture->shelf, old, 1500, MANY, &fixture->connections_now));
    give(fixture, good);
    give(fixture, connected(fixture, &others[2]));
    shelf_sweep(fixture->shelf, NOW, &fixture->connections_now);
    assert_int_equal(fixture->connections_now, 3);
    close(others[2]);
    /* Somebody did it just now. */
    shelf_sweep(fixture->shelf, NOW + STASH_SWEEP_MS - 1, &fixture->connections_now);
    assert_int_equal(fixture->connections_now, 3);
    shelf_sweep(fixture->shelf, NOW + STASH_SWEEP_MS, &fixture->connections_now);
    assert_int_equal(fixture->connections_now, 1);
    assert_true(ended(others[1]));
    assert_int_equal(take(fixture, NOW + STASH_SWEEP_MS), good);
    assert_false(shelf_holds(fixture->shelf));
    drop(fixture, good);
    close(others[0]);
    close(others[1]);
}

static void threads_meet_by_identity(void **state)
{
    struct fixture *fixture = *state;
    int other;
    give(fixture, connected(fixture, &other));
    struct shelf_identity same = identity_of(80, 7, 1);
    struct shelf *shelf = stash_shelf(fixture->stash, &same);
    assert_ptr_equal(shelf, fixture->shelf);
    shelf_unref(shelf, &fixture->connections_now);
    assert_true(shelf_holds(fixture->shelf));
    const struct shelf_identity strangers[] = {
        identity_of(80, 7, 2), /* it restarted */
        identity_of(80, 8, 1),
        identity_of(80, BOARD_NONE, 0),
    };
    for (size_t i = 0; i < 3; i++) {
        shelf = stash_shelf(fixture->stash, &strangers[i]);
        assert_ptr_not_equal(shelf, fixture->shelf);
        assert_false(shelf_holds(shelf));
        shelf_unref(shelf, &fixture->connections_now);
    }
    struct shelf_identity port = identity_of(81, 7, 1);
    shelf = stash_shelf(fixture->stash, &port);
    assert_false(shelf_holds(shelf));
    shelf_unref(shelf, &fixture->connections_now);
    close(other);
}

static void the_last_who_leaves_closes(void **state)
{
    struct fixture *fixture = *state;
    struct shelf_identity identity = identity_of(82, 9, 1);
    struct shelf *shelf = stash_shelf(fixture->stash, &identity);
    assert_ptr_equal(stash_shelf(fixture->stash, &identity), shelf);
    int other;
    int fd = connected(fixture, &other);
    assert_true(shelf_give(shelf, fd, LATER, MANY, &fixture->connections_now));
    shelf_unref(shelf, &fixture->connections_now);
    assert_false(ended(other));
    shelf_unref(shelf, &fixture->connections_now);
    assert_true(ended(other));
    close(other);
    shelf_unref(NULL, NULL);
    assert_false(shelf_holds(NULL));
}

int main(void)
{
#define WITH_STASH(test) cmocka_unit_test_setup_teardown(test, begin, end)
    const struct CMUnitTest tests[] = {
        WITH_STASH(the_last_given_is_taken_first),
        WITH_STASH(what_ended_or_says_something_is_not_kept),
        WITH_STASH(what_ended_while_it_lay_there_is_not_taken),
        WITH_STASH(who_is_too_old_is_not_taken),
        WITH_STASH(an_endpoint_has_its_bound),
        WITH_STASH(all_together_have_a_bound),
        WITH_STASH(a_sweep_closes_what_ended_and_what_is_old),
        WITH_STASH(threads_meet_by_identity),
        WITH_STASH(the_last_who_leaves_closes),
    };
    return cmocka_run_group_tests_name("stash", tests, NULL, NULL);
}
