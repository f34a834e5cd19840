/* What a listening TCP socket answers to recv. That is ENOTCONN, but in a SOCKHASH, where the
 * direct path needs it, the kernel gives a socket other methods (tcp_bpf_recvmsg), and the answer
 * is EAGAIN, or a blocking recv waits for ever. Programs notice: Python's SSLContext.wrap_socket
 * asks so.
 *
 * One BPF program for the whole machine, at security_socket_recvmsg, gives the right answer for all
 * listening TCP sockets. Needs trampolines (CONFIG_FUNCTION_TRACER with direct calls: x86-64; arm64
 * since 6.4), which some kernels refuse. Sources: Documentation/bpf/map_sockmap.rst,
 * net/ipv4/tcp_bpf.c and tcp.c, kernel/bpf/trampoline.c. */
#pragma once

/* Attaches it, pinned at `path`, unless it is. 0 or -errno. */
int listeners_mend(const char *path);
