/* Each direction is a flow: read from one side, write to the other. What the other side does not
 * take at once is stored — in memory that exists only until it is taken, or in the pipe it is in —
 * and nothing more is read before that is gone; so a flow holds at most TUNNEL_COPY_BYTES or a
 * pipe.
 *
 * A flow is copied through the worker's input until a read fills TUNNEL_COPY_BYTES; then it is bulk
 * and spliced, until it moved little in several turns. */
#include "gateway/relay/tunnel.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gateway/relay/relay_worker.h"

enum {
    TUNNEL_COPY_BYTES = 64 * 1024,  /* of one read; what is larger is spliced */
    TUNNEL_TURN_BYTES = 512 * 1024, /* of one flow in one turn */
    BULK_TURN_BYTES_MIN = 32 * 1024,
    BULK_SMALL_TURNS_MAX = 8, /* with less than that, and it is copied again */
};

enum { CLIENT, UPSTREAM, NOBODY }; /* sides; flow CLIENT goes from it to the upstream */

struct store {             /* what was read and not taken yet */
    struct pipe_pair pipe; /* read_fd -1: the bytes are here */
    size_t start;
    size_t end;
    char bytes[];
};

struct flow {
    uint64_t bytes; /* that the receiver took */
    struct store *store;
};

struct tunnel {
    struct stream sides[2];
    struct flow flows[2];
    struct worker *worker;
    struct wheel_entry quiet;
    struct tunnel *runnable_next;
    tally_count *counts[2];
    tunnel_over *over;
    void *owner;
    uint32_t idle_ms;
    uint32_t moved_ms; /* loop time, its low bits */
    uint8_t small_turns[2];
    bool bulk[2];
    bool runnable;
};

_Static_assert(sizeof(struct tunnel) <= TUNNEL_BYTES, "each connection has one");

/* What came of moving bytes: how the tunnel goes on. */
enum pump {
    PUMP_WAITS, /* for one of the streams, which tells */
    PUMP_MORE,  /* its share of this turn is used up */
    PUMP_DONE,  /* the end was passed on */
    PUMP_FAILED_FROM,
    PUMP_FAILED_TO,
};

/* ---- the end -------------------------------------------------------------------------------- */

static void runnable_remove(struct tunnel *tunnel)
{
    struct relay_worker *relay = tunnel->worker->relay;
    if (!tunnel->runnable)
        return;
    struct tunnel **at = &relay->runnable;
    while (*at != tunnel)
        at = &(*at)->runnable_next;
    *at = tunnel->runnable_next;
    if (relay->runnable_last == &tunnel->runnable_next)
        relay->runnable_last = at;
    relay->runnable_count--;
    tunnel->runnable = false;
}

static void store_drop(struct worker *worker, struct flow *flow)
{
    if (flow->store)
        pipe_give(&worker->pipes, &flow->store->pipe); /* with bytes in it: closed */
    free(flow->store);
    flow->store = NULL;
}

/* Is there something that this side should have had? */
static bool unsent(const struct tunnel *tunnel, int to)
{
    return tunnel->flows[!to].store != NULL;
}

/* `broken`: the side that broke, or NOBODY. The other is reset then, as is one that loses bytes.
 * The tunnel must be in no slot of the wheel any more. */
static void tunnel_finish(struct tunnel *tunnel, const char *how, int broken)
{
    struct relay_worker *relay = tunnel->worker->relay;
    const struct tunnel_end end = {
        .bytes_in = tunnel->flows[CLIENT].bytes,
        .bytes_out = tunnel->flows[UPSTREAM].bytes,
        .how = how,
        .upstream_failed = broken == UPSTREAM,
    };
    runnable_remove(tunnel);
    for (int side = 0; side < 2; side++)
        stream_close(&tunnel->sides[side], broken == !side || unsent(tunnel, side));
    store_drop(tunnel->worker, &tunnel->flows[CLIENT]);
    store_drop(tunnel->worker, &tunnel->flows[UPSTREAM]);
    tunnel->over(tunnel->owner, &end);
    slab_give(&relay->tunnels, tunnel);
}

static void tunnel_end(struct tunnel *tunnel, const char *how, int broken)
{
    wheel_remove(&tunnel->worker->relay->quiet, &tunnel->quiet);
    tunnel_finish(tunnel, how, broken);
}

static void tunnel_broke(struct tunnel *tunnel, int side)
{
    tunnel_end(tunnel, side == CLIENT ? "reset by client" : "reset by upstream", side);
}

/* ---- moving bytes --------------------------------------------------------------------------- */

