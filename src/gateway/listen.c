#include "gateway/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "gateway/greeting.h"
#include "gateway/http/h1_server.h"
#include "gateway/relay/relay.h"
#include "gateway/relay/relay_worker.h"
#include "gateway/relay/sessions.h"
#include "gateway/relay/will.h"

enum { WILLS_A_TURN_MAX = 64 };

struct listen_point {
    LIST_ENTRY(listen_point) next;
    struct listening *listening;
    const struct plan_listener *plan; /* of the newest generation */
    struct watch watch;
    struct sessions *sessions; /* UDP */
    int fd;
    bool seen; /* in the generation that is being taken up */
};

struct listening {
    struct worker *worker;
    LIST_HEAD(, listen_point) points;
    struct timer pause; /* accepting rests for want of descriptors */
    int fd_pause;       /* the first that clients do not get: what is above leads to endpoints */
    uint64_t told_ms;   /* when the journal last heard of it; 0: never */
    bool stopped;
    struct watch elder; /* sessions of the gateway before us come from there */
    struct timer inherit;
    int elder_fd; /* -1: there is none, or it has nothing more */
};

/* ---- connections -------------------------------------------------------------------------------
 */

static void connection_take(struct listen_point *point, int fd, const struct sockaddr *peer,
                            socklen_t length)
{
    struct worker *worker = point->listening->worker;
    const struct plan_listener *plan = point->plan;
    if (plan->listener->kind == LISTENER_STREAM)
        relay_accept(worker, plan, fd, peer);
    else if (greeting_wanted(plan->listener, peer))
        greeting_start(worker, plan, fd, peer, length);
    else
        h1_accept(worker, plan, fd, peer, NULL);
}

static void point_watch(struct listen_point *point, bool watch);
static void points_watch(struct listening *listening, bool watch);

static void pause_over(struct timer *timer);

static void pause_start(struct listening *listening)
{
    timer_start(listening->worker->loop, &listening->pause, ACCEPT_PAUSE_MS, pause_over, listening);
}

/* The lowest free number is given, so the number tells how many are in use. */
static bool scarce(const struct listening *listening)
{
    const struct listen_point *any = LIST_FIRST(&listening->points);
    int fd = any ? fcntl(any->fd, F_DUPFD_CLOEXEC, 0) : 0;
    if (!any)
        return false;
    if (fd >= 0)
        close(fd);
    return fd < 0 || fd >= listening->fd_pause;
}

static void pause_over(struct timer *timer)
{
    struct listening *listening = timer->owner;
    if (listening->stopped)
        return;
    if (scarce(listening))
        pause_start(listening);
    else
        points_watch(listening, true);
}

/* It would be ready again and again; and clients who cannot be led on are better left waiting. */
static void accept_pause(struct listening *listening, int error)
{
    uint64_t now_ms = loop_now(listening->worker->loop);
    if (!listening->told_ms || now_ms - listening->told_ms >= TELL_EVERY_MS) {
        log_warn("accept-paused", "error=\"%s\" instead=\"clients wait\"", strerror(error));
        listening->told_ms = now_ms;
    }
    points_watch(listening, false);
    pause_start(listening);
}

/* The kernel wakes the worker that has waited longest in the line of a socket, so while there is
 * little to do it is always the same one. One that has clearly more connections than the others
 * goes to the end of the line. */
static void give_way(struct listen_point *point)
{
    const struct worker *worker = point->listening->worker;
    uint64_t threads = tally_sizes(worker->place.tally)->threads;
    const struct listener_load load = listener_load(worker, point->plan);
    if (load.own <= load.all / threads + load.all / threads / 8 + UNEVEN_MAX)
        return;
    point_watch(point, false);
    point_watch(point, true);
}

