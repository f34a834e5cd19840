/* The supervisor: one process, one thread, one cluster. It owns the topology, the instances, the
 * listening sockets that outlive them, cgroups and steering; it reads no byte from the network.
 * What it must know after a kill -9 stands in records.h and with the keeper; supervisor_new finds
 * it and takes the running instances over. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>

#include "event/loop.h"
#include "kernel/cgroup.h"
#include "proc/keeper.h"
#include "proc/logger.h"
#include "steering/steering.h"
#include "supervise/console.h"
#include "supervise/front.h"
#include "supervise/records.h"
#include "supervise/unit.h"
#include "supervise/upgrade.h"
#include "topology/links.h"
#include "topology/topology.h"

enum { SLOTS_SPARE = 1024, STATE_PATH_BYTES_MAX = 512 };

struct supervisor_options {
    struct topology *topology;   /* taken over */
    const char *name;            /* that `-c` gives the cluster; NULL: the file's own */
    const char *state_directory; /* exists */
    const char *log_directory;
    const char *cgroup_base;
    bool upgraded; /* another executable started what runs */
    struct upgrade_past past;
    const char *exe;        /* of enginx itself, for the roles */
    const char *executable; /* its file, which may hold another version by now; NULL: unknown */
    int bundle_fd; /* everything that the topology was read from (conf/bundle.h), for the gateway;
                      taken over; -1: there is none */
    const char *last_good;   /* where the last good configuration is kept; NULL: nowhere */
    struct console *console; /* may be NULL; stays the caller's */
};

/* Somebody who wants to know of changes (the control server); called at most once a turn, and less
 * often when looking at everything takes long. */
typedef void supervisor_changed(void *owner);

struct supervisor {
    struct loop *loop;
    struct topology *topology;
    struct supervisor_options options;
    struct cgroups *cgroups; /* NULL: none can be had */
    struct steering *steering;
    struct keeper *keeper; /* NULL for as long as none can be started */
    struct logger *logger; /* the same */
    struct front *front;   /* the gateway; NULL: none is needed */
    struct console *console;
    struct records *records;
    struct table *names; /* of services, to what the topology says of them */
    struct unit *units;  /* by service index; room for services_max */
    uint32_t services_max;
    struct past_topology *past; /* not in use, but something of them is needed: past.h */
    int bundle_fd;              /* what the topology in use was read from; -1: none */
    struct reload *reload;      /* under way; NULL: none */
    struct upgrade *trial;      /* of another executable; NULL: none */
    char *upgrade_to;           /* to be executed in our place; NULL: nothing */
    bool leaving;               /* to end as soon as that loses nothing; all else goes on */
    struct marks *marks;        /* finds processes where there are no cgroups */
    struct links *users;        /* of each service */
    struct links *listeners;    /* of each service */
    struct unit **noted;        /* units that changed since the last turn, each once */
    size_t noted_count;
    size_t unsettled; /* units that were not settled when they were last looked at */
    size_t
        begin_next; /* place in the start order: units from there on had no chance to begin yet */
    uint32_t starts_left; /* instances that may still be started this turn */
    struct instance **by_slot;
    uint32_t slots_max;
    uint32_t slot_next; /* where the search for a free slot begins */
    struct random_state random;
    struct rlimit descriptors_inherited; /* what programs get, unless their service has a limit */
    bool privileged;
    bool fresh;   /* no earlier supervisor has left records */
    bool adopted; /* an earlier supervisor's instances were taken over */
    bool ending;
    bool killing;
    bool ready_told;
    uint64_t started_wall_ms;
    uint32_t good;       /* the generation that was kept as the last good one */
    uint32_t generation; /* of the configuration: counts up */
    char *log_directory; /* of the first configuration: it stays */
    uint32_t *homes;
    char steering_why[512];
    char cgroups_why[256];
    struct timer scaling; /* the next look */
    uint64_t shrunk_ms;   /* when a service last shrank for want of the cluster's quota; 0: never */
    struct deferred change;
    supervisor_changed *changed;
    void *changed_owner;
    struct traffic_look *listener_looks; /* as `status` saw them, by rows of the tally; owned; NULL:
                                            nobody has asked yet */
    struct timer companions_retry;       /* keeper or logger is missing: again soon */
    uint64_t companions_tried_ms;        /* loop time */
    struct kept *kept;              /* what the keeper holds for the steering, in case it dies */
    struct found_descriptor *found; /* by the keeper, until the steering has had a look */
    size_t found_count;
};

/* 0 or -errno, with `why` in words. */
int supervisor_new(struct loop *loop, const struct supervisor_options *options,
                   struct supervisor **ret_supervisor, char *why, size_t why_size);
/* Takes apart what is left; instances must be at rest, or be left (`leave`) to a later one. */
void supervisor_free(struct supervisor *supervisor, bool leave);

void supervisor_begin(struct supervisor *supervisor);
/* In order: what uses others before what is used. Called again: at once, by SIGKILL. */
void supervisor_end(struct supervisor *supervisor);
/* For a later supervisor to take everything over: ends the process (cli/serve.c) as soon as that
 * loses nothing, unless the cluster is going down. */
void supervisor_leave(struct supervisor *supervisor);
/* After supervisor_end: no instance has a process any more. */
bool supervisor_at_rest(const struct supervisor *supervisor);
/* Everything wanted is up or failed. */
bool supervisor_settled(const struct supervisor *supervisor);
/* Reaps children (SIGCHLD). */
void supervisor_reap(struct supervisor *supervisor);

/* NULL: there is none of that name. */
struct unit *supervisor_unit(const struct supervisor *supervisor, const char *name);

/* ---- for units and instances ---- */

/* Something of the unit changed (NULL: of none): after this turn it is looked at, units that use it
 * may begin or end, and whoever wants to know is told. */
void supervisor_note_change(struct supervisor *supervisor, struct unit *unit);
/* May one more instance be started in this turn? */
bool supervisor_may_start(struct supervisor *supervisor);
/* A free slot for this instance, or UINT32_MAX. */
uint32_t supervisor_slot_take(struct supervisor *supervisor);
uint32_t supervisor_slots_free(const struct supervisor *supervisor); /* how many are left */
void supervisor_slot_free(struct supervisor *supervisor, uint32_t slot);
/* Warns of what is not enforced, and why: of the instance, or ("") of the cluster together.
 * `failed` as from cgroup_open. */
void supervisor_quota_warn(const struct supervisor *supervisor, const char *instance,
                           unsigned failed);
