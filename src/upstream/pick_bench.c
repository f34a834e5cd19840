/* What a choice costs: nanoseconds for each policy and number of endpoints, with a request begun
 * and one ended for each choice, so that loads differ, and a turn of the loop after each
 * BATCH. Not run by the tests. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "upstream/board.h"
#include "upstream/tally.h"
#include "upstream/upstream.h"

enum { BATCH = 64, BATCHES = 20000, UNDER_WAY = 256, SLOTS = 2048, THREADS = 4 };

static struct board *board;
static struct upstream_place place;
static struct service service = {.name = "api", .realm = ""};

static void instances_make(uint32_t count)
{
    struct board_service *row = board_service(board, 0);
    board_write_begin(row);
    snprintf(row->name, sizeof row->name, "api");
    row->first = 0;
    for (uint32_t slot = 0; slot < count; slot++)
        *board_instance(board, slot) =
            (struct board_instance){.state = BOARD_UP,
                                    .number = slot + 1,
                                    .epoch = 1,
                                    .address = 0x7f4d0101 + slot,
                                    .weight = 1,
                                    .next = slot + 1 < count ? slot + 1 : BOARD_NONE,
                                    .ports = {80}};
    board_write_end(row);
}

static void failed(const char *what)
{
    fprintf(stderr, "%s failed\n", what);
    exit(1);
}

static uint64_t batch_run(struct upstream *upstream, struct endpoint **under_way, uint64_t *sum)
{
    struct pick pick = {0};
    uint64_t begun_ns = clock_monotonic_ns();
    for (int i = 0; i < BATCH; i++) {
        struct endpoint *endpoint;
        pick.hash = ++*sum * 0x9e3779b97f4a7c15ull;
        if (upstream_pick(upstream, &pick, &endpoint) != PICK_DONE)
            failed("a choice");
        endpoint_begin(endpoint);
        struct endpoint **slot = &under_way[*sum % UNDER_WAY];
        if (*slot)
            endpoint_end(*slot, OUTCOME_GOOD, 100 + *sum % 50);
        *slot = endpoint;
    }
    return clock_monotonic_ns() - begun_ns;
}

static double policy_run(enum balance_policy balance, uint32_t count)
{
    static struct endpoint *under_way[UNDER_WAY];
    instances_make(count);
    service.balance = balance;
    struct upstream *upstream = upstream_new(&place, NULL, &service);
    if (!upstream)
        failed("upstream_new");
    uint64_t spent_ns = 0;
    uint64_t sum = 0;
    for (int batch = 0; batch < BATCHES; batch++) {
        spent_ns += batch_run(upstream, under_way, &sum);
        if (loop_turn(place.loop, 0) != 0)
            failed("loop_turn");
    }
    for (int i = 0; i < UNDER_WAY; i++) {
        endpoint_end(under_way[i], OUTCOME_GOOD, 0);
        under_way[i] = NULL;
    }
    upstream_free(upstream);
    return (double)spent_ns / BATCH / BATCHES;
}

int main(void)
{
    static const char *const names[] = {
        [BALANCE_LEAST] = "least",   [BALANCE_ROUND_ROBIN] = "round-robin",
        [BALANCE_RANDOM] = "random", [BALANCE_WEIGHTED] = "weighted",
        [BALANCE_HASH] = "hash",     [BALANCE_EWMA] = "ewma",
        [BALANCE_STICKY] = "sticky"};
    static const uint32_t counts[] = {4, 16, 1000};
    static const struct tally_sizes sizes = {
        .threads = THREADS, .slots_max = SLOTS, .remotes_max = 1, .rows = {1, 1, 1}};
    static struct random_state random;
    int board_fd;
    int bell;
    int tally_fd;
    if (board_new(1, SLOTS, &board, &board_fd, &bell) || tally_new(&sizes, &place.tally, &tally_fd))
        failed("making segments");
    random_seed(&random, 1);
    place.board = board;
    place.random = &random;
    place.loop = loop_new();
    printf("%-12s", "ns a choice");
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        printf("%8" PRIu32, counts[i]);
    for (enum balance_policy policy = BALANCE_LEAST; policy <= BALANCE_STICKY; policy++) {
        printf("\n%-12s", names[policy]);
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
            printf("%8.0f", policy_run(policy, counts[i]));
    }
    printf("\n");
    return 0;
}
