/* Questions to DNS servers, by c-ares, on a loop, without blocking. The servers and the search list
 * are read from /etc/resolv.conf (resolv.conf(5)) when it is made; later no file is opened, only
 * sockets (UDP, and TCP for long answers). */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "event/loop.h"

enum { DNS_ADDRESSES_MAX = 16 };

struct dns;

struct dns_answer {
    const char *why; /* of a failure, in words; NULL: it is good */
    /* IPv4 before IPv6, each in the order of their bytes, ports 0; at least one of a good one. */
    struct sockaddr_storage addresses[DNS_ADDRESSES_MAX];
    size_t count;
    uint32_t ttl_s; /* the smallest */
};

/* May be called from within dns_ask, and from dns_free. */
typedef void dns_call(void *owner, const struct dns_answer *answer);

/* NULL with errno. */
struct dns *dns_new(struct loop *loop);
/* Those who asked are told of a failure. */
void dns_free(struct dns *dns);
/* Other servers, "127.0.0.1:5353,[::1]:53". 0 or -EINVAL. */
int dns_servers_set(struct dns *dns, const char *servers);
/* A and AAAA records of the host, aliases followed. */
void dns_ask(struct dns *dns, const char *host, dns_call *call, void *owner);
