#include "upstream/tally.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/scoped.h"

enum { THREADS = 3, SLOTS = 100, REMOTES = 4, ROUTES = 3 };

struct fixture {
    struct tally *tally;
    int fd;
};

static const struct tally_sizes sizes = {
    .threads = THREADS,
    .slots_max = SLOTS,
    .remotes_max = REMOTES,
    .rows = {[TALLY_SERVICE] = 10, [TALLY_LISTENER] = 10, [TALLY_ROUTE] = ROUTES}};

static int fixture_begin(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_int_equal(tally_new(&sizes, &fixture->tally, &fixture->fd), 0);
    *state = fixture;
    return 0;
}

static int fixture_end(void **state)
{
    struct fixture *fixture = *state;
    tally_close(fixture->tally);
    close(fixture->fd);
    free(fixture);
    return 0;
}

static void sums_are_over_all_threads(void **state)
{
    struct fixture *fixture = *state;
    struct tally *other;
    assert_int_equal(tally_open(fixture->fd, false, &other), 0);
    assert_memory_equal(tally_sizes(other), &sizes, sizeof sizes);
    for (uint32_t thread = 0; thread < THREADS; thread++) {
        struct tally_endpoint *endpoint = tally_endpoint(fixture->tally, thread, 7);
        tally_add(&endpoint->requests_now, thread + 1);
        tally_add(&endpoint->connections_now, 10);
        tally_add(&endpoint->ejected, 1); /* the last field */
        struct tally_traffic *traffic = tally_traffic(fixture->tally, thread, TALLY_SERVICE, 9);
        tally_add(&traffic->requests, 100);
        tally_add(&traffic->latency[TALLY_BUCKETS - 1], 2);
    }
    tally_add(&tally_endpoint(fixture->tally, 1, 7)->requests_now, (uint64_t)-1);
    assert_int_equal(tally_requests_now(other, 7), 5);
    assert_int_equal(tally_connections_now(other, 7), 30);
    struct tally_endpoint endpoint;
    tally_endpoint_sum(other, 7, &endpoint);
    assert_int_equal(endpoint.requests_now, 5);
    assert_int_equal(endpoint.ejected, 3);
    struct tally_traffic traffic;
    tally_traffic_sum(other, TALLY_SERVICE, 9, &traffic);
    assert_int_equal(traffic.requests, 300);
    assert_int_equal(traffic.latency[TALLY_BUCKETS - 1], 6);
    tally_endpoint_sum(other, 6, &endpoint);
    assert_int_equal(endpoint.requests_now, 0);
    tally_close(other);
}

static void lanes_count_beside_each_other(void **state)
{
    struct fixture *fixture = *state;
    struct tally *tally = fixture->tally;
    tally_add(&tally_endpoint(tally, 1, 7)->requests, 5);
    tally_add(&tally_endpoint(tally, 1, 7)->requests_now, 2);
    tally_add(&tally_traffic(tally, 2, TALLY_ROUTE, 1)->connections_now, 1);
    assert_true(tally_lane_alone(tally));
    tally_lane_begin(tally, 2);
    assert_false(tally_lane_alone(tally));
    uint32_t thread = 2 * THREADS + 1;
    tally_add(&tally_endpoint(tally, thread, 7)->requests, 10);
    tally_add(&tally_endpoint(tally, thread, 7)->requests_now, 1);
    tally_add(&tally_endpoint(tally, thread, 7)->connections_now, 4);
    tally_add(&tally_traffic(tally, thread, TALLY_ROUTE, 1)->connections, 3);
    assert_int_equal(tally_requests_now(tally, 7), 3);
    assert_int_equal(tally_connections_now(tally, 7), 4);
    tally_lane_end(tally, 0);
    assert_true(tally_lane_alone(tally));
    assert_int_equal(tally_requests_now(tally, 7), 1);
    struct tally_endpoint endpoint;
    tally_endpoint_sum(tally, 7, &endpoint);
    assert_int_equal(endpoint.requests, 15);
    assert_int_equal(endpoint.requests_now, 1);
    struct tally_traffic traffic;
    tally_traffic_sum(tally, TALLY_ROUTE, 1, &traffic);
    assert_int_equal(traffic.connections, 3);
    assert_int_equal(traffic.connections_now, 0);
}

