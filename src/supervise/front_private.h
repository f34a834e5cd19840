/* What the files of kind front_*.c share of supervise/front.h. */
#pragma once

#include "event/loop.h"
#include "proc/message.h"
#include "supervise/front.h"
#include "supervise/supervisor.h"

enum { FRONT_NAME_BYTES = 160, FRONT_WHY_BYTES = 512 };

/* The names under which the keeper holds what is the gateway's. */
#define FRONT_KEPT_SOCKET   "gateway"
#define FRONT_KEPT_BOARD    "gateway-board"
#define FRONT_KEPT_BELL     "gateway-bell"
#define FRONT_KEPT_TALLY    "gateway-tally"
#define FRONT_KEPT_TICKETS  "gateway-tickets"
#define FRONT_KEPT_BANS     "gateway-bans"
#define FRONT_KEPT_WAKE     "gateway-wake"
#define FRONT_KEPT_LISTENER "gateway-listener:" /* with the listener's text, and #worker */

/* A listening socket; for UDP one of several. */
struct front_socket {
    struct front_socket *next;
    char name[FRONT_NAME_BYTES]; /* the listener's text, which is what messages call it */
    uint32_t worker;             /* UDP: the gateway's thread that it is for */
    int fd;
    bool sent;    /* the process has it */
    bool wanted;  /* the configuration in use, or the one in preparation, has it */
    bool retired; /* none has it any more: to be unlistened, closed and forgotten */
};

enum front_stage { /* of a configuration, as far as this process of the gateway knows it */
                   STAGE_NONE,
                   STAGE_TO_SEND,
                   STAGE_PREPARING,
                   STAGE_PREPARED,
                   STAGE_GRACE, /* listeners leave it: it takes first what has come to them */
                   STAGE_TO_COMMIT,
                   STAGE_COMMITTING,
                   STAGE_COMMITTED,
};

struct front_generation {
    uint32_t number;
    int bundle_fd; /* -1: there is none */
    enum front_stage stage;
    int *directories; /* of routes to files, by their places in the topology */
    uint32_t directory_count;
    uint32_t directories_sent;
    int *caches; /* files of caches, by their places in the topology; -1: none */
    uint32_t cache_count;
    uint32_t caches_sent;
};

enum front_handed { /* descriptors that the process gets once; bits of front.handed */
                    HANDED_BOARD,
                    HANDED_BELL,
                    HANDED_TALLY,
                    HANDED_TICKETS,
                    HANDED_BANS,
                    HANDED_JOURNAL,
                    HANDED_WAKE,
                    HANDED_COUNT,
};

/* A gateway that another has taken over from: it takes no more connections, and ends by itself with
 * the last of those that it has. */
struct front_elder {
    struct front *front;
    pid_t pid; /* 0: none */
    int pidfd;
    int socket; /* -1: gone, or not needed any more */
    struct watch death;
    bool told; /* that it is one */
    /* For each of the gateway's threads, until it is told: the two ends of a socket that leads from
     * it to its successor, for the sessions of datagrams. -1: none. */
    int from[TALLY_THREADS_MAX], to[TALLY_THREADS_MAX];
    uint32_t to_sent; /* of `to`, to the process that is the successor now */
};

struct front {
    struct supervisor *supervisor;

    struct board *board;
    int board_fd; /* for reading only: what the gateway gets */
    int bell;
    struct deferred ring;
    struct tally *tally;
    int tally_fd;
    int tickets_fd;
    struct bans *bans; /* for `enginx bans`; the gateway makes them */
    int bans_fd;
    int wake; /* an eventfd: somebody came to a service that sleeps */
    struct watch wakes;
    uint32_t threads; /* of the gateway */
    struct front_socket *sockets;

    struct front_generation current; /* in use, or to be as soon as the process is there */
    struct front_generation next;    /* being prepared beside it */
    char why[FRONT_WHY_BYTES];       /* why the last one was rejected */
    bool rejected;
    bool held;                /* `current` is the first there is, and waits for its commit */
    front_prepared *prepared; /* NULL: nobody waits */
    void *prepared_owner;
    struct timer late;  /* the gateway does not answer */
    struct timer grace; /* of STAGE_GRACE */

    struct front_elder elders[RECORD_ELDERS_MAX]; /* by their place in the records */

