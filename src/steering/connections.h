/* How many connections an instance has, where no BPF counts them: those of the kernel's list that
 * its processes hold. The kernel walks its table of all connections, of every network namespace,
 * for each listing and whatever the port; so it is listed once in a turn of the loop, and a hundred
 * instances that are looked at together cost one listing. Owned by a steering. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "event/loop.h"

struct connections;

struct connections *connections_new(struct loop *loop); /* NULL: no memory */
void connections_free(struct connections *connections); /* accepts NULL */

/* Established TCP connections at the local port that any of the processes holds, each once. */
uint64_t connections_held(struct connections *connections, const pid_t *pids, size_t count,
                          uint16_t port);
