/* A filter stands between a handler's response and the codec that sends it: it may change the head,
 * make other bytes of the body's, keep a copy, or take a response for itself. An exchange has a
 * chain of them, from the handler to the client:
 *
 *   handler ─ exchange_respond / _write / _end ─▶ cache ─▶ compress ─▶ (the route's rules) ─▶ codec
 *             ◀────────────────────── response_room ──────────────────────────
 *
 * Flow control is that of the exchange: who is given bytes says how many it took, and takes the
 * rest when it is given again. A filter that took bytes which it could not pass on sets `holds`;
 * while it does, `room` is called when the client's side takes more, and neither the handler is
 * asked for more nor the exchange ends. Bodies do not go past user space (splice, sendfile) while
 * there is a filter.
 *
 * A filter lies in the exchange's arena, or owns its memory and frees it in `done`, which is called
 * once, when the exchange ends in whatever way. All calls are of one worker. */
#pragma once

#include "gateway/http/exchange.h"

struct filter;

struct filter_kind {
    const char *name;
    /* As codec.respond, .write and .end; what it makes of it goes on by filter_respond … */
    ssize_t (*respond)(struct filter *filter, struct exchange *exchange,
                       const struct response_head *head, const char *bytes, size_t length,
                       bool last);
    ssize_t (*write)(struct filter *filter, struct exchange *exchange, const char *bytes,
                     size_t length, bool last);
    void (*end)(struct filter *filter, struct exchange *exchange, const struct field *trailers,
                uint32_t count);
    /* Of one that holds: passes on what it can, and clears `holds` when that was all. */
    void (*room)(struct filter *filter, struct exchange *exchange);
    /* The handler cannot finish its response. True: the client need not know; the filter answers
     * otherwise. NULL: nothing to do. */
    bool (*cut)(struct filter *filter, struct exchange *exchange);
    /* The handler has let go. True: the filter goes on as if it were the handler, having set
     * exchange->handler, and releases in its turn. NULL: nothing to do. */
    bool (*released)(struct filter *filter, struct exchange *exchange);
    /* NULL: nothing to free. */
    void (*done)(struct filter *filter, struct exchange *exchange);
};

struct filter { /* embedded first in the filter's own */
    const struct filter_kind *kind;
    struct filter *next; /* nearer the client; NULL: the codec */
    bool holds;
};

/* Puts it nearest to the client. Before the response's head has passed the chain's end. */
void filter_append(struct exchange *exchange, struct filter *filter);

/* What a filter passes on, to the next one or the codec: as exchange_respond, _write, _end. */
ssize_t filter_respond(struct filter *filter, struct exchange *exchange,
                       const struct response_head *head, const char *bytes, size_t length,
                       bool last);
ssize_t filter_write(struct filter *filter, struct exchange *exchange, const char *bytes,
                     size_t length, bool last);
void filter_end(struct filter *filter, struct exchange *exchange, const struct field *trailers,
                uint32_t count);
/* As filter_respond, past all filters and the route's rules: for the one that is put there last. */
ssize_t filter_respond_last(struct exchange *exchange, const struct response_head *head,
                            const char *bytes, size_t length, bool last);
/* A filter that wrote on its own account (a timer, a deferred call) says so afterwards: the
 * exchange may end by it, so this is its last call. */
void filter_settle(struct exchange *exchange);
