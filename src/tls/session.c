#include "tls/session.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

#include "tls/context.h"
#include "tls/problem.h"
#include "tls/transport.h"

enum { WHY_BYTES = 160, PEER_BYTES = 256 };

struct tls_session {
    SSL *ssl;
    struct transport transport;
    bool failed; /* nothing more can be done with it, not even a close_notify */
    char *why;   /* of the failure; NULL: none yet */
    char *peer;  /* NULL: not asked for yet */
};

static struct tls_session *session_new(SSL *ssl, int fd)
{
    struct tls_session *session = ssl ? calloc(1, sizeof *session) : NULL;
    BIO *bio = session ? transport_new(&session->transport, fd) : NULL;
    if (!bio) {
        SSL_free(ssl);
        free(session);
        ERR_clear_error();
        return NULL;
    }
    SSL_set_bio(ssl, bio, bio); /* both ways: one reference is enough */
    session->ssl = ssl;
    return session;
}

struct tls_session *tls_session_accept(struct tls_server *server, int fd)
{
    struct tls_session *session = session_new(context_accept(server), fd);
    if (session)
        SSL_set_accept_state(session->ssl);
    return session;
}

struct tls_session *tls_session_connect(struct tls_client *client, int fd, const char *name)
{
    struct tls_session *session = session_new(context_connect(client, name), fd);
    if (session)
        SSL_set_connect_state(session->ssl);
    return session;
}

void tls_session_free(struct tls_session *session)
{
    if (!session)
        return;
    /* OpenSSL takes a connection that ends without a close_notify for an attack, and would not
     * resume its session. */
    if (!session->failed && SSL_is_init_finished(session->ssl))
        SSL_set_shutdown(session->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(session->ssl);
    free(session->why);
    free(session->peer);
    free(session);
}

/* ---- bytes -------------------------------------------------------------------------------------
 */

static void why_learn(struct tls_session *session)
{
    char why[WHY_BYTES];
    long verdict = SSL_get_verify_result(session->ssl);
    problem_take(why, sizeof why);
    if (!session->why && verdict != X509_V_OK)
        session->why = strdup(X509_verify_cert_error_string(verdict));
    else if (!session->why)
        session->why = strdup(why);
}

/* What a call that did not succeed means. */
static ssize_t outcome(struct tls_session *session, int result, int saved_errno,
                       bool *ret_wants_write)
{
    int kind = SSL_get_error(session->ssl, result);
    switch (kind) {
    case SSL_ERROR_WANT_READ:
        *ret_wants_write = false;
        return -EAGAIN;
    case SSL_ERROR_WANT_WRITE:
        *ret_wants_write = true;
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        session->failed = true;
        ERR_clear_error();
        return saved_errno ? -saved_errno : -ECONNRESET;
    default:
        break;
    }
    session->failed = true;
    /* FIN without close_notify. */
    if (ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
        ERR_clear_error();
        return -ECONNRESET;
    }
    why_learn(session);
    return -EPROTO;
}

ssize_t tls_session_read(struct tls_session *session, void *bytes, size_t size,
                         bool *ret_wants_write)
{
    if (session->failed)
        return session->why ? -EPROTO : -ECONNRESET;
    size_t total = 0;
    *ret_wants_write = false;
    session->transport.drained = false; /* as of an earlier read: something may have come since */
    while (total < size) {              /* a record at a time, at most 16 KiB */
        size_t room = size - total < INT_MAX ? size - total : INT_MAX;
        errno = 0;
        int count = SSL_read(session->ssl, (char *)bytes + total, (int)room);
        if (count > 0) {
            total += (size_t)count;
            if (tls_session_drained(session))
                break;
            continue;
        }
        int saved_errno = errno;
        ssize_t result = outcome(session, count, saved_errno, ret_wants_write);
        /* An end or a failure is told by the next call, after what came before it. */
        return total ? (ssize_t)total : result;
    }
    return (ssize_t)total;
}

ssize_t tls_session_write(struct tls_session *session, const void *bytes, size_t length,
                          bool *ret_wants_write)
{
    if (session->failed)
        return session->why ? -EPROTO : -EPIPE;
    size_t total = 0;
    *ret_wants_write = true;
    while (total < length) {
        size_t rest = length - total < INT_MAX ? length - total : INT_MAX;
        errno = 0;
        int count = SSL_write(session->ssl, (const char *)bytes + total, (int)rest);
        if (count > 0) {
            total += (size_t)count;
            continue;
        }
        int saved_errno = errno;
        ssize_t result = outcome(session, count, saved_errno, ret_wants_write);
        if (result == 0)
            result = -EPIPE;
        return total ? (ssize_t)total : result;
    }
    return (ssize_t)total;
}

bool tls_session_drained(const struct tls_session *session)
{
    return session->transport.drained && !SSL_has_pending(session->ssl);
}

size_t tls_session_pending(const struct tls_session *session)
{
    return SSL_has_pending(session->ssl) ? (size_t)SSL_pending(session->ssl) + 1 : 0;
}

int tls_session_shutdown(struct tls_session *session)
{
    if (session->failed || !SSL_is_init_finished(session->ssl))
        return 0;
    bool wants_write;
    errno = 0;
    int result = SSL_shutdown(session->ssl);
    if (result >= 0)
        return 0; /* ours is out; theirs is read like any other byte */
    return (int)outcome(session, result, errno, &wants_write);
}

/* ---- what is known -----------------------------------------------------------------------------
 */

bool tls_session_done(const struct tls_session *session)
{
    return SSL_is_init_finished(session->ssl);
}

bool tls_session_resumed(const struct tls_session *session)
{
    return SSL_session_reused(session->ssl) == 1;
}

const char *tls_session_why(const struct tls_session *session)
{
    return session->why ? session->why : "the connection broke";
}

const char *tls_session_version(const struct tls_session *session)
{
    return SSL_get_version(session->ssl);
}

const char *tls_session_sni(const struct tls_session *session)
{
    return SSL_get_servername(session->ssl, TLSEXT_NAMETYPE_host_name);
}

const char *tls_session_alpn(const struct tls_session *session, size_t *ret_length)
{
    const unsigned char *name = NULL;
    unsigned length = 0;
    SSL_get0_alpn_selected(session->ssl, &name, &length);
    *ret_length = length;
    return (const char *)name;
}

const char *tls_session_peer(const struct tls_session *session)
{
    struct tls_session *changed = (struct tls_session *)(uintptr_t)session;
    if (session->peer)
        return session->peer;
    X509 *certificate = SSL_get0_peer_certificate(session->ssl);
    char text[PEER_BYTES];
    if (!certificate || !X509_NAME_oneline(X509_get_subject_name(certificate), text, sizeof text))
        return NULL;
    changed->peer = strdup(text);
    return changed->peer;
}
