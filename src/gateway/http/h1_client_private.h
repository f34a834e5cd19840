/* A connection to an endpoint, for the files of h1_client:
 *   h1_client.c           its life: connecting, the pool, deadlines, sending
 *   h1_client_response.c  what comes: heads, bodies
 *   h1_client_splice.c    large bodies past user space
 *   h1_client_place.c     bodies that are read to where they are sent from
 *   fcgi_client.c         FastCGI's records taken off what comes */
#pragma once

#include "gateway/core/acknowledged.h"
#include "gateway/core/pipes.h"
#include "gateway/http/fcgi_record.h"
#include "gateway/http/h1_client.h"

enum h1_client_state {
    CLIENT_IDLE, /* in the pool, or not begun */
    CLIENT_HEAD, /* waits for a response's head */
    CLIENT_BODY,
    CLIENT_OVER, /* the response is complete */
};

enum {
    SPLICE_BYTES_MIN = 128 * 1024,
    CLIENT_READS_MAX = 32, /* a turn */
};

struct h1_client {
    struct courier courier; /* first */
    struct stream stream;
    struct pooled pooled;
    struct timer timer;
    uint64_t deadline_ms; /* UINT64_MAX: none */
    struct worker *worker;
    struct endpoint *endpoint; /* holds a reference */
    const struct courier_calls *calls;
    void *owner;
    uint64_t serial; /* of the request */
    struct h1_output output;
    struct courier_times times;
    struct taking taking; /* while it `takes` */
    char *held;           /* read, not consumed: held_length bytes, from held_from on */
    uint32_t held_from, held_length;
    uint32_t scanned; /* HEAD: see h1_head_end; BODY: bytes of `held` that are decoded already */
    uint32_t keep_ms; /* what the endpoint says (Keep-Alive: timeout=); UINT32_MAX: nothing */
    uint8_t state;    /* enum h1_client_state */
    uint8_t body;     /* enum body_kind */
    uint8_t method;   /* enum http_method */
    bool connected : 1;
    bool tls_failed : 1; /* it was accepted, and TLS failed */
    bool reused : 1;
    bool pooled_now : 1;
    bool private : 1;
    bool busy : 1;
    bool dead : 1;
    bool sent : 1;        /* the whole request */
    bool send_broken : 1; /* it takes no more */
    bool room_wanted : 1;
    bool takes : 1;    /* more than the kernel had room for: it is watched until all is there */
    bool received : 1; /* a byte of the response */
    bool keep_alive : 1;
    bool starved : 1; /* needs more bytes than are held */
    bool wanted : 1;  /* the owner takes bytes */
    bool chunks_over : 1;
    bool upgraded : 1;
    bool tunnel : 1; /* bytes both ways */
    bool cgi : 1;    /* the response's head is CGI's; always with fastcgi */
    bool fastcgi : 1;
    bool records_keep : 1;
    bool records_over : 1; /* FastCGI's END_REQUEST is there */
    bool length_known : 1; /* FastCGI: the head said how long the body is */
    struct fcgi_reader reader;
    uint64_t body_left;
    struct h1_chunks chunks;
    char *trailer_room;    /* NULL: not wanted */
    struct pipe_pair pipe; /* read_fd -1: none */
};

static inline struct h1_client *h1_client_of(struct courier *courier)
{
    return (struct h1_client *)courier;
}

extern const struct courier_kind h1_courier;

void client_deadline(struct h1_client *client, uint64_t delay_ms);
/* Tells the owner; it is to be closed after that. */
void client_fail(struct h1_client *client, bool timeout, const char *why);
/* The same before the connection stood; `error`: of the write or read. */
void client_not_connected(struct h1_client *client, int error);
/* Takes the records off bytes that came, in place. False: it failed. */
bool fcgi_client_decode(struct h1_client *client, char *bytes, size_t *length);
/* Reads and goes on as far as it goes; busy. */
void client_read(struct h1_client *client);
/* Of the courier. */
void client_more(struct courier *courier);
uint32_t client_trailers(struct courier *courier, struct field *fields, uint32_t room);
void client_held_drop(struct h1_client *client);
/* The endpoint's side has ended (0), or broke (-errno): its owner is told. */
void client_read_ended(struct h1_client *client, ssize_t count);
/* True: the body is read to its place; all that can be done just now was done. */
bool client_place(struct h1_client *client);
/* True: the body goes by splice; all that can be done just now was done. */
bool client_splice(struct h1_client *client);
