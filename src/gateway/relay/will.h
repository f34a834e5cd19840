/* What a relayed UDP session leaves to the gateway that takes over (an upgrade of enginx): one
 * packet of a Unix SOCK_SEQPACKET socket, with the session's own socket to its endpoint, so that
 * the endpoint goes on seeing the same client. Both ends are enginx, maybe of two versions: a
 * packet of another format or size is refused. */
#pragma once

#include "gateway/core/worker.h"
#include "gateway/relay/datagrams.h"
#include "gateway/relay/keyed.h"

enum { WILL_FORMAT = 1, WILL_TEXT_BYTES = 160 };

struct will { /* zeroed before it is filled: it goes over the wire as it lies here */
    uint32_t format;
    uint32_t slot; /* of the instance; BOARD_NONE: `endpoint` names a remote one */
    uint32_t epoch;
    bool answered;
    struct key key;
    union client_address peer;
    struct asked asked;
    char listener[WILL_TEXT_BYTES]; /* its text, ended by 0 */
    char endpoint[WILL_TEXT_BYTES]; /* its name, ended by 0 */
};

/* 0 or -errno: -EAGAIN: the other end is behind. The descriptor stays the caller's. */
int will_send(int socket, const struct will *will, int fd);
/* 0 with a descriptor that is the caller's; -EAGAIN: none there; -EPIPE: that was all; -EPROTO. */
int will_receive(int socket, struct will *ret_will, int *ret_fd);
