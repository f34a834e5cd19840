/* HTTP/1.1 to endpoints, and what protocols whose connections are h1_clients have in common with
 * it: for proxy_h1.c and proxy_cgi.c. */
#pragma once

#include "gateway/http/h1_client.h"
#include "gateway/http/h1_text.h"
#include "gateway/http/proxy.h"

/* A connection, kept or new, begun: proxy->courier is its own. 0 or -errno. */
int proxy_connection_begin(struct proxy *proxy, bool chunked);
/* Sends a head with the first bytes of the body: as proxy_protocol.request. */
ssize_t proxy_head_send(struct proxy *proxy, const struct text *text,
                        const struct courier_piece *piece);
