/* HTTP/1.1, or FastCGI, to an endpoint: a connection that carries one request after the other, for
 * one owner (the proxy handler) at a time, and waits in the endpoint's pool in between.
 *
 *   h1_client_take / _connect ─▶ _begin ─▶ _send (head) ─▶ … ─▶ _done / _close
 *
 * From _begin on it is a courier (courier.h). One worker. */
#pragma once

#include "gateway/core/worker.h"
#include "gateway/http/courier.h"
#include "gateway/http/h1_output.h"
#include "gateway/http/h1_parse.h"

struct h1_client;

/* One that waits in the endpoint's pool; NULL: none. */
struct h1_client *h1_client_take(struct endpoint *endpoint);
/* One that another worker had no need of, plain; NULL: none. */
struct h1_client *h1_client_adopt(struct worker *worker, struct endpoint *endpoint);
/* A new one; the connect goes on by itself. 0 or -errno. `tls` NULL: plain. */
int h1_client_connect(struct worker *worker, struct endpoint *endpoint, struct tls_client *tls,
                      uint32_t connect_ms, struct h1_client **ret_client);
/* Is it still there? Asks the socket: for a request that must not be sent twice. */
bool h1_client_alive(struct h1_client *client);
bool h1_client_secure(const struct h1_client *client); /* it speaks TLS */
/* Never to be pooled: its PROXY header names one client. */
void h1_client_private(struct h1_client *client);
void h1_client_begin(struct h1_client *client, const struct courier_calls *calls, void *owner,
                     enum http_method method, bool chunked, const struct courier_times *times);
struct courier *h1_client_courier(struct h1_client *client);
/* After begin: the endpoint speaks FastCGI. The head that is sent is that of a request up to the
 * end of PARAMS; its body goes in records (it must be `chunked`), what comes back is taken out of
 * them, and what the program writes to its standard error is logged. Such a connection carries
 * another request when `keeps`. */
void h1_client_fastcgi(struct h1_client *client, bool keeps);
/* After begin: the endpoint speaks uwsgi or SCGI. Head and body are sent as they are; the response
 * is one of CGI or HTTP, and the connection's last. */
void h1_client_cgi(struct h1_client *client);
/* Of a kept one: did it carry FastCGI before? */
bool h1_client_fastcgi_was(const struct h1_client *client);
/* As courier_kind.send. `piece.last`: that is the whole request. */
ssize_t h1_client_send(struct h1_client *client, const struct h1_piece *piece);
/* After begin: where a trailer is to be put (CHUNK_TRAILER_BYTES_MAX). */
void h1_client_trailers_want(struct h1_client *client, char *room);
void h1_client_close(struct h1_client *client);