    pid_t pid; /* 0: none */
    int pidfd;
    int socket;
    uint32_t lane;                /* of the tally: this process' */
    unsigned handed;              /* bits: what this process has */
    uint64_t purges, purges_done; /* asked for, and over */
    uint64_t purged;              /* answers that the last one took out */
    uint64_t started_ms;
    uint32_t failures; /* deaths in a row, each soon after a start */
    struct watch death;
    struct watch messages;
    struct timer again; /* the next start, or the next try to send */
};

/* ---- front_link.c: the process, and what is said ----------------------------------------------
 */

/* Starts a process; everything is sent to it. 0 or -errno. */
int front_process_start(struct front *front);
/* Goes on with the one that an earlier supervisor started, if it lives and its socket and memory
 * were kept; else that one is ended. */
bool front_process_adopt(struct front *front, bool memory_kept);
/* Ends the one that an earlier supervisor started: nothing needs a gateway any more. */
void front_process_orphan_end(struct supervisor *supervisor);
/* Kills one, and waits until it is dead, since others want to bind what it has. */
void front_process_kill(int pidfd);
/* Ends it, by SIGKILL: for when there is nothing to be served any more. */
void front_process_end(struct front *front);
/* Tells it that what it prepared, or prepares, is not wanted. */
void front_process_abandon(const struct front *front, uint32_t number);
/* Lets it live on. */
void front_process_leave(struct front *front);
/* Sends what it has not been sent yet, as far as it takes it just now. */
void front_tell(struct front *front);

/* ---- front_board.c ----------------------------------------------------------------------------
 */

/* The roles of adopted instances are what the board of an earlier supervisor says. */
void front_roles_adopt(struct front *front);

/* ---- front_elder.c: gateways that end ---------------------------------------------------------
 */

/* Those that the records name; after an upgrade of this program, also the one that serves: another
 * is to be started. Chooses the lane of the process to come. */
void front_elders_find(struct front *front, bool memory_kept);
/* Sends the process to come what leads from them to it. 0 or -errno, as message_send. */
int front_elders_tell(struct front *front);
/* The process that was told died: another is to be told. */
void front_elders_retell(struct front *front);
/* Another serves now: they are told to take no more. */
void front_elders_drain(struct front *front);
/* `leave`: they live on. */
void front_elders_end(struct front *front, bool leave);
/* The same for those that the records name, when there is no front. */
void front_elders_orphan_end(struct supervisor *supervisor);

/* ---- front.c: what it says ---------------------------------------------------------------------
 */

void front_heard(struct front *front, const struct message *message);
/* The process died, with all that it knew. */
void front_lost(struct front *front);

/* ---- front_socket.c: listening sockets --------------------------------------------------------
 */

/* Takes what the keeper held of the topology's listeners. */
void front_sockets_find(struct front *front, const struct topology *topology);
/* Opens what they need and is not open, and marks it `wanted`. 0, or -errno with `why`. */
int front_sockets_open(struct front *front, const struct topology *topology, char *why,
                       size_t why_size);
/* Marks those that the topology does not need, and no other does: to be closed in time. */
void front_sockets_retire(struct front *front, const struct topology *topology);
/* Tells the steering that connections to these listeners are the gateway's. */
int front_sockets_gate(struct front *front, const struct topology *topology);
/* Closes and forgets one that is not in the list any more. */
void front_socket_free(struct front *front, struct front_socket *socket, bool leave);

/* ---- front_directory.c: folders of files -------------------------------------------------------
 */

/* Opens what the topology's routes lead to, as it is found now; they go before the bundle. 0, or
 * -errno with `why`. */
int front_directories_open(struct front_generation *generation, const struct topology *topology,
                           char *why, size_t why_size);
/* front_cache.c: opens, and makes if need be, the files of caches that have a disk. What cannot be
 * opened is told of: that cache has memory alone. 0 or -ENOMEM. */
int front_caches_open(struct front_generation *generation, const struct topology *topology);
/* The gateway has done what was asked; it died: nothing more comes. */
void front_purge_heard(struct front *front, uint64_t count);
void front_purges_lost(struct front *front);
/* Closes what it has and makes it one that is not there. */
void front_generation_drop(struct front_generation *generation);

/* ---- front_board.c: the memory that is shared --------------------------------------------------
 */

/* Makes board, tally and tickets, or takes what the keeper held (*ret_fresh: false). 0 or -errno.
 */
int front_memory_begin(struct front *front, bool *ret_fresh);
void front_memory_end(struct front *front, bool leave);
/* After all units were written: slots that are nobody's. */
void front_board_sweep(struct front *front);
