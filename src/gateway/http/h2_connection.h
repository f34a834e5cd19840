/* A client's HTTP/2 connection and its streams; for the files of h2_server:
 *   h2_server.c      what there is per worker; connections that have something to do
 *   h2_connection.c  a connection's life: taken over, told to go away, closed; deadlines
 *   h2_frames.c      what libnghttp2 tells of frames, and what is too much of them
 *   h2_head.c        a request's fields to a head
 *   h2_body.c        a request's body to its handler
 *   h2_stream.c      a stream's life, and the codec that handlers answer through
 *   h2_output.c      what goes: one send for all that a turn has brought
 *
 * Nobody sends at once: who has something to send puts the connection in line (h2_resume), and at
 * the end of the turn all frames that there are go out in one write. So libnghttp2 is never entered
 * from its own callbacks, and a stream ends (on_stream_close) only while no handler is on the
 * stack.
 *
 * Flow control. A request's body: a stream's window is opened by what its handler took, so what is
 * held of it is at most H2_WINDOW_BYTES; the connection's is opened as bytes come, that a stream
 * that waits does not stop the others, until H2_HELD_BYTES_MAX are held in all. A response's body:
 * a block of H2_BLOCK_BYTES per stream, of which libnghttp2 takes as the client's windows allow;
 * the handler is asked for more when it is empty; past H2_QUEUED_BYTES_MAX in all of a connection,
 * nothing is taken of a further stream. */
#pragma once

#include <nghttp2/nghttp2.h>
#include <sys/queue.h>

#include "gateway/core/stream.h"
#include "gateway/http/exchange.h"
#include "gateway/http/http_worker.h"

enum {
    H2_STREAMS_MAX = 128,
    H2_WINDOW_BYTES = 128 * 1024,
    H2_CONNECTION_WINDOW_BYTES = 1024 * 1024,
    H2_HELD_BYTES_MAX = 2 * 1024 * 1024,
    H2_BLOCK_BYTES = 32 * 1024,
    H2_QUEUED_BYTES_MAX = 1024 * 1024,
    H2_SMALL_BYTES = 4 * 1024,    /* the first so many of a response are taken in any case */
    H2_OUTPUT_BYTES = 96 * 1024,  /* what one write takes at most */
    H2_OUTPUT_MARGIN = 20 * 1024, /* no frame is larger */
    H2_TURN_BYTES = 512 * 1024,   /* sent, before others have their turn */
    H2_READS_A_TURN = 4,
    H2_BLOCKS_KEPT = 256,
    H2_LINGER_MS = 2000,
    H2_LINGER_BYTES_MAX = 4 * 1024 * 1024,
    H2_GOAWAY_MS = 1000, /* between the announcement of a GOAWAY and the last one */
    /* Floods: see h2_frames.c. */
    H2_RESETS_BURST = 500,
    H2_RESETS_PER_SECOND = 50,
    H2_CONTROL_BURST = 2000,
    H2_CONTROL_PER_SECOND = 500,
    H2_ACKS_MAX = 2500,  /* answers to PING and SETTINGS that wait; the bucket is empty before */
    H2_QUEUE_MAX = 1024, /* frames that wait: past it, nothing is read */
};

struct h2_worker;