/* Filled with a pattern of its own, no row may touch another. */
static void rows_do_not_overlap(void **state)
{
    struct fixture *fixture = *state;
    uint64_t mark = 1;
    for (uint32_t thread = 0; thread < THREADS * TALLY_LANES; thread++) {
        for (uint32_t row = 0; row < SLOTS + REMOTES; row++)
            tally_endpoint(fixture->tally, thread, row)->ejected = mark++;
        for (unsigned kind = 0; kind < TALLY_KINDS; kind++)
            for (uint32_t row = 0; row < sizes.rows[kind]; row++)
                tally_traffic(fixture->tally, thread, kind, row)->requests = mark++;
    }
    tally_remote_take(fixture->tally, "r");
    tally_row_take(fixture->tally, TALLY_ROUTE, "r");
    mark = 1;
    for (uint32_t thread = 0; thread < THREADS * TALLY_LANES; thread++) {
        for (uint32_t row = 0; row < SLOTS + REMOTES; row++)
            assert_int_equal(tally_endpoint(fixture->tally, thread, row)->ejected, mark++);
        for (unsigned kind = 0; kind < TALLY_KINDS; kind++)
            for (uint32_t row = 0; row < sizes.rows[kind]; row++)
                assert_int_equal(tally_traffic(fixture->tally, thread, kind, row)->requests,
                                 mark++);
    }
}

static void rows_are_given_by_name_and_the_last_is_shared(void **state)
{
    struct fixture *fixture = *state;
    struct tally *tally = fixture->tally;
    assert_int_equal(tally_row_take(tally, TALLY_ROUTE, "a /"), 0);
    assert_int_equal(tally_row_take(tally, TALLY_ROUTE, "a /b"), 1);
    assert_int_equal(tally_row_take(tally, TALLY_ROUTE, "a /"), 0);
    assert_int_equal(tally_row_take(tally, TALLY_ROUTE, "c /"), 2);
    assert_int_equal(tally_row_take(tally, TALLY_ROUTE, "d /"), 2);
    assert_int_equal(tally_row_take(tally, TALLY_LISTENER, "a /b"), 0); /* lists of their own */
    assert_string_equal(tally_row_name(tally, TALLY_ROUTE, 1), "a /b");
    assert_string_equal(tally_row_name(tally, TALLY_ROUTE, 2), "");
    assert_int_equal(tally_remote_take(tally, "10.0.0.7:80"), SLOTS);
    assert_int_equal(tally_remote_take(tally, "10.0.0.8:80"), SLOTS + 1);
    assert_string_equal(tally_remote_name(tally, SLOTS + 1), "10.0.0.8:80");
    assert_string_equal(tally_remote_name(tally, SLOTS + 2), "");
    assert_string_equal(tally_remote_name(tally, 3), "");
}

