/* The control server: commands from `enginx status`, `scale`, … over a Unix socket, STATE/control
 * (mode 0600). Who may: root and the user that the supervisor runs as (SO_PEERCRED), whatever the
 * file's permissions were made to be.
 *
 * A request is a line of JSON: {"command": NAME, …}; the answer is lines of JSON. Commands that
 * take time send {"progress": TEXT} lines while they wait. The last line is {"ok": true, …} or
 * {"error": TEXT}, maybe with a "report" in several lines. Bounds: REQUEST_BYTES_MAX,
 * CONTROL_CLIENTS_MAX, ANSWER_BYTES_MAX.
 *
 * {"command": "events", "last": N, "follow": true|false} is answered with the last N events, each
 * an object of its own (control/event.h), and with those to come as long as the client stays. No
 * more than PROGRESS_WAITING_MAX bytes wait for one that does not read; what the ring of events has
 * not any more when it reads on is {"lost": N}. {"end": TEXT} is the last line: the cluster went
 * down, or is upgraded, in which case whoever asks again hears of the new supervisor's events. */
#pragma once

#include "event/loop.h"

struct events;
struct supervisor;
struct control_server;

enum {
    REQUEST_BYTES_MAX = 16 * 1024,
    ANSWER_BYTES_MAX = 64 * 1024 * 1024,
    CONTROL_CLIENTS_MAX = 64,
    CONTROL_IDLE_MS = 10000, /* for a whole request to arrive, and for a client that does not read
                                its answer */
    PROGRESS_WAITING_MAX = 64 * 1024, /* to a client that reads slowly no more progress is told */
};

/* 0 or -errno. `events` stay the caller's. `path` must fit a Unix address. *socket_fd: the socket
 * that an executable before us had there, which is taken over; -1: a new one is made. */
int control_server_new(struct loop *loop, struct supervisor *supervisor, struct events *events,
                       const char *path, int *socket_fd, struct control_server **ret_server);
/* Whoever waits for the cluster's end is answered now. Removes the socket. */
void control_server_free(struct control_server *server);
/* Another executable is to go on with the socket, which is given: whoever waits has to ask again.
 */
int control_server_release(struct control_server *server);
/* Events were added: whoever follows them is told at the end of this turn. May be called from
 * anywhere in it. */
void control_server_events(struct control_server *server);
/* Something changed: looks at those who wait. */
void control_server_changed(struct control_server *server);