struct h2_connection {
    struct client_base base; /* first; of the newest generation that a request of it saw */
    struct stream stream;
    struct timer timer;
    nghttp2_session *session;
    LIST_ENTRY(h2_connection) next;
    struct h2_connection *resume_next;
    LIST_HEAD(, h2_stream) streams;
    TAILQ_HEAD(going_streams, h2_stream) going; /* those that have something to do */
    struct h2_stream *reading;                  /* whose fields are coming; NULL: none */
    char *pending;                              /* what the socket did not take */
    uint32_t pending_length, pending_sent;
    uint32_t held;         /* of requests' bodies, for which the connection's window was opened */
    uint32_t queued_bytes; /* in the blocks of its streams */
    uint32_t stream_count;
    uint32_t lingered;   /* bytes thrown away */
    int32_t resets_left; /* see h2_frames.c */
    int32_t control_left;
    uint64_t refilled_ms;
    uint64_t quiet_ms;  /* since when it has no stream */
    uint64_t head_ms;   /* when the fields began that are coming */
    uint64_t sent_ms;   /* when the socket last took something, while something is pending */
    uint64_t goaway_ms; /* when it was told to go away; 0: not yet */
    bool busy : 1;      /* somebody is in it */
    bool queued : 1;    /* goes on at the end of this turn */
    bool dead : 1;
    bool broken : 1;  /* the client is gone */
    bool full : 1;    /* the output has no room for the next frame */
    bool leaving : 1; /* the last GOAWAY is out */
    bool failed : 1;  /* the session is over: nothing is read any more */
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
    struct slice pseudo_path, pseudo_authority, pseudo_scheme;
    char *held; /* of the request's body, not taken by the handler */
    uint32_t held_length, held_room;
    uint32_t debt;      /* of `held`: for which the connection's window was not opened yet */
    uint64_t body_left; /* BODY_LENGTH */
    uint64_t body_ms;   /* when the client last sent of it, or the handler last wanted it */
    uint64_t rate_ms, rate_bytes;
    char *block; /* of the response's body; NULL: none just now */
    uint32_t block_from, block_to;
    uint64_t taken_ms; /* when the client last took of it */
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
};

static inline struct h2_stream *h2_of(struct exchange *exchange)
{
    return (struct h2_stream *)exchange;
}
static inline const struct site *h2_site(const struct h2_connection *connection)
{
    return connection->base.plan->listener->site;
}

/* ---- h2_server.c ---- */

struct h2_worker {
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    LIST_HEAD(, h2_connection) connections;
    struct h2_connection *resume_first; /* what waits for the end of the turn */
    struct h2_connection **resume_last;
    struct deferred resume;
    struct h2_stream *spares;
    char *blocks; /* a list through their first bytes */
    unsigned spare_count, block_count;
    nghttp2_nv fields[HEAD_FIELDS_MAX + 8];
    char output[H2_OUTPUT_BYTES];
    size_t output_length;
};

void h2_resume(struct h2_connection *connection);
struct h2_stream *h2_spare_take(struct h2_worker *h2); /* NULL: no memory */
void h2_spare_give(struct h2_worker *h2, struct h2_stream *own);
char *h2_block_take(struct h2_worker *h2);
void h2_block_give(struct h2_worker *h2, char *block);

/* ---- h2_connection.c ---- */

void h2_enter(struct h2_connection *connection);
void h2_leave(struct h2_connection *connection);
void h2_close(struct h2_connection *connection, bool reset, const char *why);
void h2_free_if_dead(struct h2_connection *connection);
/* No new streams: announced at first, for good a round trip (or H2_GOAWAY_MS) later. */
void h2_goaway(struct h2_connection *connection);
void h2_goaway_last(struct h2_connection *connection);
/* At the end of a turn: everything that waits for it. */
void h2_go_on(struct h2_connection *connection);
/* The timer is due soon enough for what is under way now. */
void h2_attend(struct h2_connection *connection);

/* ---- h2_frames.c ---- */

int h2_callbacks_set(nghttp2_session_callbacks *callbacks);

/* ---- h2_head.c ---- */

/* A field of a request as it comes. False: no memory. */
void h2_head_field(struct h2_stream *own, struct slice name, struct slice value);
/* All fields are there: the head. False: refused_why and refused say what is wrong with it. */
bool h2_head_finish(struct h2_stream *own, bool ended);

/* ---- h2_body.c ---- */

void h2_body_bytes(struct h2_stream *own, const char *bytes, size_t length);
void h2_body_ended(struct h2_stream *own);
/* What is held, when the handler takes it; and the first call of one that waits for a body. */
void h2_body_go_on(struct h2_stream *own);
/* Opens the connection's window for what was not taken of a stream that ends. */
void h2_body_done(struct h2_stream *own);

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

/* ---- h2_output.c ---- */

/* libnghttp2's frames that do not come from its memory. */
int h2_output_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                   size_t length, nghttp2_data_source *source, void *owner);
/* Sends what there is. 0: all of it; -EAGAIN: the socket is full, or others are to have their turn;
 * -errno. */
int h2_output_flush(struct h2_connection *connection);
