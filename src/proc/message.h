/* The messages between enginx's processes: one table (message.c) says for each its name, who may
 * send it, who may receive it, and what it carries. A message is one packet of a Unix
 * SOCK_SEQPACKET socket (unix(7)): a fixed head, a name, bytes, and at most one descriptor
 * (SCM_RIGHTS).
 *
 * What breaks the table (an unknown kind, a wrong sender, a missing or superfluous part) is
 * -EPROTO: the receiver gives up on whoever sent it, and never guesses. The sender's side asserts
 * instead, since breaking the table there is a programmer's error. Nothing here blocks or
 * allocates. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum message_party { /* a set of bits, so that a table row can allow several */
                     PARTY_SUPERVISOR = 1,
                     PARTY_KEEPER = 2,
                     PARTY_LOGGER = 4,
                     PARTY_GATEWAY = 8,
};

enum message_kind { /* the numbers go over the wire to a keeper of an older version: append only */
                    MESSAGE_HELLO = 1, /* supervisor → keeper: I am the supervisor from now on;
                                          number: MESSAGE_VERSION */
                    MESSAGE_FOUND,     /* keeper → supervisor: I hold this; name, descriptor */
                    MESSAGE_FOUND_ALL, /* keeper → supervisor: that was all; number: how many */
                    MESSAGE_PUT,       /* supervisor → keeper: hold this; name, descriptor */
                    MESSAGE_DROP,      /* supervisor → keeper: close that; name */
                    MESSAGE_REFUSED,  /* keeper → supervisor: not held; name, number: the errno */
                    MESSAGE_REPLACED, /* keeper → supervisor: another supervisor has come */
                    MESSAGE_END,      /* supervisor → keeper: exit */
                    MESSAGE_CHUNK,    /* supervisor, keeper, gateway → logger: name: the source,
                                         bytes: its output */
                    MESSAGE_LOST, /* supervisor, keeper, gateway → logger: name: the source, number:
                                     bytes that are missing */
                    /* supervisor → gateway; what they are for: gateway/gateway.h */
                    MESSAGE_BOARD,      /* descriptor */
                    MESSAGE_BELL,       /* descriptor */
                    MESSAGE_TALLY,      /* descriptor */
                    MESSAGE_TICKETS,    /* descriptor */
                    MESSAGE_JOURNAL,    /* descriptor: the logger's socket */
                    MESSAGE_LISTENER,   /* name, descriptor; number: of the worker, for UDP */
                    MESSAGE_UNLISTEN,   /* name */
                    MESSAGE_GENERATION, /* number, descriptor: a bundle */
                    MESSAGE_COMMIT,     /* number: of a generation */
                    MESSAGE_ABANDON,    /* number */
                    MESSAGE_DRAIN,
                    /* gateway → supervisor */
                    MESSAGE_PREPARED,  /* number */
                    MESSAGE_REJECTED,  /* number; bytes: why */
                    MESSAGE_COMMITTED, /* number */
                    MESSAGE_WELL,      /* number: slot << 32 | epoch */
                    MESSAGE_ILL,       /* the same; bytes: why */
                    MESSAGE_DIRECTORY, /* supervisor → gateway: a folder of files of the next
                                          generation; number: its place there; descriptor */
                    /* gateway → supervisor: what a role check found */
                    MESSAGE_IS,         /* number: slot << 32 | epoch; bytes: "primary 7" */
                    MESSAGE_IS_UNKNOWN, /* the same; bytes: why */
                    MESSAGE_ELDER, /* supervisor → gateway; descriptor, number: of a thread */
                    MESSAGE_HEIR,  /* the same */
                    MESSAGE_CACHE, /* supervisor → gateway: a cache's file, of the next generation;
                                      number: its place there; descriptor */
                    MESSAGE_PURGE, /* supervisor → gateway; name: of a cache, `*`: all; bytes: what
                                      (gateway/caches.h) */
                    MESSAGE_PURGED,  /* gateway → supervisor: that was done; number: of answers */
                    MESSAGE_WAKE,    /* supervisor → gateway; descriptor: an eventfd */
                    MESSAGE_BREAKER, /* gateway → supervisor; name: of a service, number: what its
                                        breaker is now (upstream/breaker.h); bytes: why */
                    MESSAGE_BANS,    /* supervisor → gateway; descriptor */
                    MESSAGE_BANNED,  /* gateway → supervisor; name: a client, number: for so many
                                        seconds, and above 32 bits how many others were banned
                                        before without a message; bytes: why */
                    MESSAGE_EVENT,   /* gateway → supervisor; name: of an event, number: enum
                                        log_level, bytes: "key=value …" (proc/report.h) */
                    MESSAGE_KINDS,
};

enum {
    MESSAGE_VERSION = 1,
    MESSAGE_NAME_BYTES = 200,      /* with the closing 0 */
    MESSAGE_BYTES_MAX = 32 * 1024, /* of the free part */
    MESSAGE_PACKET_BYTES_MAX = 16 + MESSAGE_NAME_BYTES + MESSAGE_BYTES_MAX,
};

struct message {
    enum message_kind kind;
    char name[MESSAGE_NAME_BYTES]; /* "" when the kind has none */
    uint64_t number;
    const char *bytes; /* received: points into the receiver's packet buffer */
    size_t length;
    int fd; /* -1: none. Sent: stays the caller's. Received: the caller's. */
};

const char *message_name(enum message_kind kind);

/* A message of this kind with this name ("": none), no descriptor and no bytes. -ENAMETOOLONG. */
int message_init(struct message *message, enum message_kind kind, const char *name);

/* 0 or -errno: -EAGAIN: the receiver is behind; -ETOOMANYREFS: too many descriptors of this user
 * are on their way (unix(7)); -EPIPE: it is gone. */
int message_send(int socket, enum message_party sender, const struct message *message);

/* Receives one; `senders`: who may be at the other end. `packet` has room for `size` bytes
 * (MESSAGE_PACKET_BYTES_MAX is enough for all). 0; -EAGAIN: none there; -EPIPE: the other end is
 * closed; -EPROTO: it broke the table. A message whose descriptor the kernel could not install
 * (this process is at its limit) comes with fd -1. */
int message_receive(int socket, unsigned senders, enum message_party receiver, char *packet,
                    size_t size, struct message *ret_message);
