/* A batch of datagrams: received many at a time, and sent many at a time. With GRO (the socket
 * option UDP_GRO) one entry may hold several datagrams of one size, which are sent as they came
 * (GSO). One per worker and direction; what it holds is of the turn. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "gateway/core/worker.h"

enum {
    DATAGRAMS_MAX = 32,          /* entries of a batch */
    DATAGRAM_BYTES = 64 * 1024,  /* room of an entry; pages that are not touched cost nothing */
    DATAGRAM_CONTROL_BYTES = 64, /* CMSG_SPACE of in6_pktinfo and of UDP_SEGMENT */
};

struct asked { /* the address of ours that a datagram came to, for the answer to leave from */
    sa_family_t family; /* AF_UNSPEC: not known, or the socket has one only */
    struct in_addr four;
    struct in6_addr six;
    uint32_t interface; /* of a link-local address; else 0 */
};

struct datagram {
    char *bytes;
    size_t length;
    uint16_t segment; /* 0: one datagram; else several of this size, the last may be shorter */
    union client_address peer; /* whom it came from, or goes to */
    struct asked asked;
};

struct datagrams {
    struct datagram entries[DATAGRAMS_MAX];
    struct mmsghdr headers[DATAGRAMS_MAX];
    struct iovec parts[DATAGRAMS_MAX];
    char control[DATAGRAMS_MAX][DATAGRAM_CONTROL_BYTES] __attribute__((aligned(8)));
    char *room; /* DATAGRAMS_MAX × DATAGRAM_BYTES */
};

struct datagrams *datagrams_new(void); /* NULL: no memory */
void datagrams_free(struct datagrams *datagrams);

/* Asks the kernel for GRO, and for `asked` of a socket that is bound to no address. */
void datagrams_prepare(int fd, bool listening);

/* Receives into entries [first, first + max). How many; 0: none there; -errno: an error that the
 * socket had (-ECONNREFUSED …). Fewer than `max`: there were no more. `addressed`:
 * `peer` is wanted; else the socket is connected. */
int datagrams_receive(struct datagrams *datagrams, int fd, unsigned first, unsigned max,
                      bool addressed);
/* Sends the entries that `order` names, in that order. `addressed`: to their peers, from where they
 * asked; else the socket is connected. What the socket has no room for is dropped, as datagrams
 * are. 0, or the first error of the socket; then what stands behind *ret_sent was not tried. */
int datagrams_send(struct datagrams *datagrams, int fd, const uint8_t *order, unsigned count,
                   bool addressed, unsigned *ret_sent);
