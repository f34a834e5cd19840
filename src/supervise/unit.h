/* A unit: a service at run time — its instances, how many are wanted, who is in rotation, and the
 * order of a rolling restart. Owned by the supervisor. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "supervise/instance.h"
#include "supervise/job.h"
#include "supervise/rolling.h"
#include "supervise/scaler.h"
#include "supervise/spawn.h"
#include "supervise/traffic.h"

struct supervisor;

struct unit {
    struct supervisor *supervisor;
    const struct service *service;
    struct service_record *record;
    struct spawn_user user; /* looked up at the start */
    uint32_t home;
    uint32_t block; /* of instance addresses, the first */
    uint32_t blocks;
    uint32_t wanted;
    bool begun;    /* what it uses was up once: instances may start */
    bool ended;    /* going down: no further starts */
    bool removed;  /* its service is absent: it is forgotten when its last instance is gone */
    bool out;      /* and none of it is in rotation any more */
    bool outdated; /* its instances must be replaced when it begins: they were adopted, and started
                      from another definition than the file's now, or their sockets lie elsewhere */
    bool noted;    /* waits in the supervisor's list of changed units */
    bool settled;  /* as of the last look at its changes */
    bool filling;  /* more instances are to be started in the next turns */
    size_t users_passed; /* going down: so many of those that use it have no process any more */
    struct instance **instances; /* by number - 1; NULL: none of that number; owned */
    uint32_t instance_room;
    uint32_t instance_count; /* room in use */
    struct primacy primacy;
    struct rolling rolling;
    uint32_t restarting; /* number of the instance that a rolling restart waits for; 0: none */
    struct instance_port ports[INSTANCE_PORTS_MAX]; /* learnt, first come first */
    size_t port_count;
    struct traffic_look traffic; /* through the gateway, as `status` saw it */
    struct scaler scaler;
    struct traffic_look scale_traffic; /* as scaling saw it */
    char scale_why[SCALER_WHY_BYTES];  /* of the last change of the number; "" */
    bool asleep;                       /* sleeping.h */
    bool sleepless;                    /* nobody would hear a connection: it was logged */
    struct sleep *sleep;               /* NULL: nobody listens for it */
    uint32_t prepares; /* number of the instance that runs a `before-start once` for all; 0: none
                        */
    struct job *job;   /* NULL: it is a service; owned */
};

/* 0 or -errno; on failure `unit_done` frees what there is. */
int unit_init(struct unit *unit, struct supervisor *supervisor, const struct service *service);
void unit_done(struct unit *unit);
/* Its instances' addresses may be others'. */
void unit_blocks_give(struct unit *unit);
/* Nobody's place: settled, at rest, without instances. */
void unit_clear(struct unit *unit, struct supervisor *supervisor, const struct service *absent);

/* Makes instances that are wanted and not there, and starts them once the unit has begun: so many
 * at once, the others in the next turns, so that the supervisor hears and answers in between. */
enum { STARTS_PER_TURN_MAX = 32 };
void unit_fill(struct unit *unit);
/* Takes an instance in under its number. 0 or -ENOMEM. */
int unit_place(struct unit *unit, struct instance *instance);
/* Numbers of instances that may be there now: those wanted, and those that a rollout adds. */
uint32_t unit_seats(const struct unit *unit);
/* The same, for the steering: 0 where the listener of an only instance that is held is not to be
 * kept, since connections must not wait in it. */
uint32_t unit_seats_kept(const struct unit *unit);
/* Ends those beyond, the last first. */
void unit_trim(struct unit *unit);
/* Starts what is wanted, once everything that it uses is ready. */
void unit_begin(struct unit *unit);
/* Is at least one instance up (or nothing wanted)? */
bool unit_ready(const struct unit *unit);
/* 0; -ERANGE: more than SERVICE_INSTANCES_MAX or than its addresses; -ENOSPC: than there are slots.
 */
int unit_scale(struct unit *unit, uint32_t wanted);
/* One after the other: out of rotation, drained, stopped, started, up; number 0: all. It stops at
 * the first that fails. What has not begun yet, or is going down, is left alone. */
void unit_restart(struct unit *unit, uint32_t number);
/* Stops all. */
void unit_end(struct unit *unit, bool kill);
/* No process is left. */
bool unit_at_rest(const struct unit *unit);
/* Nothing is on its way: what is wanted is up, or failed. */
bool unit_settled(const struct unit *unit);

/* The next topology says something else of its service: another number of instances, other
 * settings, another program (then its instances are replaced: rolling.h). */
void unit_adapt(struct unit *unit, const struct service *service, const struct service *was);
/* Its service is absent from now on: its instances are drained, and go. */
void unit_remove(struct unit *unit, const struct service *absent);
/* Could it have so many instances? 0 or as unit_scale. */
int unit_scale_check(const struct unit *unit, uint32_t wanted);

/* An instance changed its state (or its health). */
void unit_changed(struct unit *unit, struct instance *instance);
/* One of its instances listens on this port. */
void unit_learn(struct unit *unit, const struct instance_port *port);
/* Frees instances that are gone; called when nothing of theirs is being worked on. */
void unit_sweep(struct unit *unit);
/* Its rotation must be set again. */
void unit_rotate(struct unit *unit);
/* Of the instance of that number, while it is in rotation. */
uint32_t unit_weight(const struct unit *unit, uint32_t number);

/* Does nobody reach it but through the gateway: no direct listener, no service that uses it? */
bool unit_only_by_gateway(const struct unit *unit);

/* The only instance that is not gone or going; NULL: there is none, or another. */
struct instance *unit_only(const struct unit *unit);
/* NULL: no such. */
struct instance *unit_instance(const struct unit *unit, uint32_t number);
