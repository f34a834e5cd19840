/* The keeper: a process that holds descriptors over a supervisor's crash, and keeps reading the
 * instances' output meanwhile so that no program blocks on a full pipe. It has no rights, reads no
 * network byte, and knows nothing about what it holds: a name, a descriptor.
 *
 * It waits at STATE/keeper (a Unix socket, SOCK_SEQPACKET). One supervisor at a time is connected;
 * a new connection of the same user replaces the old. What was put stays until it is dropped, until
 * the keeper is told to end, or until the keeper dies; the supervisor then starts a new one and puts
 * everything again. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "event/loop.h"

enum { KEEPER_NAME_BYTES = 200, KEEPER_DESCRIPTORS_MAX = 8192 };

struct keeper;

/* Called when the keeper is gone (it died); start another with keeper_start and put again. */
typedef void keeper_lost(void *owner);
/* Called for each descriptor that it still held when we connected; the callee owns fd. */
typedef void keeper_found(void *owner, const char *name, int fd);

/* Connects to the keeper of this state directory if one lives (its descriptors are reported through
 * `found`, before the function returns), else starts one. `exe`: what to execute as the keeper's
 * role. 0 or -errno. */
int keeper_start(struct loop *loop, const char *state_directory, const char *exe,
                 keeper_found *found, keeper_lost *lost, void *owner, struct keeper **ret_keeper);
/* Gives a duplicate of the descriptor under the name, in place of one of that name. */
int keeper_put(struct keeper *keeper, const char *name, int fd);
int keeper_drop(struct keeper *keeper, const char *name);
/* Disconnects; the keeper goes on. */
void keeper_leave(struct keeper *keeper);
/* Tells it to end, and disconnects. */
void keeper_end(struct keeper *keeper);
pid_t keeper_pid(const struct keeper *keeper); /* 0: unknown */

/* Names that start with this are output FIFOs, which the keeper drains (to the logger that it was
 * given under KEEPER_LOGGER) while no supervisor is connected. The rest of the name is the source. */
#define KEEPER_OUTPUT_PREFIX "output:"
#define KEEPER_LOGGER        "logger"

/* The role's own main; argv as main's. */
int keeper_main(int argc, char **argv);
