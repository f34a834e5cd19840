#include "gateway/relay/sessions_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "gateway/core/flood.h"
#include "gateway/core/networks.h"
#include "gateway/relay/relay_worker.h"
#include "gateway/relay/spread.h"

enum {
    BATCHES_A_TURN_MAX = 4, /* from clients */
    ANSWERS_AT_ONCE = 8,    /* of one session */
    ANSWER_ROUNDS_MAX = 16, /* of one session in a turn */
    LINE_STEPS = 16,        /* a session moves back in the line after this part of idle_ms */
};

static uint32_t now_ms(const struct sessions *sessions)
{
    return (uint32_t)loop_now(sessions->worker->loop);
}

/* ---- keys ----------------------------------------------------------------------------------- */

static void client_key(struct key *key, const union client_address *peer)
{
    const struct sockaddr_in6 *six = &peer->v6;
    key_add(key, &six->sin6_port, sizeof six->sin6_port); /* at the same place in both */
    address_key(key, peer);
    if (peer->any.sa_family == AF_INET6 && six->sin6_scope_id)
        key_add(key, &six->sin6_scope_id, sizeof six->sin6_scope_id);
}

static struct key session_key(const struct listener *listener, const struct datagram *datagram)
{
    struct key key = {0};
    size_t length = datagram->segment ? datagram->segment : datagram->length;
    if (listener->sticky == STICKY_TOKEN &&
        length >= (size_t)listener->token_at + listener->token_bytes) {
        key_add(&key, "t", 1); /* no client's key has this length and beginning by chance */
        key_add(&key, datagram->bytes + listener->token_at, listener->token_bytes);
    } else {
        key_add(&key, "c", 1);
        client_key(&key, &datagram->peer);
    }
    return key;
}

/* ---- the end of a session ------------------------------------------------------------------- */

static void session_free(struct session *session)
{
    struct sessions *sessions = session->of;
    struct relay_worker *relay = sessions->worker->relay;
    watch_forget(sessions->worker->loop, &session->watch);
    close(session->fd);
    source_unref(&sessions->sources, session->source);
    relay->session_count--;
    slab_give(&relay->sessions, session);
}

void session_end(struct session *session, enum endpoint_outcome outcome)
{
    struct sessions *sessions = session->of;
    struct endpoint *endpoint = session->endpoint;
    tally_add(&sessions->tally->connections_now, (uint64_t)-1);
    tally_add(&session->service->requests_now, (uint64_t)-1);
    tally_add(&endpoint->tally->connections_now, (uint64_t)-1);
    endpoint_end(endpoint, outcome, 0);
    keyed_remove(&sessions->table, &session->keyed);
    TAILQ_REMOVE(&sessions->line, session, line);
    session_free(session);
}

/* Its time is over; nothing speaks against the endpoint, and only answers for it. */
static void session_leave(struct session *session)
{
    session_end(session, session->answered ? OUTCOME_GOOD : OUTCOME_UNUSED);
}

/* The socket says that nobody is there (ICMP). */
static void session_failed(struct session *session)
{
    if (session->source)
        session->source->failed = true;
    session_end(session, session->answered ? OUTCOME_FAILED : OUTCOME_CONNECT_FAILED);
}

/* ---- the line of the quiet ------------------------------------------------------------------ */

static void line_sleep(struct sessions *sessions);

static void line_due(struct timer *timer)
{
    struct sessions *sessions = timer->owner;
    const uint32_t idle_ms = sessions->plan->listener->idle_ms;
    struct session *first;
    while ((first = TAILQ_FIRST(&sessions->line)) && now_ms(sessions) - first->moved_ms >= idle_ms)
        session_leave(first);
    line_sleep(sessions);
}

/* Until the first of the line may be due; those behind it were heard of about as late. */
static void line_sleep(struct sessions *sessions)
{
    const struct session *first = TAILQ_FIRST(&sessions->line);
    if (!first)
        return;
    uint32_t quiet_ms = now_ms(sessions) - first->moved_ms;
    uint32_t idle_ms = sessions->plan->listener->idle_ms;
    uint32_t left_ms = quiet_ms < idle_ms ? idle_ms - quiet_ms : 0;
    /* Without memory for it the next new session tries again. */
    (void)timer_start(sessions->worker->loop, &sessions->quiet, left_ms + 1, line_due, sessions);
}

