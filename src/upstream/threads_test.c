/* Two threads choose while a third changes the board and what is resolved: what was down before a
 * choice began is never chosen, and all that is begun ends. They keep connections, and share them:
 * none is used for another start of an instance than it was made to, and none is lost. Run it under
 * TSan, too. */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "upstream/board.h"
#include "upstream/low_water.h"
#include "upstream/resolved_private.h"
#include "upstream/tally.h"
#include "upstream/upstream.h"

enum {
    THREADS = 2,
    INSTANCES = 6,
    CHOICES = 200000,
    HELD = 16,
    SERVICE = 1,
    DESCRIPTORS = 1024,
};

static struct board *board;
static struct tally *tally;
static struct resolved *resolved;
static _Atomic uint32_t toggles[INSTANCES]; /* odd: it is down, and stays so until the next */
static atomic_uint working;
static struct stash *stash;
static int quiet_fd; /* an open socket to which nothing comes; connections are duplicates of it */
static _Atomic uint64_t made_to[DESCRIPTORS]; /* by descriptor: slot and epoch */
static const struct remote remotes[] = {
    {.host = "back.example", .port = 80, .weight = 1, .text = "back.example:80"}};

struct worker {
    unsigned number;
    enum balance_policy balance;
    unsigned chosen;
    unsigned wrong;  /* was down all the time */
    unsigned shared; /* connections out of the stash */
    unsigned stale;  /* of another start of the instance */
    struct low_water low_water;
    struct line *lines[HELD];
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

/* ---- connections ---------------------------------------------------------------------------- */

struct line {
    struct pooled pooled;
    struct endpoint *endpoint;
    int fd;
};

static int line_end(struct line *line)
{
    int fd = line->fd;
    endpoint_unref(line->endpoint);
    free(line);
    return fd;
}

static void line_close(struct pooled *pooled)
{
    struct line *line = (struct line *)pooled;
    tally_add(&line->endpoint->tally->connections_now, (uint64_t)-1);
    close(line_end(line));
}

static int line_give(struct pooled *pooled, uint64_t *ret_expires_ms)
{
    struct line *line = (struct line *)pooled;
    *ret_expires_ms = UINT64_MAX;
    endpoint_idle_remove(line->endpoint, pooled);
    return line_end(line);
}

static uint64_t start_of(const struct endpoint *endpoint)
{
    return (uint64_t)endpoint->slot << 32 | endpoint->epoch;
}

static struct line *line_new(struct endpoint *endpoint, int fd)
{
    struct line *line = malloc(sizeof *line);
    *line = (struct line){
        .pooled = {.close = line_close, .give = line_give}, .endpoint = endpoint, .fd = fd};
    endpoint_ref(endpoint);
    return line;
}

static struct line *line_connect(struct endpoint *endpoint)
{
    int fd = dup(quiet_fd);
    if (fd < 0 || fd >= DESCRIPTORS)
        abort();
    atomic_store_explicit(&made_to[fd], start_of(endpoint), memory_order_relaxed);
    tally_add(&endpoint->tally->connections_now, 1);
    return line_new(endpoint, fd);
}

static struct line *line_take(struct worker *worker, struct endpoint *endpoint)
{
    struct pooled *pooled = endpoint_idle_take(endpoint);
    if (pooled)
        return (struct line *)pooled;
    int fd = endpoint_stash_take(endpoint);
    if (fd < 0)
        return line_connect(endpoint);
    worker->shared++;
    worker->stale += atomic_load_explicit(&made_to[fd], memory_order_relaxed) != start_of(endpoint);
    return line_new(endpoint, fd);
}

static void line_put(struct line *line)
{
    if (line)
        endpoint_idle_put(line->endpoint, &line->pooled);
}

static void line_instead(struct worker *worker, unsigned place, struct endpoint *endpoint)
{
    line_put(worker->lines[place]);
    worker->lines[place] = line_take(worker, endpoint);
}

/* All go back, and what is too much is given away: as after a second in which nobody came. */
static void lines_rest(struct worker *worker)
{
    struct timer *timer = &worker->low_water.timer;
    for (int i = 0; i < HELD; i++) {
        line_put(worker->lines[i]);
        worker->lines[i] = NULL;
    }
    for (int look = 0; look < 2; look++) {
        if (timer_active(timer))
            timer_start(worker->low_water.loop, timer, 0, timer->due, timer->owner);
        loop_turn(worker->low_water.loop, 0);
    }
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
                                   .low_water = &worker->low_water,
                                   .thread = worker->number,
                                   .random = &random};
    const struct service service = {
        .name = "api", .realm = "", .balance = worker->balance, .gateway = {.idle_max = HELD}};
    const struct service remote = {
        .name = "back", .realm = "", .gateway = {.remotes = remotes, .remote_count = 1}};
    random_seed(&random, worker->number + 1);
    low_water_init(&worker->low_water, place.loop, stash);
    struct upstream *upstream = upstream_new(&place, NULL, &service);
    struct upstream *other = upstream_new(&place, NULL, &remote);
    for (unsigned i = 0; i < CHOICES; i++) {
        struct endpoint *endpoint = NULL;
        choose_instance(worker, upstream, &endpoint);
        if (endpoint)
            begin_instead(&held[i % HELD], endpoint);
        if (endpoint && i % 4 == 0)
            line_instead(worker, i / 4 % HELD, endpoint);
        if (i % 256 == 0)
            lines_rest(worker);
        if (i % 64 == 0) {
            loop_turn(place.loop, 0);
            upstream_news(upstream);
            if (upstream_pick(other, &(struct pick){0}, &endpoint) == PICK_DONE)
                begin_instead(&held[i / 64 % HELD], endpoint);
        }
    }
    lines_rest(worker);
    upstream_free(upstream);
    upstream_free(other);
    for (int i = 0; i < HELD; i++)
        if (held[i])
            endpoint_end(held[i], OUTCOME_GOOD, 0);
    low_water_done(&worker->low_water);
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
    stash = stash_new();
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    quiet_fd = pair[0];
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
        assert_int_equal(workers[i].stale, 0);
        assert_true(workers[i].shared > 0);
    }
    for (uint32_t row = 0; row < 16 + 8; row++) {
        assert_int_equal(tally_requests_now(tally, row), 0);
        assert_int_equal(tally_connections_now(tally, row), 0);
    }
    stash_free(stash);
    close(pair[0]);
    close(pair[1]);
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
