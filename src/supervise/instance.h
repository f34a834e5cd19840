/* An instance: one copy of a service's program, with everything that belongs to its life — process,
 * cgroup, output, readiness, timers. It carries out what lifecycle.h decides, and tells its unit
 * about each change. Owned by its unit; the supervisor's thread only. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "event/loop.h"
#include "kernel/cgroup.h"
#include "steering/steering.h"
#include "supervise/lifecycle.h"
#include "supervise/output.h"
#include "supervise/probe.h"
#include "supervise/readiness.h"
#include "supervise/records.h"
#include "supervise/rolling.h"
#include "upstream/primacy.h"

struct unit;

enum { INSTANCE_NAME_BYTES = 160, INSTANCE_PORTS_MAX = 16, INSTANCE_REASON_BYTES = 512 };

enum instance_steps {
    STEPS_NONE, /* its process is the program */
    STEPS_BEFORE_START,
    STEPS_AFTER_STOP,
};

struct instance_port {
    enum protocol protocol;
    uint16_t port;
    uint16_t bound_port; /* where it is reached instead; 0: at `port` */
    bool opens;          /* it listens, and does not wait for connections yet */
};

struct instance {
    struct unit *unit;
    uint32_t number; /* 1 … */
    uint32_t slot;
    uint32_t address;               /* 127.77.S.I */
    char name[INSTANCE_NAME_BYTES]; /* "api.1" */
    struct lifecycle life;
    struct instance_record *record; /* survives a crash of the supervisor */
    enum program_choice runs;       /* which of its unit's programs its last start was of */
    enum program_choice aim;        /* and its next one shall be */
    uint64_t requests_before, errors_before; /* of the tally's row, when it was started */

    pid_t pid; /* of its main process; 0: none */
    int pidfd; /* -1: none */
    struct watch death;
    bool leaving;          /* STOPPING=1 of sd_notify: it is up, but takes no more work */
    bool killed;           /* everything of it was sent SIGKILL */
    bool main_ended;       /* and others of its processes may live on */
    bool main_told;        /* MAINPID= of sd_notify: when that one ends, no other takes its place */
    bool main_refused;     /* the same, of a process that is not one of its own */
    bool exit_stashed;     /* the SIGCHLD sweep was quicker than the pidfd */
    int exit_status;       /* of the main process; -1: unknown */
    struct watch report;   /* the child's word on exec (spawn.h) */
    struct watch handover; /* the child's notification descriptor */
    enum instance_steps steps; /* that it is at, instead of the program, */
    uint32_t step;             /* the first is 0 */
    bool step_waits;           /* for another instance, which runs it for all */
    bool step_late;            /* it took too long */
    bool ran;                  /* something of this start ran: steps after its end have a reason */
    bool overran;              /* it was stopped, or killed, since its time was over */
    const char *result;        /* of the program's last end, for steps after it */
    int result_status;         /* the same, as wait(2) has it; -1: unknown */
    bool begun;                /* it was started, by this supervisor or by one before */
    bool executed;
    bool listened; /* it listens where it should */

    struct cgroup cgroup;
    bool grouped; /* cgroup is open */
    struct watch emptied;
    struct output *output;
    struct readiness *readiness;
    struct probe *probe;
    struct probe *role_probe;
    struct claim claim;      /* the role that it says, */
    enum endpoint_role role; /* and the one that it has */
    bool healthy; /* the check says so, if it is one that is made again and again; else true */

    struct timer deadline;     /* of the lifecycle's state */
    struct timer sweep;        /* looks again: is it drained, has the last process gone? */
    struct deferred stillborn; /* the process could not be started: EVENT_EXIT after this turn */

