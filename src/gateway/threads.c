#include "gateway/threads.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "gateway/core/worker.h"
#include "gateway/http/h1_server.h"
#include "gateway/listen.h"
#include "gateway/relay/relay.h"

enum { MAIL_NEWS = 1, MAIL_DRAIN = 2, DRAIN_LOOK_MS = 100 };

/* A worker and its mailbox: a pointer and some bits that the main thread sets, and an eventfd that
 * tells of them. */
struct thread {
    struct worker worker;
    struct threads *threads;
    struct listening *listening;
    pthread_t id;
    int mail_fd;
    struct watch mail;
    struct watch bell;
    struct timer drain_look;
    _Atomic(struct generation *) next; /* a reference comes with it */
    atomic_uint mail_bits;
    atomic_uint using;  /* number of the generation that it uses */
    atomic_bool quiet;  /* draining, and it has no connection */
    atomic_int heir_fd; /* who takes over what it leaves; -1: nobody */
};

struct threads {
    struct threads_setup setup;
    struct watch answers;
    int answers_fd;   /* an eventfd: a worker switched, or is quiet */
    uint32_t awaited; /* generation that not all use yet; 0: none */
    bool draining;
    struct worker_count counts[TALLY_THREADS_MAX];
    struct thread list[TALLY_THREADS_MAX];
};

static void bell_write(int fd)
{
    uint64_t one = 1;
    if (write(fd, &one, sizeof one) < 0 && errno != EAGAIN)
        log_error("bell-broken", "error=\"%s\"", strerror(errno));
}

static void bell_clear(int fd)
{
    uint64_t count;
    if (read(fd, &count, sizeof count) < 0 && errno != EAGAIN)
        log_error("bell-broken", "error=\"%s\"", strerror(errno));
}

/* ---- in the worker's thread --------------------------------------------------------------------
 */

static void thread_switch(struct thread *thread, struct generation *generation)
{
    uint32_t number = generation->number;
    int error = worker_switch(&thread->worker, generation);
    if (error) { /* without memory for a few pointers: better a new process than an old generation
                  */
        log_error("switch-failed", "error=\"%s\"", strerror(-error));
        abort();
    }
    listening_settle(thread->listening);
    atomic_store(&thread->using, number);
    bell_write(thread->threads->answers_fd);
}

static void drain_look(struct timer *timer)
{
    struct thread *thread = timer->owner;
    if (thread->worker.connections == 0) {
        atomic_store(&thread->quiet, true);
        bell_write(thread->threads->answers_fd);
        return;
    }
    timer_start(thread->worker.loop, timer, DRAIN_LOOK_MS, drain_look, thread);
}

static void thread_drain(struct thread *thread)
{
    listening_leave(thread->listening, atomic_load(&thread->heir_fd));
    http_worker_drain(&thread->worker);
    timer_start(thread->worker.loop, &thread->drain_look, 0, drain_look, thread);
}

static void thread_news(struct thread *thread)
{
    if (!worker_news(&thread->worker))
        return;
    relay_revoke(&thread->worker);
    http_worker_revoke(&thread->worker);
}

static void mail_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct thread *thread = watch->owner;
    bell_clear(thread->mail_fd);
    struct generation *generation = atomic_exchange(&thread->next, NULL);
    unsigned bits = atomic_exchange(&thread->mail_bits, 0);
    if (generation)
        thread_switch(thread, generation);
    if (bits & MAIL_NEWS)
        thread_news(thread);
    if (bits & MAIL_DRAIN)
        thread_drain(thread);
}

/* Nobody reads the bell: each write is an edge for every thread. */
static void bell_rings(struct watch *watch, unsigned events)
{
    (void)events;
    thread_news(watch->owner);
}

static void *thread_run(void *argument)
{
    struct thread *thread = argument;
    char name[16];
    snprintf(name, sizeof name, "worker-%u", thread->worker.number);
    pthread_setname_np(pthread_self(), name);
    int error = loop_run(thread->worker.loop);
    log_error("worker-ended", "worker=%u error=\"%s\"", thread->worker.number, strerror(-error));
    abort(); /* the supervisor starts a new gateway on the same sockets */
}

/* ---- in the main thread ------------------------------------------------------------------------
 */

