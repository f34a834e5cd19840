/* A member of an SO_REUSEPORT group that nobody gets an answer from. A choosing program (classic
 * BPF) cannot refuse a packet, and some kernels let only privileged users attach a filter to a TCP
 * socket (seen on 6.18: EPERM); so packets that may not come in are given to this listener, whose
 * queue is full for ever: the kernel drops every SYN (tcp_conn_request, sk_acceptq_is_full). */
#pragma once

#include "steering/share.h"

/* A listener at the address, full; it becomes the next member of the group there, which should have
 * no other yet: it fills itself by connecting to the address. The descriptor, or -errno (-EBUSY:
 * could not be filled). */
int sink_open(const struct share_address *bound);
/* Must sinks be used? (TCP filters are refused.) */
bool sink_needed(void);
