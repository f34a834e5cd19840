/* A probe: a command that is run again and again; exit status 0 means well. It runs as the
 * instance's user, in its cgroup, with its environment, and is killed when it takes too long.
 *
 * Of `check exec`: rise: so many good ones in a row make it well; fall: so many bad ones make it
 * ill; that is told once. Of `role exec`: what the command printed is told each time, and that it
 * failed `fall` times in a row. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "event/loop.h"

enum { PROBE_ANSWER_BYTES_MAX = 256 };

struct launch;
struct probe;
/* `why` tells about the last failure; "" when well; of a role: what was printed. */
typedef void probe_call(void *owner, bool well, const char *why);

struct probe_plan {
    uint32_t every_ms;
    uint32_t timeout_ms;
    uint32_t rise;
    uint32_t fall;
    bool answers; /* what it prints is the answer, and not output; its errors are output */
};

/* Takes the prepared launch over (from malloc), also when it fails; output_fd, which the check's
 * output goes to, is duplicated. The first check runs at once. 0 or -errno. */
int probe_start(struct loop *loop, struct launch *launch, const struct probe_plan *plan,
                probe_call *call, void *owner, struct probe **ret_probe);
void probe_free(struct probe *probe);
/* The session of the command that runs just now, which is its pid; 0: none runs. */
pid_t probe_session(const struct probe *probe);
/* The SIGCHLD sweep reaped this process; true: it was the command. */
bool probe_reaped(struct probe *probe, pid_t pid, int status);