static void answers_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct threads *threads = watch->owner;
    bell_clear(threads->answers_fd);
    bool all_use = threads->awaited != 0, all_quiet = threads->draining;
    for (unsigned i = 0; i < threads->setup.count; i++) {
        all_use &= atomic_load(&threads->list[i].using) == threads->awaited;
        all_quiet &= atomic_load(&threads->list[i].quiet);
    }
    uint32_t number = threads->awaited;
    if (all_use) {
        threads->awaited = 0;
        threads->setup.switched(threads->setup.owner, number);
    }
    if (all_quiet)
        threads->setup.drained(threads->setup.owner);
}

/* What a worker has before its thread runs. */
static int thread_prepare(struct thread *thread, struct threads *threads, unsigned number)
{
    const struct threads_setup *setup = &threads->setup;
    struct worker_setup worker = {
        .number = number,
        .thread = setup->lane * setup->count + number,
        .connections_max = setup->connections_max,
        .counts = threads->counts,
        .count = setup->count,
        .descriptors_max = setup->descriptors_max,
        .board = setup->board,
        .tally = setup->tally,
        .resolved = setup->resolved,
        .bans = setup->bans,
        .ban_news = setup->ban_news,
        .breakers = setup->breakers,
        .stash = setup->stash,
        .logger_fd = setup->logger_fd,
        .wake_fd = setup->wake_fd,
    };
    thread->threads = threads;
    thread->heir_fd = -1;
    thread->mail_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (thread->mail_fd < 0)
        return -errno;
    int error = worker_init(&thread->worker, &worker);
    if (!error)
        error = relay_worker_init(&thread->worker);
    if (!error)
        error = http_worker_init(&thread->worker);
    if (!error)
        error = (thread->listening = listening_new(&thread->worker)) ? 0 : -ENOMEM;
    if (!error && setup->elders[number] >= 0)
        error = listening_inherit(thread->listening, fd_take(&setup->elders[number]));
    if (!error)
        error = watch_start(thread->worker.loop, &thread->mail, thread->mail_fd, WATCH_READ,
                            mail_ready, thread);
    if (!error)
        error = watch_start(thread->worker.loop, &thread->bell, setup->bell,
                            WATCH_READ | (unsigned)WATCH_EDGE, bell_rings, thread);
    return error;
}

/* Signals are the main thread's: it has blocked its own, and workers inherit that. */
static int thread_start(struct thread *thread)
{
    return -pthread_create(&thread->id, NULL, thread_run, thread);
}

/* A failure ends the process (gateway.c), so nothing is taken apart here. */
int threads_new(const struct threads_setup *setup, struct threads **ret_threads)
{
    assert(setup->count > 0 && setup->count <= TALLY_THREADS_MAX);
    struct threads *threads = calloc(1, sizeof *threads);
    if (!threads)
        return -ENOMEM;
    threads->setup = *setup;
    threads->answers_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (threads->answers_fd < 0)
        return -errno;
    int error = watch_start(setup->loop, &threads->answers, threads->answers_fd, WATCH_READ,
                            answers_ready, threads);
    for (unsigned i = 0; !error && i < setup->count; i++)
        error = thread_prepare(&threads->list[i], threads, i);
    for (unsigned i = 0; !error && i < setup->count; i++)
        error = thread_start(&threads->list[i]);
    if (!error)
        *ret_threads = threads;
    return error;
}

void threads_switch(struct threads *threads, struct generation *generation)
{
    assert(!threads->awaited);
    threads->awaited = generation->number;
    for (unsigned i = 0; i < threads->setup.count; i++) {
        struct thread *thread = &threads->list[i];
        generation_ref(generation);
        generation_unref(atomic_exchange(&thread->next, generation));
        bell_write(thread->mail_fd);
    }
}

static void threads_mail(struct threads *threads, unsigned bit)
{
    for (unsigned i = 0; i < threads->setup.count; i++) {
        atomic_fetch_or(&threads->list[i].mail_bits, bit);
        bell_write(threads->list[i].mail_fd);
    }
}

void threads_wake(struct threads *threads)
{
    threads_mail(threads, MAIL_NEWS);
}

void threads_drain(struct threads *threads, int *heirs)
{
    threads->draining = true;
    for (unsigned i = 0; i < threads->setup.count; i++)
        atomic_store(&threads->list[i].heir_fd, fd_take(&heirs[i]));
    threads_mail(threads, MAIL_DRAIN);
}