static void moved(struct tunnel *tunnel, int from, ssize_t count)
{
    tunnel->flows[from].bytes += (uint64_t)count;
    tunnel->moved_ms = (uint32_t)loop_now(tunnel->worker->loop);
    if (tunnel->counts[from])
        tally_add(tunnel->counts[from], (uint64_t)count);
}

static struct store *store_new(const char *bytes, size_t length)
{
    struct store *store = malloc(sizeof *store + length);
    if (!store)
        return NULL;
    *store = (struct store){.pipe = {.read_fd = -1, .write_fd = -1}, .end = length};
    if (length)
        memcpy(store->bytes, bytes, length);
    return store;
}

static ssize_t pipe_write(struct stream *to, struct pipe_pair *pipe)
{
    stream_writes(to);
    ssize_t count =
        splice(pipe->read_fd, NULL, to->fd, NULL, pipe->held, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (count < 0)
        return -errno;
    pipe->held -= (size_t)count;
    return count;
}

static ssize_t store_write(struct stream *to, struct store *store)
{
    if (store->pipe.read_fd >= 0)
        return pipe_write(to, &store->pipe);
    ssize_t count = stream_write(to, store->bytes + store->start, store->end - store->start, false);
    if (count > 0)
        store->start += (size_t)count;
    return count;
}

/* Empties the store: PUMP_MORE: it is gone. */
static enum pump store_pump(struct tunnel *tunnel, int from)
{
    struct flow *flow = &tunnel->flows[from];
    struct stream *to = &tunnel->sides[!from];
    struct store *store = flow->store;
    while (store->pipe.held || store->start < store->end) {
        if (to->write_blocked)
            return stream_watch(to) ? PUMP_FAILED_TO : PUMP_WAITS;
        ssize_t count = store_write(to, store);
        if (count == -EAGAIN)
            return stream_write_blocks(to) ? PUMP_FAILED_TO : PUMP_WAITS;
        if (count < 0)
            return PUMP_FAILED_TO;
        moved(tunnel, from, count);
    }
    store_drop(tunnel->worker, flow);
    return PUMP_MORE;
}

/* Nothing came from a side: it waits, has ended, or broke. */
static enum pump none_read(struct tunnel *tunnel, int from, ssize_t count)
{
    struct stream *to = &tunnel->sides[!from];
    if (count == -EAGAIN)
        return PUMP_WAITS;
    if (count < 0)
        return PUMP_FAILED_FROM;
    /* The second end: the close that follows says it to a plain socket. */
    if (tunnel->sides[from].shut && stream_plain(to))
        return PUMP_DONE;
    stream_shutdown(to);
    return to->shut_blocked ? PUMP_WAITS : PUMP_DONE;
}

/* One read and one write through the worker's input. PUMP_MORE: *ret_count bytes, all taken. */
static enum pump copy_once(struct tunnel *tunnel, int from, size_t *ret_count)
{
    struct stream *to = &tunnel->sides[!from];
    char *bytes = tunnel->worker->input;
    ssize_t count = stream_read(&tunnel->sides[from], bytes, TUNNEL_COPY_BYTES);
    if (count <= 0)
        return none_read(tunnel, from, count);
    tunnel->bulk[from] = count == TUNNEL_COPY_BYTES;
    *ret_count = (size_t)count;
    ssize_t taken = stream_write(to, bytes, (size_t)count, false);
    if (taken < 0 && taken != -EAGAIN)
        return PUMP_FAILED_TO;
    if (taken > 0)
        moved(tunnel, from, taken);
    if (taken == count)
        return PUMP_MORE;
    taken = taken < 0 ? 0 : taken;
    tunnel->flows[from].store = store_new(bytes + taken, (size_t)(count - taken));
    return tunnel->flows[from].store ? PUMP_WAITS : PUMP_FAILED_TO;
}

/* Writes what is in the pipe, whose owner it becomes, until it is empty or no more is taken. */
static enum pump pipe_empty(struct tunnel *tunnel, int from, struct pipe_pair *pipe)
{
    struct stream *to = &tunnel->sides[!from];
    ssize_t count = 0;
    while (pipe->held && count >= 0) {
        count = pipe_write(to, pipe);
        if (count > 0)
            moved(tunnel, from, count);
    }
    struct store *store = count == -EAGAIN ? store_new(NULL, 0) : NULL;
    if (store) {
        store->pipe = *pipe;
        tunnel->flows[from].store = store;
        return stream_write_blocks(to) ? PUMP_FAILED_TO : PUMP_WAITS;
    }
    bool failed = pipe->held > 0;
    pipe_give(&tunnel->worker->pipes, pipe);
    return failed ? PUMP_FAILED_TO : PUMP_MORE;
}

/* The same through a pipe, which is given back when all of it was taken. */
static enum pump splice_once(struct tunnel *tunnel, int from, size_t *ret_count)
{
    struct stream *source = &tunnel->sides[from];
    struct pipe_pair pipe;
    if (source->read_blocked)
        return stream_watch(source) ? PUMP_FAILED_FROM : PUMP_WAITS;
    if (pipe_take(&tunnel->worker->pipes, &pipe) < 0)
        return copy_once(tunnel, from, ret_count);
    ssize_t count = splice(source->fd, NULL, pipe.write_fd, NULL, PIPE_BYTES,
                           SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
    if (count <= 0) {
        int error = count < 0 ? -errno : 0;
        pipe_give(&tunnel->worker->pipes, &pipe);
        source->ended = count == 0;
        if (error == -EAGAIN && stream_read_blocks(source))
            return PUMP_FAILED_FROM;
        return none_read(tunnel, from, error);
    }
    *ret_count = (size_t)count;
    pipe.held = (size_t)count;
    return pipe_empty(tunnel, from, &pipe);
}

/* A bulk flow that moves little is none. */
static void bulk_judge(struct tunnel *tunnel, int from, size_t total)
{
    if (total >= BULK_TURN_BYTES_MIN || !tunnel->bulk[from])
        tunnel->small_turns[from] = 0;
    else if (total && ++tunnel->small_turns[from] >= BULK_SMALL_TURNS_MAX)
        tunnel->bulk[from] = false;
}

static enum pump flow_pump(struct tunnel *tunnel, int from)
{
    struct stream *to = &tunnel->sides[!from];
    const bool plain = stream_plain(&tunnel->sides[from]) && stream_plain(to);
    size_t total = 0;
    enum pump result = tunnel->flows[from].store ? store_pump(tunnel, from) : PUMP_MORE;
    while (result == PUMP_MORE && total < TUNNEL_TURN_BYTES) {
        size_t count = 0;
        if (to->shut)
            return to->shut_blocked ? PUMP_WAITS : PUMP_DONE;
        if (to->write_blocked)
            return stream_watch(to) ? PUMP_FAILED_TO : PUMP_WAITS;
        result = plain && tunnel->bulk[from] ? splice_once(tunnel, from, &count)
                                             : copy_once(tunnel, from, &count);
        total += count;
    }
    bulk_judge(tunnel, from, total);
    return result;
}

/* ---- turns ---------------------------------------------------------------------------------- */

static void tunnels_run(struct deferred *deferred);

static void tunnel_runs(struct tunnel *tunnel)
{
    struct relay_worker *relay = tunnel->worker->relay;
    if (tunnel->runnable)
        return;
    tunnel->runnable = true;
    tunnel->runnable_next = NULL;
    *relay->runnable_last = tunnel;
    relay->runnable_last = &tunnel->runnable_next;
    relay->runnable_count++;
    deferred_start(tunnel->worker->loop, &relay->run, tunnels_run, tunnel->worker);
}

/* Both directions, as far as they go now. May end the tunnel. */
static void tunnel_pump(struct tunnel *tunnel, int first)
{
    enum pump results[2];
    for (int i = 0; i < 2; i++) {
        int from = i ? !first : first;
        results[from] = flow_pump(tunnel, from);
        if (results[from] >= PUMP_FAILED_FROM) {
            tunnel_broke(tunnel, results[from] == PUMP_FAILED_FROM ? from : !from);
            return;
        }
    }
    if (results[CLIENT] == PUMP_DONE && results[UPSTREAM] == PUMP_DONE)
        tunnel_end(tunnel, "closed", NOBODY);
    else if (results[CLIENT] == PUMP_MORE || results[UPSTREAM] == PUMP_MORE)
        tunnel_runs(tunnel);
}

static void tunnels_run(struct deferred *deferred)
{
    struct worker *worker = deferred->owner;
    struct relay_worker *relay = worker->relay;
    /* Who runs out of its share again stands at the end, for the next turn. */
    size_t count = relay->runnable_count;
    while (count-- && relay->runnable) {
        struct tunnel *tunnel = relay->runnable;
        runnable_remove(tunnel);
        tunnel_pump(tunnel, CLIENT);
    }
}

static void side_ready(struct tunnel *tunnel, int side, unsigned events)
{
    bool broke = events & WATCH_ERROR;
    struct stream *stream = &tunnel->sides[side];
    /* An error is told by the next read; where that waits for the other side to take what is
     * stored, it will not: the store goes with it, as with any reset. */
    if (broke && (tunnel->flows[side].store || tunnel->sides[!side].write_blocked || stream->ended))
        tunnel_broke(tunnel, side);
    else
        tunnel_pump(tunnel, side);
}

static void client_ready(struct stream *stream, unsigned events)
{
    char *tunnel = (char *)stream - offsetof(struct tunnel, sides[CLIENT]);
    side_ready((struct tunnel *)(void *)tunnel, CLIENT, events);
}

static void upstream_ready(struct stream *stream, unsigned events)
{
    char *tunnel = (char *)stream - offsetof(struct tunnel, sides[UPSTREAM]);
    side_ready((struct tunnel *)(void *)tunnel, UPSTREAM, events);
}

static struct tunnel *tunnel_of(struct wheel_entry *entry)
{
    char *address = (char *)entry - offsetof(struct tunnel, quiet);
    return (struct tunnel *)(void *)address;
}

static uint64_t quiet_ask(struct wheel_entry *entry)
{
    struct tunnel *tunnel = tunnel_of(entry);
    if (!tunnel->idle_ms)
        return UINT32_MAX;
    uint32_t quiet_ms = (uint32_t)loop_now(tunnel->worker->loop) - tunnel->moved_ms;
    if (quiet_ms < tunnel->idle_ms)
        return tunnel->idle_ms - quiet_ms;
    tunnel_finish(tunnel, "idle", NOBODY);
    return WHEEL_GONE;
}

/* ---- life ----------------------------------------------------------------------------------- */

static int ahead_store(struct tunnel *tunnel, int from, const void *bytes, size_t length)
{
    if (!length)
        return 0;
    tunnel->flows[from].store = store_new(bytes, length);
    return tunnel->flows[from].store ? 0 : -ENOMEM;
}

struct tunnel *tunnel_new(const struct tunnel_setup *setup)
{
    struct relay_worker *relay = setup->worker->relay;
    struct tunnel *tunnel = slab_take(&relay->tunnels);
    if (!tunnel)
        return NULL;
    *tunnel = (struct tunnel){
        .worker = setup->worker,
        .counts = {setup->bytes_in, setup->bytes_out},
        .over = setup->over,
        .owner = setup->owner,
        .idle_ms = setup->idle_ms,
        .moved_ms = (uint32_t)loop_now(setup->worker->loop),
    };
    if (ahead_store(tunnel, CLIENT, setup->client_ahead, setup->client_ahead_length) ||
        ahead_store(tunnel, UPSTREAM, setup->upstream_ahead, setup->upstream_ahead_length) ||
        wheel_add(&relay->quiet, &tunnel->quiet, setup->idle_ms ? setup->idle_ms : UINT32_MAX)) {
        store_drop(setup->worker, &tunnel->flows[CLIENT]);
        store_drop(setup->worker, &tunnel->flows[UPSTREAM]);
        slab_give(&relay->tunnels, tunnel);
        return NULL;
    }
    stream_move(&tunnel->sides[CLIENT], setup->client, client_ready);
    stream_move(&tunnel->sides[UPSTREAM], setup->upstream, upstream_ready);
    if (setup->client_passed)
        moved(tunnel, CLIENT, (ssize_t)setup->client_passed);
    tunnel_runs(tunnel);
    return tunnel;
}

void tunnel_cut(struct tunnel *tunnel)
{
    tunnel_end(tunnel, "down", NOBODY);
}

size_t tunnels_reset(struct worker *worker, tunnel_over *over, bool (*asked)(const void *owner))
{
    struct relay_worker *relay = worker->relay;
    size_t count = 0;
    for (size_t slot = 0; slot < WHEEL_SLOTS; slot++) {
        struct wheel_entry *next;
        for (struct wheel_entry *entry = LIST_FIRST(&relay->quiet.slots[slot]); entry;
             entry = next) {
            struct tunnel *tunnel = tunnel_of(entry);
            next = LIST_NEXT(entry, next);
            if (tunnel->over != over || !asked(tunnel->owner))
                continue;
            stream_close(&tunnel->sides[CLIENT], true);
            stream_close(&tunnel->sides[UPSTREAM], true);
            tunnel_end(tunnel, "revoked", NOBODY);
            count++;
        }
    }
    return count;
}

void tunnels_init(struct relay_worker *relay, struct worker *worker)
{
    slab_init(&relay->tunnels, sizeof(struct tunnel));
    wheel_init(&relay->quiet, worker->loop, quiet_ask);
    relay->runnable_last = &relay->runnable;
}

void tunnels_done(struct relay_worker *relay)
{
    struct wheel_entry *entry;
    while ((entry = wheel_first(&relay->quiet)))
        tunnel_cut(tunnel_of(entry));
    deferred_stop(relay->quiet.loop, &relay->run);
    wheel_done(&relay->quiet);
    slab_done(&relay->tunnels);
}
