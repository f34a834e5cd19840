/* The front: the supervisor's side of the gateway (gateway/gateway.h). It starts that process,
 * makes what outlives it — listening sockets, the board, the tally, the memory of TLS tickets —
 * and gives it everything; when the process dies, another gets the same, so that connections wait
 * in the sockets' queues meanwhile and none is refused. The keeper holds all of it, the socket to
 * the process too: a new supervisor goes on with a gateway that lives (front_socket.h opens,
 * front_link.h speaks, front_board.h writes).
 *
 * A configuration comes as a bundle in two steps: the gateway prepares it beside the one in use and
 * says `prepared` (or why not), and takes it into use at `commit`. Without listeners and checks
 * that need it there is no front (supervisor->front is NULL), and all functions accept that.
 * The supervisor's thread; nothing blocks but front_wait, FRONT_PREPARE_MS at most. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "upstream/board.h"
#include "upstream/tally.h"

struct front;
struct instance;
struct supervisor;
struct topology;
struct unit;

enum { FRONT_PREPARE_MS = 10000 };

/* Begins with the supervisor's topology and bundle, once its units are there and while what the
 * keeper held is at hand: goes on with a gateway that lives, or starts one. 0 or -errno, with `why`
 * in words: a port that is taken. */
int front_start(struct supervisor *supervisor, char *why, size_t why_size);
/* Turns the loop until the gateway has taken the configuration into use. 0 or -errno, with `why`:
 * what it does not accept. */
int front_wait(struct front *front, char *why, size_t why_size);
/* `leave`: the gateway lives on, and the keeper holds what is its. */
void front_end(struct supervisor *supervisor, bool leave);

/* Every worker uses the newest generation (or there is no gateway); supervisor_note_change tells
 * when that changes. */
bool front_settled(const struct front *front);

pid_t front_pid(const struct front *front); /* 0: it is about to be started again */

/* Gateways that were replaced by an upgrade, and go on until their connections end. */
enum { FRONT_ELDERS_MAX = 2 };
size_t front_elders(const struct front *front, pid_t ret_pids[FRONT_ELDERS_MAX]);

/* Asks the gateway to take answers out of the cache of that name (`*`: of all; gateway/caches.h
 * says what may be asked). 0 with *ret_ticket; -ENOENT: no gateway runs; -errno. */
int front_purge(struct front *front, const char *cache, const char *what, uint64_t *ret_ticket);
/* Is that over? supervisor_note_change tells when it is. *ret_count: how many answers; if the
 * gateway died meanwhile, 0. */
bool front_purged(const struct front *front, uint64_t ticket, uint64_t *ret_count);

/* ---- another configuration --------------------------------------------------------------------
 */

/* Called once: 0: it is prepared; else -errno with `why` in words, and it is abandoned. */
typedef void front_prepared(void *owner, int error, const char *why);

/* Opens what the topology's listeners need, and lets the gateway prepare the bundle (taken over)
 * beside the one in use; one at a time. 0: `done` will be called, not before this returns; 1: no
 * gateway is there or needed; -errno with `why`. */
int front_prepare(struct supervisor *supervisor, const struct topology *next, uint32_t number,
                  int bundle_fd, front_prepared *done, void *owner, char *why, size_t why_size);
/* What was prepared is used from now on, and what only the one before needed is closed. */
void front_commit(struct front *front, const struct topology *next);
/* What was prepared, or is being prepared, is not wanted. */
void front_abandon(struct supervisor *supervisor);

/* ---- what instances are ----------------------------------------------------------------------
 */

/* Writes what is new of the unit's instances to the board, and rings once after this turn. */
void front_unit_write(struct front *front, struct unit *unit);
/* The service is no more. */
void front_unit_forget(struct front *front, const struct unit *unit);
/* The slot is nobody's any more. */
void front_slot_free(struct front *front, uint32_t slot);
/* The logger is another process now. */
void front_logger_changed(struct front *front);

/* ---- what the gateway counted ----------------------------------------------------------------
 */

/* NULL: there is no front. */
const struct tally *front_tally(const struct front *front);
/* Whom it has banned; the same. */
struct bans *front_bans(const struct front *front);
/* The service's number on the board and in the tally, whether there is a front or not. */
uint32_t front_number(const struct unit *unit);
