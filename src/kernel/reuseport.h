/* Choosing a member of an SO_REUSEPORT group without privileges: a classic BPF program that returns
 * the index (SO_ATTACH_REUSEPORT_CBPF, socket(7)), and a socket filter that lets only this machine's
 * clients in. The program reads the packet's network header, so it can tell addresses apart.
 * Building is pure; attaching is one setsockopt. */
#pragma once

#include <linux/filter.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { REUSEPORT_MEMBERS_MAX = 512, REUSEPORT_INSTRUCTIONS_MAX = BPF_MAXINSNS };

enum reuseport_policy { REUSEPORT_RANDOM, REUSEPORT_CLIENT_HASH };

struct reuseport_member {
    uint32_t index;  /* in the group: the order of joining */
    uint32_t weight; /* 0: draining */
};

struct reuseport_choice { /* what holds for packets to one address */
    uint32_t address; /* IPv4, host order; 0: all others (must come last) */
    enum reuseport_policy policy;
    const struct reuseport_member *members;
    size_t count;
};

/* Writes the program that makes these choices, the first that fits winning. The number of
 * instructions, or -E2BIG, or -EINVAL (a choice without any weight). */
int reuseport_build(const struct reuseport_choice *choices, size_t count,
                    struct sock_filter *ret_program, size_t max);
int reuseport_attach(int fd, const struct sock_filter *program, size_t count);
/* Lets only packets in that arrived by the loopback device. */
int reuseport_only_local(int fd);