static void connections_accept(struct listen_point *point)
{
    for (int i = 0; i < ACCEPTS_A_TURN_MAX && point->watch.active; i++) {
        struct sockaddr_storage peer;
        socklen_t length = sizeof peer;
        int fd =
            accept4(point->fd, (struct sockaddr *)&peer, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            connection_take(point, fd, (const struct sockaddr *)&peer, length);
            if (fd >= point->listening->fd_pause)
                accept_pause(point->listening, EMFILE);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            accept_pause(point->listening, errno);
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static void point_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct listen_point *point = watch->owner;
    connections_accept(point);
    if (watch->active)
        give_way(point);
}

/* ---- points ------------------------------------------------------------------------------------
 */

static bool is_datagram(const struct listen_point *point)
{
    return point->plan->listener->protocol == PROTOCOL_UDP;
}

static void point_watch(struct listen_point *point, bool watch)
{
    struct loop *loop = point->listening->worker->loop;
    if (is_datagram(point) || point->watch.active == watch)
        return;
    if (!watch) {
        watch_stop(loop, &point->watch);
        return;
    }
    int error = watch_start(loop, &point->watch, point->fd, WATCH_READ | (unsigned)WATCH_EXCLUSIVE,
                            point_ready, point);
    if (error)
        log_error("not-listening", "listener=%s error=\"%s\"", point->plan->listener->text,
                  strerror(-error));
}

static void points_watch(struct listening *listening, bool watch)
{
    struct listen_point *point;
    LIST_FOREACH (point, &listening->points, next) {
        point_watch(point, watch);
    }
}

static void point_free(struct listen_point *point)
{
    watch_stop(point->listening->worker->loop, &point->watch);
    sessions_free(point->sessions);
    LIST_REMOVE(point, next);
    free(point);
}

static struct listen_point *point_find(struct listening *listening, int fd)
{
    struct listen_point *point;
    LIST_FOREACH (point, &listening->points, next) {
        /* The text lives in a generation that may be gone: the descriptor is the identity. */
        if (!point->seen && point->fd == fd)
            return point;
    }
    return NULL;
}

/* Clients of HTTP speak first, so a connection is worth waking up for when its first bytes are
 * there: it is then read at once, and a short one never meets epoll. One that says nothing comes a
 * second later. */
static void http_defer(const struct listen_point *point)
{
    bool http = point->plan->listener->kind == LISTENER_HTTP;
    setsockopt(point->fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &(int){http}, sizeof(int));
}

static void point_add(struct listening *listening, const struct plan_listener *plan, int fd)
{
    struct listen_point *point = calloc(1, sizeof *point);
    if (!point) {
        log_error("not-listening", "listener=%s error=\"%s\"", plan->listener->text,
                  strerror(ENOMEM));
        return;
    }
    *point = (struct listen_point){.listening = listening, .plan = plan, .fd = fd, .seen = true};
    LIST_INSERT_HEAD(&listening->points, point, next);
    if (is_datagram(point))
        point->sessions = sessions_new(listening->worker, plan, fd);
    else
        point_watch(point, true);
    if (!is_datagram(point))
        http_defer(point);
    if (is_datagram(point) && !point->sessions)
        log_error("not-listening", "listener=%s error=\"%s\"", plan->listener->text,
                  strerror(errno));
}

static void plan_settle(struct listening *listening, const struct plan_listener *plan)
{
    struct worker *worker = listening->worker;
    int fd = plan->fds[worker->number % plan->fd_count];
    struct listen_point *point = point_find(listening, fd);
    if (!point) {
        point_add(listening, plan, fd);
        return;
    }
    point->seen = true;
    point->plan = plan;
    if (!is_datagram(point))
        http_defer(point);
    if (point->sessions)
        sessions_settle(point->sessions, worker->current, plan);
}

void listening_settle(struct listening *listening)
{
    const struct generation *generation = listening->worker->current->generation;
    struct listen_point *point, *next;
    LIST_FOREACH (point, &listening->points, next) {
        point->seen = false;
    }
    for (size_t i = 0; i < generation->plan_count; i++)
        if (generation->plans[i].listener->kind != LISTENER_METRICS) /* the main thread's */
            plan_settle(listening, &generation->plans[i]);
    for (point = LIST_FIRST(&listening->points); point; point = next) {
        next = LIST_NEXT(point, next);
        if (!point->seen)
            point_free(point);
    }
}

/* ---- life --------------------------------------------------------------------------------------
 */

static int fd_pause(uint32_t max)
{
    return max ? (int)(max - max / ENDPOINTS_PART) : INT_MAX;
}

struct listening *listening_new(struct worker *worker)
{
    struct listening *listening = calloc(1, sizeof *listening);
    if (!listening)
        return NULL;
    listening->worker = worker;
    listening->elder_fd = -1;
    listening->fd_pause = fd_pause(worker->descriptors_max);
    return listening;
}

void listening_leave(struct listening *listening, int heir_fd)
{
    struct listen_point *point;
    listening->stopped = true;
    points_watch(listening, false);
    LIST_FOREACH (point, &listening->points, next) {
        if (point->sessions)
            sessions_leave(point->sessions, heir_fd);
    }
    if (heir_fd >= 0)
        close(heir_fd);
}

/* ---- what the gateway before leaves ------------------------------------------------------------
 */

static void inherit_end(struct listening *listening)
{
    struct listen_point *point;
    struct loop *loop = listening->worker->loop;
    watch_stop(loop, &listening->elder);
    timer_stop(loop, &listening->inherit);
    fd_drop(&listening->elder_fd);
    listening->worker->relay->heir_waits = false;
    LIST_FOREACH (point, &listening->points, next) {
        int error = point->sessions ? sessions_read(point->sessions) : 0;
        if (error)
            log_error("not-listening", "listener=%s error=\"%s\"", point->plan->listener->text,
                      strerror(-error));
    }
}

static void session_take(struct listening *listening, const struct will *will, int fd)
{
    struct listen_point *point;
    LIST_FOREACH (point, &listening->points, next) {
        if (!point->sessions || strcmp(point->plan->listener->text, will->listener) != 0)
            continue;
        sessions_inherit(point->sessions, will, fd);
        return;
    }
    close(fd); /* of a listener that is not there any more */
}

static void elder_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct listening *listening = watch->owner;
    struct will will;
    int fd = -1, error = 0;
    for (int i = 0; i < WILLS_A_TURN_MAX && !error; i++) {
        error = will_receive(listening->elder_fd, &will, &fd);
        if (!error)
            session_take(listening, &will, fd);
    }
    if (error && error != -EAGAIN)
        inherit_end(listening);
}

static void inherit_late(struct timer *timer)
{
    struct listening *listening = timer->owner;
    log_warn("sessions-not-left", "instead=\"clients begin new ones\"");
    inherit_end(listening);
}

int listening_inherit(struct listening *listening, int elder_fd)
{
    struct loop *loop = listening->worker->loop;
    listening->elder_fd = elder_fd;
    listening->worker->relay->heir_waits = true;
    int error = watch_start(loop, &listening->elder, elder_fd, WATCH_READ, elder_ready, listening);
    return error ? error
                 : timer_start(loop, &listening->inherit, INHERIT_MS, inherit_late, listening);
}

void listening_free(struct listening *listening)
{
    if (!listening)
        return;
    timer_stop(listening->worker->loop, &listening->pause);
    if (listening->elder_fd >= 0)
        inherit_end(listening);
    while (!LIST_EMPTY(&listening->points))
        point_free(LIST_FIRST(&listening->points));
    free(listening);
}
