/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* See kernel/listeners.h. Runs for each recv, of whatever socket, so it looks at the rarest first.
 */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "kernel/bpf/kernel_types.h"

enum { /* of the kernel's headers, which clash with those here */
       FAMILY_INET = 2,
       FAMILY_INET6 = 10,
       PROTOCOL_TCP = 6,
       FLAG_ERRQUEUE = 0x2000,
       ERROR_NOTCONN = 107,
};

/* What tcp_recvmsg would say. 0: the kernel goes on. */
SEC("fmod_ret/security_socket_recvmsg") int listeners_recvmsg(unsigned long long *arguments)
{
    const struct socket *socket = (const struct socket *)arguments[0];
    const struct sock *sock = socket->sk;
    if (sock->__sk_common.skc_state != BPF_TCP_LISTEN)
        return 0;
    __u16 family = sock->__sk_common.skc_family;
    if ((family != FAMILY_INET && family != FAMILY_INET6) || sock->sk_protocol != PROTOCOL_TCP)
        return 0;
    return (int)arguments[3] & FLAG_ERRQUEUE ? 0 : -ERROR_NOTCONN;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