static void session_moved(struct session *session)
{
    struct sessions *sessions = session->of;
    session->moved_ms = now_ms(sessions);
    if (session->moved_ms - session->lined_ms <= sessions->plan->listener->idle_ms / LINE_STEPS)
        return;
    TAILQ_REMOVE(&sessions->line, session, line);
    TAILQ_INSERT_TAIL(&sessions->line, session, line);
    session->lined_ms = session->moved_ms;
}

/* ---- a new session -------------------------------------------------------------------------- */

static void session_ready(struct watch *watch, unsigned events);

int session_watch(struct session *session)
{
    return watch_start(session->of->worker->loop, &session->watch, session->fd,
                       WATCH_READ | (unsigned)WATCH_EDGE, session_ready, session);
}

static int session_connect(struct session *session)
{
    const struct endpoint *endpoint = session->endpoint;
    session->fd = socket(endpoint->address.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (session->fd < 0)
        return -errno;
    datagrams_prepare(session->fd, false);
    int error = connect(session->fd, (const struct sockaddr *)&endpoint->address,
                        endpoint->address_length) < 0
                    ? -errno
                    : session_watch(session);
    if (error)
        close(session->fd);
    return error;
}

void session_begin(struct session *session, const struct key *key)
{
    struct sessions *sessions = session->of;
    struct endpoint *endpoint = session->endpoint;
    endpoint_begin(endpoint);
    tally_add(&endpoint->tally->connections, 1);
    tally_add(&endpoint->tally->connections_now, 1);
    tally_add(&sessions->tally->connections, 1);
    tally_add(&sessions->tally->connections_now, 1);
    tally_add(&session->service->requests, 1);
    tally_add(&session->service->requests_now, 1);
    keyed_insert(&sessions->table, &session->keyed, key);
    session->lined_ms = session->moved_ms = now_ms(sessions);
    TAILQ_INSERT_TAIL(&sessions->line, session, line);
    if (!timer_active(&sessions->quiet))
        line_sleep(sessions);
}

/* At the cap the quietest makes room. */
struct session *session_room(struct sessions *sessions)
{
    struct relay_worker *relay = sessions->worker->relay;
    if (relay->session_count >= relay->session_max) {
        if (TAILQ_EMPTY(&sessions->line))
            return NULL;
        session_leave(TAILQ_FIRST(&sessions->line));
    }
    struct session *session = slab_take(&relay->sessions);
    if (session)
        relay->session_count++;
    return session;
}

void session_unroom(struct session *session)
{
    struct relay_worker *relay = session->of->worker->relay;
    source_unref(&session->of->sources, session->source);
    relay->session_count--;
    slab_give(&relay->sessions, session);
}

static bool session_may(struct sessions *sessions, const union client_address *peer)
{
    const struct plan_listener *plan = sessions->plan;
    const struct access_list *access = plan->listener->access;
    return !flood_refuses_session(sessions->worker, plan, &peer->any) &&
           (!access || networks_allow(access, &peer->any));
}

static struct session *session_new(struct sessions *sessions, const struct key *key,
                                   const union client_address *peer)
{
    const struct listener *listener = sessions->plan->listener;
    if (!session_may(sessions, peer))
        return NULL;
    struct upstream *upstream = worker_upstream(sessions->use, listener->service);
    struct session *session = upstream ? session_room(sessions) : NULL;
    if (!session)
        return NULL;
    *session = (struct session){.of = sessions, .service = upstream_tally(upstream)};
    const struct session_wish wish = {.upstream = upstream,
                                      .port = listener->target_port,
                                      .peer = peer,
                                      .avoid = sessions->failed};
    if (listener->sticky == STICKY_SOURCE) {
        session->source = source_take(&sessions->sources, &wish);
        session->endpoint = session->source ? session->source->endpoint : NULL;
    } else {
        session->endpoint = endpoint_choose(&wish);
    }
    if (!session->endpoint || session_connect(session)) {
        session_unroom(session);
        return NULL;
    }
    session_begin(session, key);
    return session;
}

/* ---- from clients --------------------------------------------------------------------------- */

static struct session *session_of(struct sessions *sessions, const struct key *key,
                                  const struct datagram *datagram)
{
    struct session *session = (struct session *)keyed_find(&sessions->table, key);
    if (session && endpoint_gone(sessions->worker->place.board, session->endpoint)) {
        session_leave(session);
        session = NULL;
    }
    if (!session)
        session = session_new(sessions, key, &datagram->peer);
    if (!session)
        return NULL;
    session->peer = datagram->peer;
    session->asked = datagram->asked;
    return session;
}

/* Datagrams of one session, by their places in the batch. One that was refused before the first of
 * them was sent is replaced: its successor gets them. */
static void datagrams_pass(struct sessions *sessions, const struct key *key, const uint8_t *order,
                           unsigned count)
{
    struct datagrams *asks = sessions->worker->relay->asks;
    unsigned passed = 0;
    for (int tries = 0; tries < 2 && passed < count; tries++) {
        struct session *session = session_of(sessions, key, &asks->entries[order[passed]]);
        unsigned sent = 0;
        if (!session)
            break;
        int error = datagrams_send(asks, session->fd, order + passed, count - passed, false, &sent);
        uint64_t bytes = 0;
        for (unsigned i = 0; i < sent; i++)
            bytes += asks->entries[order[passed + i]].length;
        passed += sent;
        tally_add(&sessions->tally->bytes_in, bytes);
        tally_add(&session->service->bytes_in, bytes);
        tally_add(&session->endpoint->tally->bytes_in, bytes);
        session_moved(session);
        if (!error)
            continue;
        sessions->failed = session->endpoint; /* only compared with what is chosen from */
        session_failed(session);
    }
    sessions->failed = NULL;
    if (passed < count)
        tally_add(&sessions->tally->refused, count - passed);
}

static bool key_equal(const struct key *one, const struct key *other)
{
    return one->length == other->length && memcmp(one->bytes, other->bytes, one->length) == 0;
}

static void batch_pass(struct sessions *sessions, unsigned count)
{
    const struct listener *listener = sessions->plan->listener;
    const struct datagram *entries = sessions->worker->relay->asks->entries;
    struct key keys[DATAGRAMS_MAX];
    bool passed[DATAGRAMS_MAX] = {false};
    for (unsigned i = 0; i < count; i++)
        keys[i] = session_key(listener, &entries[i]);
    for (unsigned i = 0; i < count; i++) {
        uint8_t order[DATAGRAMS_MAX];
        unsigned same = 0;
        for (unsigned j = i; j < count && !passed[i]; j++) {
            if (passed[j] || !key_equal(&keys[i], &keys[j]))
                continue;
            order[same++] = (uint8_t)j;
            passed[j] = j != i;
        }
        if (same)
            datagrams_pass(sessions, &keys[i], order, same);
    }
}

static void clients_ready(struct watch *watch, unsigned events)
{
    struct sessions *sessions = watch->owner;
    struct datagrams *asks = sessions->worker->relay->asks;
    (void)events;
    for (int i = 0; i < BATCHES_A_TURN_MAX; i++) {
        int count = datagrams_receive(asks, sessions->fd, 0, DATAGRAMS_MAX, true);
        if (count > 0)
            batch_pass(sessions, (unsigned)count);
        if (count < DATAGRAMS_MAX)
            return;
    }
}

/* ---- to clients ----------------------------------------------------------------------------- */

static void answers_send(struct relay_worker *relay)
{
    uint8_t order[DATAGRAMS_MAX];
    unsigned count = relay->answer_count;
    for (unsigned i = 0; i < count; i++)
        order[i] = (uint8_t)i;
    relay->answer_count = 0;
    for (unsigned done = 0; done < count; done++) { /* one that fails is dropped */
        unsigned sent = 0;
        (void)datagrams_send(relay->answers, relay->answers_of->fd, order + done, count - done,
                             true, &sent);
        done += sent;
    }
}

static void answers_due(struct deferred *deferred)
{
    answers_send(deferred->owner);
}

/* Room for answers of one session, which all go through one listener's socket. */
static unsigned answers_room(struct sessions *sessions)
{
    struct relay_worker *relay = sessions->worker->relay;
    if (relay->answer_count &&
        (relay->answers_of != sessions || relay->answer_count + ANSWERS_AT_ONCE > DATAGRAMS_MAX))
        answers_send(relay);
    relay->answers_of = sessions;
    deferred_start(sessions->worker->loop, &relay->answer, answers_due, relay);
    return relay->answer_count;
}

static void answers_add(struct session *session, unsigned count)
{
    struct relay_worker *relay = session->of->worker->relay;
    uint64_t bytes = 0;
    for (unsigned i = 0; i < count; i++) {
        struct datagram *entry = &relay->answers->entries[relay->answer_count++];
        entry->peer = session->peer;
        entry->asked = session->asked;
        bytes += entry->length;
    }
    session->answered = true;
    tally_add(&session->of->tally->bytes_out, bytes);
    tally_add(&session->service->bytes_out, bytes);
    tally_add(&session->endpoint->tally->bytes_out, bytes);
    session_moved(session);
}

static void session_ready(struct watch *watch, unsigned events)
{
    struct session *session = watch->owner;
    struct relay_worker *relay = session->of->worker->relay;
    (void)events;
    for (int i = 0; i < ANSWER_ROUNDS_MAX; i++) {
        unsigned first = answers_room(session->of);
        int count = datagrams_receive(relay->answers, session->fd, first, ANSWERS_AT_ONCE, false);
        if (count < 0) {
            session_failed(session);
            return;
        }
        if (count > 0)
            answers_add(session, (unsigned)count);
        if (count < ANSWERS_AT_ONCE)
            return;
    }
    /* Others wait, too: the edge again for what is left. */
    watch_change(session->of->worker->loop, watch, WATCH_READ | (unsigned)WATCH_EDGE);
}

/* ---- life ----------------------------------------------------------------------------------- */

void sessions_worker_init(struct relay_worker *relay)
{
    slab_init(&relay->sessions, sizeof(struct session));
    slab_init(&relay->sources, sizeof(struct source));
    relay->session_max = SESSIONS_MAX;
}

void sessions_worker_done(struct relay_worker *relay)
{
    assert(!relay->session_count);
    datagrams_free(relay->asks);
    datagrams_free(relay->answers);
    slab_done(&relay->sessions);
    slab_done(&relay->sources);
}

static int batches_make(struct relay_worker *relay)
{
    if (!relay->asks)
        relay->asks = datagrams_new();
    if (!relay->answers)
        relay->answers = datagrams_new();
    return relay->asks && relay->answers ? 0 : -ENOMEM;
}

static int sessions_start(struct sessions *sessions)
{
    struct worker *worker = sessions->worker;
    int error = batches_make(worker->relay);
    if (!error)
        error = keyed_init(&sessions->table, random_next(&worker->random));
    if (!error)
        error = keyed_init(&sessions->sources.table, random_next(&worker->random));
    if (error)
        return error;
    sessions->sources.slab = &worker->relay->sources;
    sessions->sources.board = worker->place.board;
    datagrams_prepare(sessions->fd, true);
    return worker->relay->heir_waits ? 0 : sessions_read(sessions);
}

int sessions_read(struct sessions *sessions)
{
    if (sessions->watch.active)
        return 0;
    return watch_start(sessions->worker->loop, &sessions->watch, sessions->fd, WATCH_READ,
                       clients_ready, sessions);
}

struct sessions *sessions_new(struct worker *worker, const struct plan_listener *plan, int fd)
{
    struct sessions *sessions = calloc(1, sizeof *sessions);
    if (!sessions) {
        errno = ENOMEM;
        return NULL;
    }
    *sessions = (struct sessions){.worker = worker, .fd = fd};
    TAILQ_INIT(&sessions->line);
    int error = sessions_start(sessions);
    if (error) {
        sessions_free(sessions);
        errno = -error;
        return NULL;
    }
    sessions_settle(sessions, worker->current, plan);
    return sessions;
}

static void spread(struct sessions *sessions, const struct plan_listener *plan)
{
    int error = spread_attach(sessions->fd, plan->fd_count, plan->listener);
    if (error)
        log_warn("udp-not-spread", "listener=%s error=\"%s\"", plan->listener->text,
                 strerror(-error));
}

void sessions_settle(struct sessions *sessions, struct generation_use *use,
                     const struct plan_listener *plan)
{
    struct worker *worker = sessions->worker;
    if (!sessions->plan || !spread_same(sessions->plan->listener, plan->listener))
        spread(sessions, plan);
    use_ref(use);
    use_unref(sessions->use);
    sessions->use = use;
    sessions->plan = plan;
    sessions->tally =
        tally_traffic(worker->place.tally, worker->place.thread, TALLY_LISTENER, plan->row);
}

void sessions_free(struct sessions *sessions)
{
    if (!sessions)
        return;
    struct relay_worker *relay = sessions->worker->relay;
    if (relay->answers_of == sessions) {
        answers_send(relay);
        deferred_stop(sessions->worker->loop, &relay->answer);
        relay->answers_of = NULL;
    }
    while (!TAILQ_EMPTY(&sessions->line))
        session_leave(TAILQ_FIRST(&sessions->line));
    watch_stop(sessions->worker->loop, &sessions->watch);
    timer_stop(sessions->worker->loop, &sessions->quiet);
    keyed_done(&sessions->table);
    keyed_done(&sessions->sources.table);
    use_unref(sessions->use);
    free(sessions);
}
