/* Who asks, behind proxies that the site trusts: the peer of the connection, or, when that is one
 * of the site's `trust`, what the last proxies on the way wrote into X-Forwarded-For and
 * X-Forwarded-Proto. Nobody else is believed. */
#pragma once

#include "gateway/http/exchange.h"

enum { REQUESTER_BYTES = 46, REQUESTER_PROXIES_MAX = 32 };

/* The address as text, "unix" for a Unix socket; in `out`. Of X-Forwarded-For the last address that
 * is none of a trusted proxy (the first one, if all are). The length. */
size_t requester_address(const struct exchange *exchange, char out[REQUESTER_BYTES]);
/* The same as an address; AF_UNSPEC: of a Unix socket. */
void requester_client(const struct exchange *exchange, union client_address *ret_address);
/* "http" or "https". */
struct slice requester_scheme(const struct exchange *exchange);
