/* Sessions that outlive their gateway: each goes, with its socket, to the one that takes over. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "gateway/relay/relay_worker.h"
#include "gateway/relay/sessions_private.h"
#include "gateway/relay/will.h"

enum { HEIR_WAIT_MS = 500 }; /* for one that is behind: all that this process does stands still */

static struct will will_of(const struct session *session)
{
    struct will will;
    memset(&will, 0, sizeof will);
    will.format = WILL_FORMAT;
    will.slot = session->endpoint->slot;
    will.epoch = session->endpoint->epoch;
    will.answered = session->answered;
    will.key = session->keyed.key;
    will.peer = session->peer;
    will.asked = session->asked;
    snprintf(will.listener, sizeof will.listener, "%s", session->of->plan->listener->text);
    snprintf(will.endpoint, sizeof will.endpoint, "%s", session->endpoint->name);
    return will;
}

static int will_leave(int heir_fd, const struct session *session)
{
    struct will will = will_of(session);
    struct pollfd heir = {.fd = heir_fd, .events = POLLOUT};
    int error = will_send(heir_fd, &will, session->fd);
    for (int waited = 0; error == -EAGAIN && waited < HEIR_WAIT_MS; waited++) {
        poll(&heir, 1, 1);
        error = will_send(heir_fd, &will, session->fd);
    }
    return error;
}

void sessions_leave(struct sessions *sessions, int heir_fd)
{
    struct session *session;
    unsigned left = 0;
    int error = heir_fd < 0 ? -ENOTCONN : 0;
    watch_stop(sessions->worker->loop, &sessions->watch);
    while ((session = TAILQ_FIRST(&sessions->line))) {
        if (!error)
            error = will_leave(heir_fd, session);
        left += error == 0;
        /* Its socket lives on elsewhere, so closing it here takes it out of no epoll. */
        watch_stop(sessions->worker->loop, &session->watch);
        session_end(session, OUTCOME_UNUSED);
    }
    if (left)
        log_info("sessions-left", "listener=%s sessions=%u error=\"%s\"",
                 sessions->plan->listener->text, left, error ? strerror(-error) : "");
}

/* Finds the endpoint, in what this process knows. False: it is gone, or there is no memory. */
static bool session_place(struct session *session, const struct will *will)
{
    struct sessions *sessions = session->of;
    const struct listener *listener = sessions->plan->listener;
    struct upstream *upstream = worker_upstream(sessions->use, listener->service);
    const struct pick pick = {.datagram = true, .port = listener->target_port};
    session->endpoint =
        upstream ? upstream_find(upstream, &pick, will->slot, will->epoch, will->endpoint) : NULL;
    if (!session->endpoint)
        return false;
    session->service = upstream_tally(upstream);
    if (listener->sticky == STICKY_SOURCE)
        session->source = source_inherit(&sessions->sources, &will->peer, session->endpoint);
    return listener->sticky != STICKY_SOURCE || session->source;
}

void sessions_inherit(struct sessions *sessions, const struct will *will, int fd)
{
    struct session *session =
        keyed_find(&sessions->table, &will->key) ? NULL : session_room(sessions);
    if (!session) {
        close(fd);
        return;
    }
    *session = (struct session){.of = sessions,
                                .peer = will->peer,
                                .asked = will->asked,
                                .answered = will->answered,
                                .fd = fd};
    if (!session_place(session, will) || session_watch(session)) {
        close(fd);
        session_unroom(session);
        return;
    }
    session_begin(session, &will->key);
}
