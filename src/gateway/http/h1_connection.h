/* A client's connection and the exchange that is under way on it; for the files of h1_server:
 *   h1_server.c      what there is per worker: connections, draining, those that go on later
 *   h1_connection.c  its life: accepted, closed, deadlines
 *   h1_intake.c      what comes: heads, bodies
 *   h1_answer.c      what goes: the codec that handlers answer through
 *
 *              ┌────── the response is out, the connection is kept ──────┐
 *   accepted ─▶ IDLE ─▶ HEAD ─▶ EXCHANGE ─────────────────────────────────┤
 *                │       │         ├─▶ TUNNEL (101)                       │
 *                │       │         └─▶ LINGER ─▶ closed                   │
 *                └───────┴─ closed, out of time: 408, refused: 4xx ─▶ LINGER
 *
 * An idle connection has no buffer and no exchange, only this struct. What a read brought and
 * nobody could take yet (the start of a head, a next request, a body that the handler does not
 * take) is held on the heap until it goes on; while something whole is held, nothing is read.
 *
 * A timer is moved only to the front: a deadline that lies later than the timer leaves it as it is,
 * and the timer looks at the deadline when it is due. So a kept connection touches the heap of
 * timers once in a minute or so, not per request. */
#pragma once

#include <sys/queue.h>

#include "gateway/core/acknowledged.h"
#include "gateway/core/stream.h"
#include "gateway/http/exchange.h"
#include "gateway/http/h1_output.h"
#include "gateway/http/h1_parse.h"
#include "gateway/http/http_worker.h"

enum h1_state {
    H1_IDLE,     /* nothing of a request has come */
    H1_HEAD,     /* a part of a head has */
    H1_EXCHANGE, /* a request is being served */
    H1_TUNNEL,   /* the stream is a tunnel's */
    H1_LINGER,   /* all was said; what still comes is read and thrown away */
};

enum {
    LINGER_MS = 2000,
    LINGER_BYTES_MAX = 4 * 1024 * 1024,
    SKIP_BYTES_MAX = 64 * 1024, /* a body that nobody wants, up to this, is read over */
    RATE_WINDOW_MS = 5000,
    WATCH_CLIENT_MS = 1000, /* into a request, whether its client is still there is watched */
};

struct h1_connection {
    struct client_base base; /* first */
    struct stream stream;
    struct timer timer;
    uint64_t deadline_ms; /* UINT64_MAX: none */
    LIST_ENTRY(h1_connection) next;
    struct h1_connection *resume_next;
    struct h1_exchange *exchange; /* NULL: none */
    char *held;                   /* read, not consumed */
    uint32_t held_length;
    uint32_t scanned; /* of a held head: see h1_head_end; of a held body: bytes decoded already */
    uint32_t skip;    /* bytes of a body that nobody wants; LINGER: bytes thrown away so far */
    uint8_t state;    /* enum h1_state */
    bool busy : 1;    /* its intake is on the stack */
    bool queued : 1;  /* goes on at the end of this turn */
    bool dead : 1;    /* closed; freed as soon as nobody is in it */
    bool broken : 1;  /* the client is gone; what is left of the exchange is aborted soon */
    bool starved : 1; /* needs more bytes than are held */
    bool fresh : 1;   /* nothing told yet which HTTP it is */
    bool whole : 1;   /* LINGER: the last request was read to its end */
    bool secure : 1;
};

struct h1_exchange {
    struct exchange exchange; /* first */
    struct h1_connection *connection;
    struct h1_exchange *next_spare;
    struct h1_chunks chunks; /* of the request */
    struct h1_output output;
    uint64_t body_left; /* BODY_LENGTH: of the request */
    uint64_t rate_ms;   /* when the window began in which the body's speed is measured */
    uint64_t rate_bytes;
    struct taking taking; /* of the client, while there is no room */
    bool keeps;           /* the connection, after the response */
    bool body_wanted;     /* the handler takes bytes */
    bool body_told;       /* it was told of what had come with the head, if only of nothing */
    bool bodyless;        /* HEAD, 204, 304: whatever the head says of a body */
    bool room_wanted;     /* it waits for room */
    bool closes;          /* the connection must end after this */
    bool chunks_over;     /* the request's */
    bool unframed;        /* the response ends with the connection */
    bool cut;
};

static inline struct h1_connection *h1_of_stream(struct stream *stream)
{
    return (struct h1_connection *)((char *)stream - offsetof(struct h1_connection, stream));
}
static inline struct h1_exchange *h1_of(struct exchange *exchange)
{
    return (struct h1_exchange *)exchange;
}
static inline const struct site *h1_site(const struct h1_connection *connection)
{
    return connection->base.plan->listener->site;
}

/* ---- h1_server.c ---- */

/* Goes on with it at the end of this turn. */
void h1_resume(struct h1_connection *connection);
/* NULL: no memory. */
struct h1_exchange *h1_exchange_new(struct h1_connection *connection);
void h1_exchange_free(struct h1_exchange *own);

/* ---- h1_connection.c ---- */

void h1_deadline(struct h1_connection *connection, uint64_t delay_ms);
/* Something waits to be sent: who has taken nothing of it for `timeout send=` is cut off. */
void h1_deadline_send(struct h1_exchange *own);
/* Closes it; an exchange is aborted. It is freed when nobody is in it any more. */
void h1_close(struct h1_connection *connection, bool reset, const char *why);
/* It is HTTP/2's from now on, with what was read. */
void h1_hand_over(struct h1_connection *connection, const char *bytes, size_t length);
void h1_free_if_dead(struct h1_connection *connection);
/* Whoever is called by the loop does so between these. */
void h1_enter(struct h1_connection *connection);
void h1_leave(struct h1_connection *connection);
/* In H1_LINGER: closes at once, or reads on for a while when bytes of the client are unread. */
void h1_last(struct h1_connection *connection, bool unread);

/* ---- h1_intake.c ---- */

/* Reads and goes on as far as it goes; entered. */
void h1_intake(struct h1_connection *connection);
/* The request cannot be finished: answers, if nothing was answered yet, else cuts. */
void h1_request_fail(struct h1_connection *connection, uint16_t status, const char *why);

/* ---- h1_answer.c ---- */

extern const struct codec h1_codec;
/* The stream takes bytes again. */
void h1_answer_room(struct h1_exchange *own);
/* Is there nothing left to do for it? Then counts, frees it and decides about the connection. */
void h1_exchange_end(struct h1_exchange *own);
