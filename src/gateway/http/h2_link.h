/* For the files of h2_client.h:
 *   h2_link.c         a link's life: connecting, the pool, deadlines, its end
 *   h2_link_frames.c  what libnghttp2 tells of frames, and what is too much of them
 *   h2_response.c     the response of a stream: its head, its body, its trailers
 *   h2_courier.c      the request of a stream, and the courier that its owner knows */
#pragma once

#include "gateway/core/acknowledged.h"
#include "gateway/http/h2_client.h"
#include "gateway/http/h2_worker.h"

/* Fields that are coming, or that came behind a body. */
struct h2_fields {
    char *bytes; /* names and values, one behind the other */
    uint32_t length, room;
    uint32_t count;
    struct {
        uint16_t name_length;
        uint16_t value_length;
    } * lengths; /* HEAD_FIELDS_MAX */
};

enum h2_ping { H2_PING_NONE, H2_PING_ASKED, H2_PING_ANSWERED };

struct h2_link {
    struct h2_wire wire; /* first */
    struct pooled pooled;
    struct timer timer;
    struct endpoint *endpoint; /* holds a reference */
    LIST_ENTRY(h2_link) next;  /* of the worker's */
    LIST_HEAD(, h2_courier) couriers;
    TAILQ_HEAD(going_couriers, h2_courier) going; /* those that have something to do */
    struct h2_courier *reading;                   /* whose fields are coming; NULL: none */
    struct h2_courier *announced; /* whose head is there, and waits for the first of the body */
    struct h2_fields fields;
    struct h2_floods floods;
    const char *why;  /* it fails; NULL: nothing is known */
    uint32_t streams; /* that are open, also those that nobody wants any more */
    uint32_t held;    /* bytes of responses that were not taken */
    uint32_t idle_ms;
    uint32_t send_ms; /* until it must take something, while something is pending */
    struct taking taking;
    uint64_t looked_ms;  /* at what it has taken, last */
    uint64_t connect_ms; /* loop time until which it must stand */
    uint64_t heard_ms;   /* when something last came */
    uint64_t heard_turn; /* of the loop */
    uint64_t asked_ms;   /* when the PING was sent */
    uint64_t quiet_ms;   /* since when it carries nothing */
    uint8_t ping;        /* enum h2_ping */
    bool connected : 1;
    bool secure : 1;
    bool reused : 1; /* it carried a request before */
    bool pooled_now : 1;
    bool leaving : 1;    /* no further requests */
    bool failed : 1;     /* the session is over: nothing is read any more */
    bool tls_failed : 1; /* it was accepted, and TLS failed */
};

enum h2_courier_state { COURIER_HEAD, COURIER_BODY, COURIER_OVER };

struct h2_courier {
    struct courier courier; /* first */
    struct h2_link *link;
    const struct courier_calls *calls;
    void *owner; /* NULL: nobody wants it any more; it lasts until its stream is closed */
    LIST_ENTRY(h2_courier) next;
    TAILQ_ENTRY(h2_courier) going_next;
    int32_t id; /* 0: none yet */
    struct courier_times times;
    uint64_t deadline_ms;  /* UINT64_MAX: none */
    struct h2_block block; /* of the request's body */
    const struct field *trailers;
    uint32_t trailer_count;
    struct h2_held held;     /* of the response's body */
    uint64_t body_left;      /* of a response whose length is known; else UINT64_MAX */
    struct h2_fields behind; /* its trailers */
    const char *malformed;   /* NULL: the fields are good so far */
    uint8_t state;           /* enum h2_courier_state */
    uint8_t method;          /* enum http_method */
    bool reused : 1;
    bool sent_head : 1; /* HEADERS are out */
    bool body_over : 1; /* the request's last byte is in the block */
    bool sent : 1;      /* the whole request is out */
    bool deferred : 1;  /* libnghttp2 waits to be told of more */
    bool room_wanted : 1;
    bool received : 1;     /* something of a response */
    bool wanted : 1;       /* the owner takes bytes */
    bool remote_ended : 1; /* the endpoint has sent all */
    bool closed : 1;       /* the stream is */
    bool reset : 1;        /* RST_STREAM is on its way */
    bool is_going : 1;
    bool busy : 1; /* its owner is being called */
};

static inline struct h2_link *h2_link_of(struct h2_wire *wire)
{
    return (struct h2_link *)wire;
}
static inline uint64_t h2_link_now(const struct h2_link *link)
{
    return loop_now(link->wire.worker->loop);
}

/* ---- h2_link.c ---- */

extern const struct h2_wire_kind h2_link_kind;
/* It is due soon enough for a deadline. */
void h2_link_attend(struct h2_link *link, uint64_t deadline_ms);
/* No further requests; closed when the last has ended. */
void h2_link_leave(struct h2_link *link);
/* A stream of it came or went: into the pool, or out of it. */
void h2_link_settle(struct h2_link *link);
/* All that is on it fails, and it is closed. */
void h2_link_fail(struct h2_link *link, bool timeout, const char *why);
/* The session breaks by our doing; the end of the turn sees to it. */
void h2_link_terminate(struct h2_link *link, uint32_t error);

/* ---- h2_link_frames.c ---- */

int h2_link_callbacks_set(nghttp2_session_callbacks *callbacks);
/* The session has looked at all that came. */
void h2_link_read(struct h2_link *link);

/* ---- h2_response.c ---- */

void h2_response_begin(struct h2_courier *own);
void h2_response_field(struct h2_courier *own, struct slice name, struct slice value);
/* All fields are there: of a head, or behind the body. */
void h2_response_fields(struct h2_courier *own, bool ended);
/* Gives the head that waits to its owner, without a body yet. */
void h2_response_announce(struct h2_courier *own);
void h2_response_bytes(struct h2_courier *own, const char *bytes, size_t length);
void h2_response_ended(struct h2_courier *own);
/* What is held, when the owner takes it. */
void h2_response_go_on(struct h2_courier *own);
uint32_t h2_response_trailers(struct courier *courier, struct field *fields, uint32_t room);
void h2_fields_done(struct h2_fields *fields);

/* ---- h2_courier.c ---- */

static inline struct h2_courier *h2_courier_of(struct courier *courier)
{
    return (struct h2_courier *)courier;
}
void h2_courier_going(struct h2_courier *own);
/* Is there something of the request that has not been written? */
bool h2_courier_sends(const struct h2_courier *own);
/* Sets the deadline by what it waits for. */
void h2_courier_attend(struct h2_courier *own);
/* It has failed: its owner is told, and closes it. */
void h2_courier_fail(struct h2_courier *own, bool timeout, bool untouched, const char *why);
/* Its stream is closed, or will never be. */
void h2_courier_closed(struct h2_courier *own, uint32_t error);
void h2_courier_free(struct h2_courier *own);
/* The owner brings more of the request, if there is room. */
void h2_courier_room(struct h2_courier *own);
/* A DATA frame took so much of the block. */
void h2_courier_took(struct h2_courier *own, size_t length);
void h2_courier_reset(struct h2_courier *own, uint32_t error);
