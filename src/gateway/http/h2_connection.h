/* A client's HTTP/2 connection and its streams; for the files of h2_server:
 *   h2_server.c      what there is per worker; connections that have something to do
 *   h2_connection.c  a connection's life: taken over, told to go away, closed; deadlines
 *   h2_frames.c      what libnghttp2 tells of frames, and what is too much of them
 *   h2_head.c        a request's fields to a head
 *   h2_body.c        a request's body to its handler
 *   h2_rest.c        the rest of one that was answered before its end: read, and thrown away
 *   h2_stream.c      a stream's life, and the codec that handlers answer through
 *   h2_wire.h        what it has in common with a connection to an endpoint: sending
 *
 * A stream ends (on_stream_close) only while no handler is on the stack.
 *
 * Flow control. A request's body: a stream's window is opened by what its handler took, so what is
 * held of it is at most H2_WINDOW_BYTES; the connection's is opened as bytes come, that a stream
 * that waits does not stop the others, until H2_HELD_BYTES_MAX are held in all. A response's body:
 * a block of H2_BLOCK_BYTES per stream, of which libnghttp2 takes as the client's windows allow;
 * the handler is asked for more when it is empty; past H2_QUEUED_BYTES_MAX in all of a connection,
 * nothing is taken of a further stream. */
#pragma once

#include <sys/queue.h>

#include "gateway/core/acknowledged.h"
#include "gateway/http/exchange.h"
#include "gateway/http/h2_worker.h"

enum {
    H2_STREAMS_MAX = 128,
    H2_WINDOW_BYTES = 128 * 1024,
    H2_CONNECTION_WINDOW_BYTES = 1024 * 1024,
    H2_HELD_BYTES_MAX = 2 * 1024 * 1024,
    H2_QUEUED_BYTES_MAX = 1024 * 1024,
    H2_PLACE_BYTES_MIN = 16 * 1024, /* to read a response to its block, behind what waits there */
    H2_SMALL_BYTES = 4 * 1024,      /* the first so many of a response are taken in any case */
    H2_LINGER_MS = 2000,
    H2_LINGER_BYTES_MAX = 4 * 1024 * 1024,
    H2_REST_MS = 2000,              /* of a request that was answered before its end */
    H2_REST_BYTES_MAX = 256 * 1024, /* of its body, read and thrown away; then it is reset */
    H2_GOAWAY_MS = 1000,            /* between the announcement of a GOAWAY and the last one */
};

struct h2_connection {
    struct h2_wire wire;     /* first */
    struct client_base base; /* of the newest generation that a request of it saw */
    struct timer timer;
    LIST_ENTRY(h2_connection) next;
    LIST_HEAD(, h2_stream) streams;
    LIST_HEAD(, h2_rest) rests;
    TAILQ_HEAD(going_streams, h2_stream) going; /* those that have something to do */
    struct h2_stream *reading;                  /* whose fields are coming; NULL: none */
    uint32_t held;         /* of requests' bodies, for which the connection's window was opened */
    uint32_t queued_bytes; /* in the blocks of its streams */
    uint32_t stream_count;
    uint32_t lingered; /* bytes thrown away */
    struct h2_floods floods;
    struct taking taking; /* of all that it is sent */
    uint64_t quiet_ms;    /* since when it has no stream */
    uint64_t head_ms;     /* when the fields began that are coming */
    uint64_t goaway_ms;   /* when it was told to go away; 0: not yet */
    bool leaving : 1;     /* the last GOAWAY is out */
    bool failed : 1;      /* the session is over: nothing is read any more */
    bool lingering : 1;
    bool secure : 1;
};

struct h2_stream {
    struct exchange exchange;  /* first */
    struct client_base client; /* the connection's, of the generation that the request came under */
    struct h2_connection *connection;
    LIST_ENTRY(h2_stream) next;
    TAILQ_ENTRY(h2_stream) going_next;
    int32_t id;
    const char *refused_why; /* NULL: the head is good so far */
    uint16_t refused;        /* what to answer; 0: nothing, reset it */
    uint8_t pseudo_count;
    uint32_t header_bytes;
    struct slice pseudo_path, pseudo_authority, pseudo_scheme, pseudo_protocol;
    struct h2_held held; /* of the request's body, not taken by the handler */
    uint32_t debt;       /* of `held`: for which the connection's window was not opened yet */
    uint64_t body_left;  /* BODY_LENGTH */
    uint64_t body_ms;    /* when the client last sent of it, or the handler last wanted it */
    uint64_t rate_ms, rate_bytes;
    struct h2_block block; /* of the response's body */
    uint64_t taken_ms;     /* when the client last took of it */
    const struct field *trailers;
    uint32_t trailer_count;
    bool is_going : 1;
    bool head_done : 1;   /* dispatched, or refused */
    bool body_wanted : 1; /* the handler takes bytes */
    bool body_told : 1;
    bool remote_ended : 1;
    bool bodyless : 1;
    bool submitted : 1; /* the response's head is libnghttp2's */
    bool body_over : 1; /* the response's last byte is in the block */
    bool cut : 1;       /* reset after what is in the block */
    bool room_wanted : 1;
    bool deferred : 1; /* libnghttp2 waits to be told of more */
    bool reset : 1;    /* RST_STREAM is on its way */
    bool tunnel : 1;   /* bytes both ways, in DATA frames */
};

