/* The board: one memory segment in which the supervisor writes what instances are and may do, and
 * the gateway's threads read it at every choice, so that an instance whose death the supervisor saw
 * gets nothing more, and no message is needed. The gateway maps it read-only.
 *
 * An instance stands under its slot, as on the direct path; a service under a number that is its
 * own for as long as the cluster runs, over reloads (not its index in a topology). After changes
 * the writer rings: it adds to an eventfd that every thread watches edge-triggered and nobody
 * reads. Writer: the supervisor's thread alone. Readers: any. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BOARD_NAME_BYTES = 128, BOARD_PORTS_MAX = 4, BOARD_NONE = UINT32_MAX };

enum board_state {
    BOARD_FREE,     /* nobody's slot */
    BOARD_DOWN,     /* no process, or none that listens */
    BOARD_STARTING, /* it listens; its check by the gateway has not passed yet */
    BOARD_UP,       /* in rotation */
    BOARD_DRAINING, /* keeps what it has, gets nothing new */
};

struct board_instance {     /* a cache line */
    _Atomic uint32_t state; /* enum board_state */
    uint32_t service;       /* board number */
    uint32_t number;        /* 1 … */
    uint32_t epoch;         /* of this start: counters of another are not its */
    uint32_t address;       /* its own, 127.77.S.I, host byte order */
    uint32_t weight;
    uint32_t next; /* slot of the service's next instance; BOARD_NONE */
    uint16_t
        ports[BOARD_PORTS_MAX]; /* TCP ports where it listens, the first learnt first; 0: none */
    uint16_t udp_ports[BOARD_PORTS_MAX];
    uint64_t up_ms; /* CLOCK_MONOTONIC: when it came into rotation, for slow start */
    uint32_t term;  /* with which it said that it is the primary; 0: none known */
    uint8_t role;   /* enum endpoint_role */
    uint8_t moved;  /* 1 …: the socket of ports[moved - 1] is bound to `moved_to`; 0: none is */
    uint16_t moved_to;
};
_Static_assert(sizeof(struct board_instance) == 64, "a cache line each");

struct board_service {
    _Atomic uint32_t version; /* odd while the writer is at it; changes with each change */
    uint32_t first;           /* slot; BOARD_NONE: no instance */
    uint32_t wanted;
    uint32_t
        coming;    /* instances that start, restart or wait for their backoff: worth waiting for */
    uint32_t home; /* host byte order; 0: none (remote) */
    uint32_t asleep; /* it is idle until somebody comes, of whom the supervisor is to be told */
    char name[BOARD_NAME_BYTES]; /* "" : nobody's */
};

struct board; /* a mapping of it */

/* A new segment; *ret_fd and *ret_bell (the eventfd) are the caller's. 0 or -errno. */
int board_new(uint32_t services_max, uint32_t slots_max, struct board **ret_board, int *ret_fd,
              int *ret_bell);
/* Maps one that another process made; descriptors stay the caller's. 0, -errno, -EPROTO. */
int board_open(int fd, bool writable, struct board **ret_board);
void board_close(struct board *board);
uint32_t board_services_max(const struct board *board);
uint32_t board_slots_max(const struct board *board);

/* Read in place; the writer changes instances only between board_write_begin and _end of their
 * service, but `state` at any time. */
struct board_service *board_service(const struct board *board, uint32_t number);
struct board_instance *board_instance(const struct board *board, uint32_t slot);
/* BOARD_NONE: no such name. A walk over all: keep the answer. */
uint32_t board_find(const struct board *board, const char *name);

/* Where the instance is reached for whom its program's TCP port is meant: at the same one, but for
 * programs whose socket was moved to the port that `listen` publishes (steering by seccomp). */
uint16_t board_reached_port(const struct board_instance *instance, uint16_t port);

void board_write_begin(struct board_service *service);
void board_write_end(struct board_service *service);
void board_ring(int bell);

/* A consistent copy of a service's instances: up to `max` into `ret_instances`, their slots into
 * `ret_slots`. The number, and the version that they are of in *ret_version; an odd one: it was
 * read in the midst of changes and is of no moment, read again soon. Never blocks for long: the
 * writer's section is a few stores. */
uint32_t board_read(const struct board *board, uint32_t service,
                    struct board_instance *ret_instances, uint32_t *ret_slots, uint32_t max,
                    uint32_t *ret_version);