    struct instance_port ports[INSTANCE_PORTS_MAX]; /* where it listens */
    size_t port_count;
    struct instance_port last_bind; /* what it asked for last: tells whom it collided with */
    bool binds;
    char reason[INSTANCE_REASON_BYTES];  /* why it is not up; "" */
    char told[INSTANCE_REASON_BYTES];    /* the last reason for not starting that was logged */
    char status[READINESS_STATUS_BYTES]; /* STATUS= of sd_notify */
    uint64_t started_ms;
    uint64_t walks_before; /* its start, over /proc (marks.h) */
    struct instance_look { /* as scaling saw it last */
        uint64_t at_ms;
        uint64_t cpu_usec;
        uint32_t epoch;
    } scale_look;
    uint64_t cpu_usec_last; /* for cpu_percent */
    uint64_t cpu_sampled_ms;
    double cpu_percent;
    uint64_t memory_peak_bytes; /* of the start that ended last; 0: unknown */
};

/* NULL: no memory or no slot. */
struct instance *instance_new(struct unit *unit, uint32_t number, uint32_t slot);
/* Its processes must be gone (or be left to a later supervisor). */
void instance_free(struct instance *instance);

/* It is gone for good: its folders, its group and its slot too. */
void instance_discard(struct instance *instance);

/* Events of its life that come from outside. */
void instance_start(struct instance *instance);
/* `goal`: what comes after. abrupt: without draining. */
void instance_stop(struct instance *instance, enum lifecycle_goal goal, bool abrupt);
void instance_drain(struct instance *instance);
void instance_undrain(struct instance *instance);
/* It was draining in order to stop, and shall go on after all. */
void instance_resume(struct instance *instance);
/* SIGKILL for everything of it, now. */
void instance_kill(struct instance *instance);

/* What the steering saw it do. */
void instance_binds(struct instance *instance, const struct steering_listen *listen);
void instance_opens(struct instance *instance, const struct steering_listen *listen);
void instance_listens(struct instance *instance, const struct steering_listen *listen);
/* The settings of its service are others, and lie elsewhere: what looks at it begins anew. */
void instance_resettle(struct instance *instance);
/* What its check found: a command (probe.h), or the gateway. */
void instance_checked(struct instance *instance, bool well, const char *why);
/* What its role check found; NULL: it is not known, and `why` says why. */
void instance_role_told(struct instance *instance, const struct role_answer *answer,
                        const char *why);
/* It was started by an earlier supervisor, which knew it to be that. */
void instance_role_adopt(struct instance *instance, enum endpoint_role role, uint32_t term);
/* The SIGCHLD sweep reaped this process; true: it was its main process, or its check. */
bool instance_reaped(struct instance *instance, pid_t pid, int status);

/* Connections open now and in all (or STEERING_TOTAL_UNKNOWN): as the gateway counts, when only it
 * reaches the service, else as the steering does. False: nobody counts. */
bool instance_connections(const struct instance *instance, int64_t *ret_live, uint64_t *ret_total);

/* Its processes; the number stored. */
size_t instance_processes(const struct instance *instance, pid_t *ret_pids, size_t max);

/* Takes over the process that its record names and that is alive. 0 or -errno. */
int instance_adopt(struct instance *instance);
/* Goes on with it, once the steering has been given what the keeper held. */
void instance_adopted(struct instance *instance);

/* Its process died while no supervisor lived: what waits in its kept listener shall wait for the
 * next start, so the steering must know it before it is told what the keeper held. 0 or -errno. */
int instance_expect(struct instance *instance);

/* It failed, or was tried INSTANCE_HOPELESS_FAILURES times in a row and is tried on: whoever waits
 * for it should wait no longer. */
enum { INSTANCE_HOPELESS_FAILURES = 3 };
bool instance_hopeless(const struct instance *instance);

/* "before-start ./migrate", while it is at a step; NULL: it is not. */
const char *instance_step_text(const struct instance *instance, char *text, size_t size);
/* What one instance does for all was done, or is not going to be: whoever waits for it goes on. */
void instance_steps_settle(struct instance *instance);

/* "exited with status 3", "killed by SIGKILL", "out of memory"; NULL for -1. */
const char *instance_exit_text(const struct instance *instance, char *text, size_t size);
