/* Clients that are banned for a while (`flood … ban=`): shared memory that the gateways write and
 * read, and the supervisor shows and lifts bans in, so that they outlive each of them. All threads
 * of all processes; only who bans takes a lock, its process' own.
 *
 * A client is an IPv4 address, or the /64 of an IPv6 one. Whoever sends a datagram may say that it
 * is somebody else, so a ban for sessions of datagrams holds for those alone. Of fixed size: when a
 * set of places is full, the ban that ends first makes room. While nobody is banned a look costs
 * one load of a line that nobody writes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    BAN_WAYS = 8,
    BAN_SETS = 8192, /* 65,536 bans in 2 MiB, touched as they are needed */
    BAN_TEXT_BYTES = 56,
};

enum ban_why {
    BAN_CONNECTIONS,
    BAN_REQUESTS,
    BAN_CONCURRENT,
    BAN_SESSIONS, /* of datagrams: it may have been somebody else */
    BAN_WHYS
};

enum ban_use { BAN_USE_STREAMS, BAN_USE_DATAGRAMS, BAN_USES };

struct ban {
    uint64_t client;
    uint64_t until_ms; /* CLOCK_MONOTONIC */
    enum ban_why why;
};

struct bans;

/* A new segment; *ret_fd is the caller's. 0 or -errno. */
int bans_new(struct bans **ret_bans, int *ret_fd);
int bans_open(int fd, struct bans **ret_bans);
void bans_close(struct bans *bans); /* accepts NULL */

/* Whom a ban of this address is of; 0: it can have none (no IP). */
uint64_t ban_client(const struct sockaddr *address);
/* "192.0.2.1", "2001:db8::/64", and back: also of an address within. 0: it is none. */
const char *ban_client_text(uint64_t client, char text[BAN_TEXT_BYTES]);
uint64_t ban_client_parse(const char *text);
/* "connections", "requests", "concurrent connections", "sessions". */
const char *ban_why_text(enum ban_why why);

/* For how long it is banned yet; 0: it is not. */
uint64_t bans_left_ms(const struct bans *bans, uint64_t client, enum ban_use use, uint64_t now_ms);
/* False: it was banned already from what it uses, and is until then. */
bool bans_add(struct bans *bans, const struct ban *ban, uint64_t now_ms);
/* From all uses. False: it was not banned. */
bool bans_lift(struct bans *bans, uint64_t client, uint64_t now_ms);
/* How many there are. Up to `max` of them are written to `list`, which may be NULL. */
size_t bans_list(const struct bans *bans, struct ban *list, size_t max, uint64_t now_ms);
/* That were ever made. */
uint64_t bans_made(const struct bans *bans);
