/* HTTP/2 to an endpoint (RFC 9113): a link, which is a connection that carries several requests at
 * a time, and the couriers on it, each of which is one request (courier.h).
 *
 *   h2_link_take / _connect ─▶ h2_courier_begin ─▶ _request (head) ─▶ … as every courier
 *
 * A link lies in its endpoint's pool for as long as it takes a further request: it has fewer than
 * the endpoint's SETTINGS_MAX_CONCURRENT_STREAMS (and H2_LINK_STREAMS_MAX), and the endpoint stays.
 * An endpoint that leaves, a GOAWAY, or numbers that are used up take it out; what runs on it ends,
 * and then it is closed. An endpoint has at most H2_LINKS_MAX of them per worker; when all are
 * full, it is not chosen (endpoint.full), and requests wait as they do at every other bound.
 *
 * Flow control. Of a response: a stream's window is opened by what the owner took, so what is held
 * of it is at most H2_LINK_WINDOW_BYTES; the link's window is opened as bytes come, so that a slow
 * client does not stop the others; and a link that holds more than H2_LINK_HELD_BYTES_MAX takes no
 * further request. Of a request: a block of H2_BLOCK_BYTES per stream, of which libnghttp2 takes as
 * the endpoint's windows allow.
 *
 * A link that was silent for H2_LINK_QUIET_MS is asked once whether it is alive (PING); without an
 * answer in H2_LINK_PING_MS it is given up. Asking on and on would be taken for a flood. */
#pragma once

#include <nghttp2/nghttp2.h>

#include "gateway/core/worker.h"
#include "gateway/http/courier.h"

enum {
    H2_LINKS_MAX = 32,
    H2_LINK_STREAMS_MAX = 100,
    H2_LINK_WINDOW_BYTES = 128 * 1024,
    H2_LINK_CONNECTION_WINDOW_BYTES = 4 * 1024 * 1024,
    H2_LINK_HELD_BYTES_MAX = 2 * 1024 * 1024,
    H2_LINK_HEAD_BYTES_MAX = 64 * 1024, /* of a response, or of its trailers */
    H2_LINK_QUIET_MS = 20 * 1000,
    H2_LINK_PING_MS = 5 * 1000,
};

struct h2_link;
struct h2_courier;
struct h2_worker;

/* One of the endpoint's that takes a further request; NULL: none. `strict`: the request must not be
 * sent twice, so the connection is looked at first. */
struct h2_link *h2_link_take(struct endpoint *endpoint, bool secure, bool strict);
/* A new one; the connect goes on by itself. 0 or -errno. `tls` NULL: plain. */
int h2_link_connect(struct worker *worker, struct endpoint *endpoint, struct tls_client *tls,
                    uint32_t connect_ms, uint32_t idle_ms, struct h2_link **ret_link);
bool h2_link_secure(const struct h2_link *link);
/* Does the endpoint take CONNECT with a :protocol (RFC 8441)? It has said so in its SETTINGS. */
bool h2_link_connects(const struct h2_link *link);

/* NULL: no memory. */
struct courier *h2_courier_begin(struct h2_link *link, const struct courier_calls *calls,
                                 void *owner, enum http_method method,
                                 const struct courier_times *times);
/* Sends the head with the first bytes of the body. Of those so many were taken, or -errno. */
ssize_t h2_courier_request(struct courier *courier, const nghttp2_nv *fields, size_t count,
                           const struct courier_piece *piece);

/* ---- for the worker ---- */

int h2_links_init(struct h2_worker *h2);
void h2_links_done(struct h2_worker *h2);
void h2_couriers_free(struct h2_worker *h2); /* those that are kept to be used again */
