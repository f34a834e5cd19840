/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The kernel's own types that the programs look into, cut down to the fields that they use. Offsets
 * are fixed up when the programs are loaded (CO-RE), so one build serves all kernels. */
#pragma once

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
    unsigned long long id;
};
struct cgroup;
struct cgroup_subsys_state {
    struct cgroup *cgroup;
    struct cgroup_subsys_state *parent;
};
struct cgroup {
    struct cgroup_subsys_state self;
    struct kernfs_node *kn;
};
struct sock_cgroup_data {
    struct cgroup *cgroup;
};
struct list_head {
    struct list_head *next;
};
struct wait_queue_head {
    struct list_head head;
};
struct socket_wq {
    struct wait_queue_head wait;
};
struct sock_common {
    unsigned short skc_family;
    volatile unsigned char skc_state;
    unsigned char skc_ipv6only : 1;
};
struct sock {
    struct sock_common __sk_common;
    struct sock_cgroup_data sk_cgrp_data;
    struct socket_wq *sk_wq;
    unsigned short sk_protocol;
    unsigned char sk_shutdown;
};
struct socket {
    struct sock *sk;
};
struct inet_sock {
    struct sock sk;
};
struct inet_connection_sock {
    struct inet_sock icsk_inet;
};
struct tcp_sock {
    struct inet_connection_sock inet_conn;
};
struct tcp6_sock {
    struct tcp_sock tcp;
};
struct udp_sock {
    struct inet_sock inet;
};
struct udp6_sock {
    struct udp_sock udp;
};
struct seq_file;
struct bpf_iter_meta {
    struct seq_file *seq;
};

#pragma clang attribute pop
