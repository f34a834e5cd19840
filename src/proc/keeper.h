/* The keeper: a process that holds descriptors over a supervisor's crash, and keeps reading the
 * instances' output meanwhile so that no program blocks on a full pipe. It has no rights, reads no
 * network byte, and knows nothing about what it holds: a name, a descriptor.
 *
 * It waits at STATE/keeper (a Unix socket, SOCK_SEQPACKET, mode 0600). One supervisor at a time is
 * connected; a new connection of the same user, or of root, replaces the old, once it has said who
 * it is in the table's terms (message.h). What was put stays until it is dropped, until the keeper
 * is told to end, or until the keeper dies; the supervisor then starts a new one and puts
 * everything again.
 *
 * What the keeper cannot hold (more than KEEPER_DESCRIPTORS_MAX or than its own limit of
 * descriptors) it refuses, and goes on: `keeper-refused` in the log, and keeper_refused(). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "event/loop.h"

enum { KEEPER_NAME_BYTES = 200, KEEPER_DESCRIPTORS_MAX = 8192 };

struct keeper;

/* Called when the keeper is gone (it died); start another with keeper_start and put again. The old
 * one is freed by keeper_leave, which the callee may call at once. Not called when another
 * supervisor took the keeper over (`keeper-taken-over` in the log): then puts fail with -EPIPE. */
typedef void keeper_lost(void *owner);
/* Called for each descriptor that it still held when we connected; the callee owns fd. */
typedef void keeper_found(void *owner, const char *name, int fd);

/* Connects to the keeper of this state directory if one lives (its descriptors are reported through
 * `found`, before the function returns), else starts one. `exe`: what to execute as the keeper's
 * role. 0 or -errno. Waits for the keeper's answer, KEEPER_ANSWER_MS at most; one that does not
 * answer is killed, and a new one started. */
enum { KEEPER_ANSWER_MS = 5000 };
int keeper_start(struct loop *loop, const char *state_directory, const char *exe,
                 keeper_found *found, keeper_lost *lost, void *owner, struct keeper **ret_keeper);
/* Gives a duplicate of the descriptor under the name, in place of one of that name. Never blocks:
 * what the keeper does not take at once stands in a queue, with a duplicate of its own. 0; -EAGAIN:
 * the queue is full; -EMFILE: no descriptor left for the queue; -ENAMETOOLONG; -EPIPE: gone. */
int keeper_put(struct keeper *keeper, const char *name, int fd);
int keeper_drop(struct keeper *keeper, const char *name);
/* Disconnects; the keeper goes on. Accepts NULL. */
void keeper_leave(struct keeper *keeper);
/* Tells it to end, and disconnects. Waits until it has, a second at most. Accepts NULL. */
void keeper_end(struct keeper *keeper);
pid_t keeper_pid(const struct keeper *keeper); /* 0: unknown */
/* How many puts it has refused so far; *ret_error (if not NULL): why the last one. */
uint32_t keeper_refused(const struct keeper *keeper, int *ret_error);

/* Names that start with this are output FIFOs, which the keeper drains (to the logger that it was
 * given under KEEPER_LOGGER) while no supervisor is connected. The rest of the name is the source.
 */
#define KEEPER_OUTPUT_PREFIX "output:"
#define KEEPER_LOGGER        "logger"
/* Its process's pidfd, by which the next supervisor knows what to call it. */
#define KEEPER_LOGGER_PROCESS "logger-process"

/* Names that start with this are notification descriptors (kernel/seccomp.h). When no supervisor
 * was connected for KEEPER_PATIENCE_MS — an upgrade, or a restart by a service manager, is over by
 * then — the keeper answers what their programs ask: connect and getsockname go on as if there were
 * no filter, and anything else waits on for the next supervisor, which finds it under
 * KEEPER_CALLS_PREFIX and the rest of the name: a memfd of `struct seccomp_request`s, held until
 * that name is dropped. */
#define KEEPER_NOTIFY_PREFIX "notify:"
#define KEEPER_CALLS_PREFIX  "calls:"
enum { KEEPER_PATIENCE_MS = 1000, KEEPER_CALLS_MAX = 1024 /* of one name; further ones go on */ };

/* Messages that stand in the queue because the keeper has not taken them yet; keeper_leave forgets
 * them, so a supervisor that means to be replaced turns its loop until there are none. */
size_t keeper_waiting(const struct keeper *keeper);

/* The role's own main: --role keeper; ROLE_FD is the listening socket. */
int keeper_main(int argc, char **argv);
