/* The transport below a session: OpenSSL's BIO on a socket of ours, which remembers whether its
 * last receive took all there was, so that nobody asks the kernel again to hear EAGAIN. Private to
 * tls/.
 */
#pragma once

#include <openssl/bio.h>
#include <stdbool.h>

struct transport { /* part of its session, which outlives the BIO */
    int fd;
    bool drained; /* the last receive took all there was */
    bool ended;   /* the other side sends no more */
};

/* NULL: no memory. */
BIO *transport_new(struct transport *transport, int fd);
