/* Keys of session tickets (RFC 5077, RFC 8446 §4.6.1) in shared memory: the first one seals, all
 * open. Read by every handshake under a sequence number, written by the main thread twice a day.
 * The functions for other folders stand in server.h; this is private to tls/. */
#pragma once

#include <openssl/ssl.h>

#include "tls/server.h"

/* Lets the context's tickets be sealed with these keys; they must outlive it. */
void tickets_use(struct tls_tickets *tickets, SSL_CTX *context);
