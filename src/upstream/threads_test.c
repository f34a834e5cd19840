/* Two threads choose while a third changes the board and what is resolved: what was down before a
 * choice began is never chosen, and all that is begun ends. Run it under TSan, too. */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "upstream/board.h"
#include "upstream/resolved_private.h"
#include "upstream/tally.h"
#include "upstream/upstream.h"

enum { THREADS = 2, INSTANCES = 6, CHOICES = 200000, HELD = 16, SERVICE = 1 };

static struct board *board;
static struct tally *tally;
static struct resolved *resolved;
static _Atomic uint32_t toggles[INSTANCES]; /* odd: it is down, and stays so until the next */
static atomic_uint working;
static const struct remote remotes[] = {
    {.host = "back.example", .port = 80, .weight = 1, .text = "back.example:80"}};

struct worker {
    unsigned number;
    enum balance_policy balance;
    unsigned chosen;
    unsigned wrong; /* was down all the time */
};

static void choose_instance(struct worker *worker, struct upstream *upstream,
                            struct endpoint **ret_endpoint)
{
    uint32_t before[INSTANCES];
    struct pick pick = {.hash = 1 + worker->chosen};
    for (int i = 0; i < INSTANCES; i++)
        before[i] = atomic_load(&toggles[i]);
    if (upstream_pick(upstream, &pick, ret_endpoint) != PICK_DONE)
        return;
    uint32_t index = (*ret_endpoint)->number - 1;
    uint32_t after = atomic_load(&toggles[index]);
    worker->wrong += (after & 1) && after == before[index];
    worker->chosen++;
}

static void begin_instead(struct endpoint **held, struct endpoint *endpoint)
{
    if (*held)
        endpoint_end(*held, OUTCOME_GOOD, 100);
    endpoint_begin(endpoint);
    *held = endpoint;
}

static void *work(void *owner)
{
    struct worker *worker = owner;
    struct random_state random;
    struct endpoint *held[HELD] = {NULL};
    struct upstream_place place = {.loop = loop_new(),
                                   .board = board,
                                   .tally = tally,
                                   .resolved = resolved,
                                   .thread = worker->number,
                                   .random = &random};
    const struct service service = {.name = "api", .realm = "", .balance = worker->balance};
    const struct service remote = {
        .name = "back", .realm = "", .gateway = {.remotes = remotes, .remote_count = 1}};
    random_seed(&random, worker->number + 1);
    struct upstream *upstream = upstream_new(&place, NULL, &service);
    struct upstream *other = upstream_new(&place, NULL, &remote);
    for (unsigned i = 0; i < CHOICES; i++) {
        struct endpoint *endpoint = NULL;
        choose_instance(worker, upstream, &endpoint);
        if (endpoint)
            begin_instead(&held[i % HELD], endpoint);
        if (i % 64 == 0) {
            loop_turn(place.loop, 0);
            upstream_news(upstream);
            if (upstream_pick(other, &(struct pick){0}, &endpoint) == PICK_DONE)
                begin_instead(&held[i / 64 % HELD], endpoint);
        }
    }
    upstream_free(upstream);
    upstream_free(other);
    for (int i = 0; i < HELD; i++)
        if (held[i])
            endpoint_end(held[i], OUTCOME_GOOD, 0);
    loop_free(place.loop);
    atomic_fetch_sub(&working, 1);
    return NULL;
}

/* ---- the supervisor's side, with atomic stores, since here it is in the same process --------- */

static void chain_write(uint32_t count, uint32_t epoch)
{
    struct board_service *row = board_service(board, SERVICE);
    board_write_begin(row);
    for (uint32_t i = 0; i < count; i++) {
        struct board_instance *instance = board_instance(board, i);
        struct board_instance wanted = {.service = SERVICE,
                                        .number = i + 1,
                                        .epoch = epoch,
                                        .address = INADDR_LOOPBACK + i,
                                        .weight = 1 + i % 2,
                                        .next = i + 1 < count ? i + 1 : BOARD_NONE,
                                        .ports = {80}};
        wanted.state = atomic_load(&instance->state);
        const uint64_t *words = (const void *)&wanted;
        for (size_t word = 0; word < sizeof wanted / 8; word++)
            __atomic_store_n((uint64_t *)(void *)instance + word, words[word], __ATOMIC_RELAXED);
    }
    __atomic_store_n(&row->first, 0, __ATOMIC_RELAXED);
    board_write_end(row);
}

static void toggle(uint32_t index)
{
    struct board_instance *instance = board_instance(board, index);
    if (atomic_load(&toggles[index]) & 1) {
        atomic_fetch_add(&toggles[index], 1);
        atomic_store(&instance->state, BOARD_UP);
    } else {
        atomic_store(&instance->state, BOARD_DOWN);
        atomic_fetch_add(&toggles[index], 1);
    }
}

static void addresses_write(uint32_t place, uint32_t round)
{
    struct resolved_address addresses[3] = {0};
    for (uint32_t i = 0; i < 3; i++) {
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons(80),
                                      .sin_addr.s_addr = htonl(0x0a000000 + round % 5 + i)};
        memcpy(&addresses[i].address, &address, sizeof address);
        addresses[i].length = sizeof address;
        addresses[i].row = 16 + i;
    }
    resolved_write(resolved, place, addresses, 1 + round % 3);
}

static void changes_make(void)
{
    struct random_state random;
    random_seed(&random, 99);
    uint32_t place = resolved_take(resolved, remotes[0].text);
    for (uint32_t round = 0; atomic_load(&working) > 0; round++) {
        toggle((uint32_t)random_below(&random, INSTANCES));
        if (round % 16 == 0)
            chain_write(2 + (uint32_t)random_below(&random, INSTANCES - 1), 1 + round / 160);
        if (round % 32 == 0)
            addresses_write(place, round / 32);
        usleep(20);
    }
}

static void run(enum balance_policy balance)
{
    static const struct tally_sizes sizes = {
        .threads = THREADS, .slots_max = 16, .remotes_max = 8, .rows = {4, 1, 1}};
    int board_fd;
    int bell;
    int tally_fd;
    assert_int_equal(board_new(4, 16, &board, &board_fd, &bell), 0);
    assert_int_equal(tally_new(&sizes, &tally, &tally_fd), 0);
    resolved = resolved_new();
    strcpy(board_service(board, SERVICE)->name, "api");
    for (uint32_t i = 0; i < INSTANCES; i++) {
        atomic_store(&board_instance(board, i)->state, BOARD_UP);
        atomic_store(&toggles[i], 0);
    }
    chain_write(INSTANCES, 1);
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    atomic_store(&working, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.number = i, .balance = balance};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    changes_make();
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(workers[i].chosen > CHOICES / 4);
        assert_int_equal(workers[i].wrong, 0);
    }
    for (uint32_t row = 0; row < 16 + 8; row++)
        assert_int_equal(tally_requests_now(tally, row), 0);
    resolved_free(resolved);
    board_close(board);
    tally_close(tally);
    close(board_fd);
    close(bell);
    close(tally_fd);
}

static void least_never_chooses_the_dead(void **state)
{
    (void)state;
    run(BALANCE_LEAST);
}

static void hash_never_chooses_the_dead(void **state)
{
    (void)state;
    run(BALANCE_HASH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(least_never_chooses_the_dead),
        cmocka_unit_test(hash_never_chooses_the_dead),
    };
    return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
