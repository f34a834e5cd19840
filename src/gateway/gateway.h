/* The gateway: the process that takes all network input — relays, HTTP, health checks, metrics —
 * unprivileged, in a sandbox (landlock, seccomp, no new privileges, the nobody user when started as
 * root), with a worker thread per core (worker.h). Listening sockets come from the supervisor,
 * which keeps them: when this process dies, connections wait in their queues for the next.
 *
 * It knows its configuration from a bundle (conf/bundle.h) and its instances from the board
 * (upstream/board.h). Messages (proc/message.h) on ROLE_FD:
 *
 *   board, bell, wake, tickets, logger       descriptors, once, at the start
 *   tally L                                  the same; L: the lane of it that is this process'
 *   listener NAME                            a listening socket (UDP: one for each worker)
 *   generation N (bundle)   → prepared N | rejected N (why)
 *   commit N                → committed N    when the last worker uses it
 *   abandon N                                the prepared one is not wanted
 *   unlisten NAME                            close it (after the commit that has it no more)
 *   elder N                                  a socket for thread N: sessions of the gateway that it
 *                                            takes over from come there (relay/will.h); first
 *   heir N                                   a socket for thread N: where its sessions go; before:
 *   drain                                    (or SIGQUIT) takes no more connections, and ends when
 *                                            the last of those that there are has ended
 *                           ← health well|ill (slot, epoch, why)
 */
#pragma once

/* --role gateway */
int gateway_main(int argc, char **argv);
