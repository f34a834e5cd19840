/* SPDX-License-Identifier: (BSD-2-Clause OR GPL-2.0-only) */
/* The direct path's programs. Those of the cgroup run for the cluster's processes only, `steer_lookup`
 * for each new connection and each unconnected datagram of the network namespace.
 *
 * A life: bind4/6 lets the socket share its port and notes whose it is → sockops puts the listener
 * into `sockets` (post_bind reports a UDP socket, user space puts it there) → steer_lookup chooses
 * one for each new connection → sockops counts the connection until it ends.
 *
 * Two services whose programs believe in the same port: the first to bind claims it, the sockets of
 * the other are bound to its home address. They must not be in one SO_REUSEPORT group, since what
 * waits in the queue of a closing listener migrates within the group. */
#include "kernel/bpf/steer_bind.h"
#include "kernel/bpf/steer_listen.h"
#include "kernel/bpf/steer_choose.h"
#include "kernel/bpf/steer_outgoing.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
