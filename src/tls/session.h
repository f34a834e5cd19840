/* A TLS session on a connected, non-blocking socket. The handshake goes on inside of reads and
 * writes; data is never returned before it is complete (and the peer verified). One thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "tls/client.h"
#include "tls/server.h"

struct tls_session;

/* NULL: no memory. The descriptor stays the caller's. */
struct tls_session *tls_session_accept(struct tls_server *server, int fd);
/* `name`: SNI and the name verified; NULL or an address: no SNI. */
struct tls_session *tls_session_connect(struct tls_client *client, int fd, const char *name);
void tls_session_free(struct tls_session *session);

/* As stream_read and stream_write: bytes; 0: the end (close_notify); -EAGAIN with *ret_wants_write
 * telling which direction it waits for; -EPROTO: handshake or record failed (tls_session_why);
 * -errno. A truncated end (FIN without close_notify) is -ECONNRESET for BODY_CLOSE's sake. */
ssize_t tls_session_read(struct tls_session *session, void *bytes, size_t size,
                         bool *ret_wants_write);
ssize_t tls_session_write(struct tls_session *session, const void *bytes, size_t length,
                          bool *ret_wants_write);
/* Everything that had come when the socket was last read is read: what comes later is news. */
bool tls_session_drained(const struct tls_session *session);
/* Bytes decrypted and not read yet: epoll will not tell of them. */
size_t tls_session_pending(const struct tls_session *session);
/* close_notify; 0, -EAGAIN, -errno. */
int tls_session_shutdown(struct tls_session *session);

bool tls_session_done(const struct tls_session *session);           /* the handshake is over */
bool tls_session_resumed(const struct tls_session *session);        /* without a whole handshake */
const char *tls_session_why(const struct tls_session *session);     /* of -EPROTO, in words */
const char *tls_session_version(const struct tls_session *session); /* "TLSv1.3" */
const char *tls_session_sni(const struct tls_session *session);     /* NULL: none */
/* The protocol agreed by ALPN, not ended by 0; length 0: none. */
const char *tls_session_alpn(const struct tls_session *session, size_t *ret_length);
/* The client certificate's subject, or NULL. */
const char *tls_session_peer(const struct tls_session *session);
