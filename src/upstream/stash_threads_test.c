/* Threads that take, give, sweep, leave and come back, all at one endpoint's shelf and its next
 * life's: none gets a connection that another has, none is lost, and the counters' sum is what is
 * open. Run it under TSan, too. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/random.h"
#include "upstream/stash.h"

enum { THREADS = 4, ROUNDS = 20000, HELD = 8, DESCRIPTORS = 1024 };

static struct stash *stash;
static _Atomic int owners[DESCRIPTORS]; /* of a descriptor: 1 + thread; 0: nobody, or the stash */
static const struct sockaddr any = {.sa_family = AF_UNIX};

struct worker {
    unsigned number;
    tally_count connections_now;
    unsigned taken;
    unsigned wrong;
    int held[HELD];
    unsigned held_count;
};

static struct shelf *shelf_of(uint32_t epoch)
{
    const struct shelf_identity identity = {
        .address = &any, .address_length = sizeof any.sa_family, .epoch = epoch};
    return stash_shelf(stash, &identity);
}

static void hold(struct worker *worker, int fd)
{
    worker->wrong += atomic_exchange(&owners[fd], (int)worker->number + 1) != 0;
    worker->held[worker->held_count++] = fd;
}

static int let_go(struct worker *worker)
{
    int fd = worker->held[--worker->held_count];
    worker->wrong += atomic_exchange(&owners[fd], 0) != (int)worker->number + 1;
    return fd;
}

static void connect_anew(struct worker *worker)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) < 0 || fds[0] >= DESCRIPTORS)
        abort();
    tally_add(&worker->connections_now, 1);
    hold(worker, fds[0]);
    /* Its other end stays open by a duplicate of itself: seldom it is closed, and has ended. */
    if (worker->held_count % 4 == 0)
        close(fds[1]);
    else
        tally_add(&worker->connections_now, 1), hold(worker, fds[1]);
}

static void step(struct worker *worker, struct shelf *shelf, uint64_t now_ms, unsigned chance)
{
    if (chance < 4 && worker->held_count) {
        shelf_give(shelf, let_go(worker), now_ms + 50, 16, &worker->connections_now);
    } else if (chance < 8 && worker->held_count < HELD) {
        int fd = shelf_holds(shelf) ? shelf_take(shelf, now_ms, &worker->connections_now) : -1;
        worker->taken += fd >= 0;
        if (fd >= 0)
            hold(worker, fd);
        else if (worker->held_count + 2 <= HELD)
            connect_anew(worker);
    } else if (chance == 8) {
        shelf_sweep(shelf, now_ms, &worker->connections_now);
    }
}

static void *work(void *owner)
{
    struct worker *worker = owner;
    struct random_state random;
    random_seed(&random, worker->number + 1);
    struct shelf *shelf = shelf_of(0);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        /* Threads learn at different times that the endpoint restarted. */
        if (random_below(&random, 500) == 0) {
            shelf_clear(shelf, &worker->connections_now);
            shelf_unref(shelf, &worker->connections_now);
            shelf = shelf_of(round / 1000);
        }
        step(worker, shelf, round * 10, (unsigned)random_below(&random, 10));
    }
    while (worker->held_count) {
        close(let_go(worker));
        tally_add(&worker->connections_now, (uint64_t)-1);
    }
    shelf_unref(shelf, &worker->connections_now);
    return NULL;
}

static unsigned open_count(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < DESCRIPTORS; fd++) {
        int type;
        socklen_t length = sizeof type;
        count += getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0;
    }
    return count;
}

static void every_connection_has_one_owner(void **state)
{
    (void)state;
    static struct worker workers[THREADS];
    pthread_t threads[THREADS];
    unsigned open_before = open_count();
    stash = stash_new();
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i].number = i;
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    uint64_t sum = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].wrong, 0);
        assert_true(workers[i].taken > 100);
        sum += workers[i].connections_now;
    }
    assert_int_equal(sum, 0);
    stash_free(stash);
    assert_int_equal(open_count(), open_before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_connection_has_one_owner)};
    return cmocka_run_group_tests_name("stash_threads", tests, NULL, NULL);
}
