/* TLS for listeners, with OpenSSL 3: certificates chosen by SNI (exact, then wildcard, then the
 * first), TLS 1.2 and 1.3, sane ciphers, client certificates, ALPN, session tickets whose keys are
 * shared by all threads and generations and rotated. Immutable once made; any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "topology/site.h"

struct tls_server;
struct tls_tickets; /* keys; one per gateway; lives over reloads and, kept by the supervisor,
                       crashes */

/* Reads a file of the configuration: bytes that stay valid, followed by a 0; NULL: not there. */
typedef const char *tls_read(void *owner, const char *path, size_t *ret_length);

/* 0 or -errno; `why` in words (which file, what is wrong: not PEM, key does not belong, expired is
 * only warned about in `warning`). `alpn`: protocols offered, in wire form ("\x08http/1.1"); NULL:
 * none. */
int tls_server_new(const struct listener_tls *settings, const char *alpn, tls_read *read,
                   void *owner, struct tls_tickets *tickets, struct tls_server **ret_server,
                   char *why, size_t why_size);
void tls_server_free(struct tls_server *server);

enum { TLS_TICKET_KEY_BYTES = 80, TLS_TICKET_KEYS = 3, TLS_TICKET_ROTATE_MS = 12 * 3600 * 1000 };
/* Keys in the shared memory `fd` (a memfd of TLS_TICKETS_BYTES; not taken over; -1: memory of its
 * own), so that a new gateway process resumes what the old one began; made when it has none yet.
 * NULL with errno. */
enum { TLS_TICKETS_BYTES = 4096 };
struct tls_tickets *tls_tickets_new(int fd);
void tls_tickets_free(struct tls_tickets *tickets);
/* New first key; the others move back. By the main thread, every TLS_TICKET_ROTATE_MS. */
int tls_tickets_rotate(struct tls_tickets *tickets);