/* A stream whose answer is out and that was counted, logged and freed, while its client sends. Many
 * clients, curl of Debian 12 among them, take the reset that may come instead (RFC 9113 §8.1) for a
 * failure of the whole. No more than H2_STREAMS_MAX, since to the client it is a stream still. */
struct h2_rest {
    LIST_ENTRY(h2_rest) next;
    int32_t id;
    uint32_t left; /* bytes that are still read */
    uint64_t until_ms;
};

static inline struct h2_stream *h2_of(struct exchange *exchange)
{
    return (struct h2_stream *)exchange;
}
static inline const struct site *h2_site(const struct h2_connection *connection)
{
    return connection->base.plan->listener->site;
}

static inline struct h2_output *h2_stream_output(const struct h2_stream *own)
{
    return &own->exchange.worker->http->h2->output;
}

/* ---- h2_server.c ---- */

struct h2_stream *h2_spare_take(struct h2_worker *h2); /* NULL: no memory */
void h2_spare_give(struct h2_worker *h2, struct h2_stream *own);

/* ---- h2_connection.c ---- */

void h2_close(struct h2_connection *connection, bool reset, const char *why);
/* No new streams: announced at first, for good a round trip (or H2_GOAWAY_MS) later. */
void h2_goaway(struct h2_connection *connection);
void h2_goaway_last(struct h2_connection *connection);
/* The timer is due soon enough for what is under way now. */
void h2_attend(struct h2_connection *connection);

/* ---- h2_frames.c ---- */

int h2_callbacks_set(nghttp2_session_callbacks *callbacks);

/* ---- h2_head.c ---- */

/* A field of a request as it comes. False: no memory. */
void h2_head_field(struct h2_stream *own, struct slice name, struct slice value);
/* The same behind the body. Those that may not stand there, and what is too much, is left out. */
void h2_head_trailer(struct h2_stream *own, struct slice name, struct slice value);
/* All fields are there: the head. False: refused_why and refused say what is wrong with it. */
bool h2_head_finish(struct h2_stream *own, bool ended);

/* ---- h2_body.c ---- */

void h2_body_bytes(struct h2_stream *own, const char *bytes, size_t length);
void h2_body_ended(struct h2_stream *own);
/* What is held, when the handler takes it; and the first call of one that waits for a body. */
void h2_body_go_on(struct h2_stream *own);
/* Opens the connection's window for what was not taken of a stream that ends. */
void h2_body_done(struct h2_stream *own);

/* ---- h2_rest.c ---- */

/* Of a stream that goes now. False: it must be reset. */
bool h2_rest_begin(const struct h2_stream *own);
/* They came on a stream that is gone. */
void h2_rest_bytes(struct h2_connection *connection, int32_t id, size_t length);
void h2_rest_over(struct h2_connection *connection, int32_t id);
void h2_rests_due(struct h2_connection *connection, uint64_t now_ms);
void h2_rests_done(struct h2_connection *connection);

/* ---- h2_stream.c ---- */

extern const struct codec h2_codec;
/* NULL: no memory. */
struct h2_stream *h2_stream_new(struct h2_connection *connection, int32_t id);
/* The stream is closed: counts, logs and frees it. */
void h2_stream_free(struct h2_stream *own, const char *why);
void h2_stream_reset(struct h2_stream *own, uint32_t error);
/* The request cannot be finished: answers, if nothing was answered yet, else resets it. */
void h2_stream_fail(struct h2_stream *own, uint16_t status, const char *why);
void h2_stream_going(struct h2_stream *own);
/* Has the handler's next bytes, if it waits for room and there is some. */
void h2_stream_room(struct h2_stream *own);
