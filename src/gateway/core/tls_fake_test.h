/* A TLS that is none, for tests of streams: each byte is turned over (^ 0x20), a handshake is one
 * byte `H` each way, an end is one byte `E`. It waits for the other direction as real TLS does. */
#pragma once

#include <stdbool.h>

/* Definitions, so included by one file of a test program only. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "tls/session.h"

struct tls_session {
    int fd;
    bool client;
    bool said; /* its own H */
    bool done; /* the other's H */
};

static struct tls_session *fake_new(int fd, bool client)
{
    struct tls_session *session = calloc(1, sizeof *session);
    *session = (struct tls_session){.fd = fd, .client = client};
    return session;
}

struct tls_session *tls_session_accept(struct tls_server *server, int fd)
{
    (void)server;
    return fake_new(fd, false);
}

struct tls_session *tls_session_connect(struct tls_client *client, int fd, const char *name)
{
    (void)client;
    (void)name;
    return fake_new(fd, true);
}

void tls_session_free(struct tls_session *session)
{
    free(session);
}

static int fake_say(struct tls_session *session, bool *ret_wants_write)
{
    *ret_wants_write = true;
    if (!session->said && send(session->fd, "H", 1, MSG_NOSIGNAL) != 1)
        return -errno;
    session->said = true;
    return 0;
}

static int fake_hear(struct tls_session *session, bool *ret_wants_write)
{
    char byte;
    *ret_wants_write = false;
    if (session->done)
        return 0;
    ssize_t count = recv(session->fd, &byte, 1, 0);
    if (count < 0)
        return -errno;
    if (count == 0 || byte != 'H')
        return count ? -EPROTO : -ECONNRESET;
    session->done = true;
    return 0;
}

static int fake_handshake(struct tls_session *session, bool *ret_wants_write)
{
    int error = session->client ? fake_say(session, ret_wants_write) : 0;
    if (!error)
        error = fake_hear(session, ret_wants_write);
    if (!error)
        error = fake_say(session, ret_wants_write);
    return error;
}

ssize_t tls_session_read(struct tls_session *session, void *bytes, size_t size,
                         bool *ret_wants_write)
{
    int error = fake_handshake(session, ret_wants_write);
    if (error)
        return error;
    *ret_wants_write = false;
    char *out = bytes;
    ssize_t count = recv(session->fd, out, size > 1000 ? 1000 : size, 0);
    if (count <= 0)
        return count ? -errno : -ECONNRESET;
    if (out[count - 1] == 'E')
        count--; /* the fake's data are even when turned over: no `E` among them */
    for (ssize_t i = 0; i < count; i++)
        out[i] ^= 0x20;
    return count;
}

ssize_t tls_session_write(struct tls_session *session, const void *bytes, size_t length,
                          bool *ret_wants_write)
{
    int error = fake_handshake(session, ret_wants_write);
    if (error)
        return error;
    *ret_wants_write = true;
    char turned[1000];
    if (length > sizeof turned)
        length = sizeof turned;
    for (size_t i = 0; i < length; i++)
        turned[i] = ((const char *)bytes)[i] ^ 0x20;
    ssize_t count = send(session->fd, turned, length, MSG_NOSIGNAL);
    return count < 0 ? -errno : count;
}

bool tls_session_drained(const struct tls_session *session)
{
    (void)session;
    return false;
}

size_t tls_session_pending(const struct tls_session *session)
{
    (void)session;
    return 0;
}

int tls_session_shutdown(struct tls_session *session)
{
    return send(session->fd, "E", 1, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

bool tls_session_done(const struct tls_session *session)
{
    return session->done;
}

const char *tls_session_why(const struct tls_session *session)
{
    (void)session;
    return "fake";
}

const char *tls_client_name(const struct tls_client *client)
{
    (void)client;
    return NULL;
}