static void names_outlive_the_process_that_gave_them(void **state)
{
    struct fixture *fixture = *state;
    char longest[TALLY_NAME_BYTES + 10];
    memset(longest, 'l', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    tally_row_take(fixture->tally, TALLY_LISTENER, "first");
    tally_row_take(fixture->tally, TALLY_LISTENER, longest);
    struct tally *next;
    assert_int_equal(tally_open(fixture->fd, true, &next), 0);
    assert_int_equal(tally_row_take(next, TALLY_LISTENER, longest), 1);
    assert_int_equal(tally_row_take(next, TALLY_LISTENER, "third"), 2);
    assert_int_equal(tally_row_take(next, TALLY_LISTENER, "first"), 0);
    assert_int_equal(strlen(tally_row_name(next, TALLY_LISTENER, 1)), TALLY_NAME_BYTES - 1);
    tally_close(next);
}

static void a_latency_falls_into_the_bucket_that_bounds_it(void **state)
{
    struct fixture *fixture = *state;
    struct tally_traffic *traffic = tally_traffic(fixture->tally, 0, TALLY_ROUTE, 0);
    static const struct {
        uint64_t us;
        unsigned bucket;
    } cases[] = {{0, 0},   {1, 0},         {100, 0},       {101, 1},        {200, 1},
                 {201, 2}, {26214400, 18}, {26214401, 19}, {UINT64_MAX, 19}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint64_t before = traffic->latency[cases[i].bucket];
        tally_latency(traffic, cases[i].us);
        assert_int_equal(traffic->latency[cases[i].bucket], before + 1);
        assert_true(cases[i].us <= tally_bucket_us(cases[i].bucket));
        if (cases[i].bucket > 0)
            assert_true(cases[i].us > tally_bucket_us(cases[i].bucket - 1));
    }
    assert_int_equal(tally_bucket_us(0), 100);
    assert_true(tally_bucket_us(TALLY_BUCKETS - 1) == UINT64_MAX);
}

static blkcnt_t blocks(int fd)
{
    struct stat status;
    assert_int_equal(fstat(fd, &status), 0);
    return status.st_blocks;
}

static void a_restart_clears_what_was_under_way_and_touches_little_else(void **state)
{
    (void)state;
    const struct tally_sizes large = {
        .threads = 8, .slots_max = 11000, .remotes_max = 4096, .rows = {10000, 10000, 65536}};
    struct tally *tally;
    int fd;
    assert_int_equal(tally_new(&large, &tally, &fd), 0);
    static const uint32_t rows[] = {0, 1, 5, 10999, 15095};
    enum { ROWS = sizeof rows / sizeof *rows };
    for (unsigned i = 0; i < ROWS; i++) {
        struct tally_endpoint *endpoint = tally_endpoint(tally, i, rows[i]);
        tally_add(&endpoint->requests, 3);
        tally_add(&endpoint->requests_now, 1);
        tally_add(&endpoint->connections_now, 2);
    }
    static const uint32_t routes[] = {0, 3, 30000, 65535};
    for (unsigned i = 0; i < sizeof routes / sizeof *routes; i++) {
        tally_add(&tally_traffic(tally, i, TALLY_ROUTE, routes[i])->requests_now, 1);
        tally_add(&tally_traffic(tally, i, TALLY_ROUTE, routes[i])->held_now, 1);
        tally_add(&tally_traffic(tally, i, TALLY_ROUTE, routes[i])->held, 1);
    }
    blkcnt_t before = blocks(fd);
    assert_true(before * 512 <= 16 * 4096);
    tally_lane_begin(tally, 0);
    /* A row may begin in the page before, and end in the next: two more for each of the routes. */
    assert_true((blocks(fd) - before) * 512 <= 8 * 4096);
    for (unsigned i = 0; i < ROWS; i++) {
        assert_int_equal(tally_requests_now(tally, rows[i]), 0);
        assert_int_equal(tally_connections_now(tally, rows[i]), 0);
        assert_int_equal(tally_endpoint(tally, i, rows[i])->requests, 3);
    }
    for (unsigned i = 0; i < sizeof routes / sizeof *routes; i++) {
        struct tally_traffic sum;
        tally_traffic_sum(tally, TALLY_ROUTE, routes[i], &sum);
        assert_int_equal(sum.requests_now, 0);
        assert_int_equal(sum.held_now, 0);
        assert_int_equal(sum.held, 1);
    }
    tally_close(tally);
    close(fd);
}

static void something_else_is_no_tally(void **state)
{
    struct fixture *fixture = *state;
    off_t bytes = lseek(fixture->fd, 0, SEEK_END);
    for (size_t word = 0; word < 10; word++) { /* magic, version, bytes, threads, slots, … rows */
        uint32_t header[1024];
        assert_int_equal(pread(fixture->fd, header, sizeof header, 0), sizeof header);
        header[word] += 100;
        scoped_fd int fd = memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        assert_int_equal(ftruncate(fd, bytes), 0);
        assert_int_equal(pwrite(fd, header, sizeof header, 0), sizeof header);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
        struct tally *tally = NULL;
        assert_int_equal(tally_open(fd, true, &tally), -EPROTO);
    }
}

/* ---- threads -------------------------------------------------------------------------------- */

enum { ROUNDS = 100000 };

struct writer {
    struct tally *tally;
    uint32_t thread;
};

static void *count_rounds(void *owner)
{
    struct writer *writer = owner;
    struct tally_endpoint *endpoint = tally_endpoint(writer->tally, writer->thread, 1);
    for (int round = 0; round < ROUNDS; round++) {
        tally_add(&endpoint->requests_now, 1);
        tally_add(&endpoint->requests, 1);
        tally_add(&endpoint->requests_now, (uint64_t)-1);
    }
    return NULL;
}

static void nothing_is_lost_between_threads(void **state)
{
    struct fixture *fixture = *state;
    pthread_t threads[THREADS];
    struct writer writers[THREADS];
    for (uint32_t i = 0; i < THREADS; i++) {
        writers[i] = (struct writer){fixture->tally, i};
        assert_int_equal(pthread_create(&threads[i], NULL, count_rounds, &writers[i]), 0);
    }
    for (int i = 0; i < 1000; i++)
        assert_true(tally_requests_now(fixture->tally, 1) <= THREADS);
    for (uint32_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    struct tally_endpoint sum;
    tally_endpoint_sum(fixture->tally, 1, &sum);
    assert_int_equal(sum.requests, THREADS * ROUNDS);
    assert_int_equal(sum.requests_now, 0);
}

int main(void)
{
#define WITH_TALLY(test) cmocka_unit_test_setup_teardown(test, fixture_begin, fixture_end)
    const struct CMUnitTest tests[] = {
        WITH_TALLY(sums_are_over_all_threads),
        WITH_TALLY(lanes_count_beside_each_other),
        WITH_TALLY(rows_do_not_overlap),
        WITH_TALLY(rows_are_given_by_name_and_the_last_is_shared),
        WITH_TALLY(names_outlive_the_process_that_gave_them),
        WITH_TALLY(a_latency_falls_into_the_bucket_that_bounds_it),
        cmocka_unit_test(a_restart_clears_what_was_under_way_and_touches_little_else),
        WITH_TALLY(something_else_is_no_tally),
        WITH_TALLY(nothing_is_lost_between_threads),
    };
    return cmocka_run_group_tests_name("tally", tests, NULL, NULL);
}
