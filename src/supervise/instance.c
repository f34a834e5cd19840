#include "supervise/instance_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/scoped.h"
#include "kernel/process.h"
#include "kernel/sockets.h"

void instance_reason_set(struct instance *instance, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(instance->reason, sizeof instance->reason, format, list);
    va_end(list);
}

struct instance *instance_new(struct unit *unit, uint32_t number, uint32_t slot)
{
    struct instance *instance = calloc(1, sizeof *instance);
    if (!instance)
        return NULL;
    instance->unit = unit;
    instance->number = number;
    instance->slot = slot;
    instance->pidfd = -1;
    instance->exit_status = -1;
    instance->healthy = true;
    instance->report.fd = instance->handover.fd = -1;
    instance->record = records_instance(unit->supervisor->records, slot);
    snprintf(instance->name, sizeof instance->name, "%s.%u", unit->service->name, number);
    return instance;
}

/* The process that watches and waits belong to is gone, or was never there. */
void instance_process_forget(struct instance *instance)
{
    struct loop *loop = supervisor_of(instance)->loop;
    struct watch *const watches[] = {&instance->report, &instance->handover};
    for (size_t i = 0; i < sizeof watches / sizeof watches[0]; i++) {
        watch_stop(loop, watches[i]);
        fd_drop(&watches[i]->fd);
    }
    watch_stop(loop, &instance->death);
    watch_stop(loop, &instance->emptied);
    fd_drop(&instance->pidfd);
    instance->pid = 0;
    instance->record->pid = 0;
    readiness_close(instance->readiness);
    instance->readiness = NULL;
    probe_free(instance->probe);
    instance->probe = NULL;
    probe_free(instance->role_probe);
    instance->role_probe = NULL;
}

void instance_free(struct instance *instance)
{
    if (!instance)
        return;
    struct loop *loop = supervisor_of(instance)->loop;
    int32_t pid = instance->record->pid;
    instance_process_forget(instance);
    instance->record->pid = pid; /* left to a later supervisor, if it lives */
    timer_stop(loop, &instance->deadline);
    timer_stop(loop, &instance->sweep);
    deferred_stop(loop, &instance->stillborn);
    output_close(instance->output, false);
    if (instance->grouped)
        cgroup_close(&instance->cgroup);
    free(instance);
}

/* Each start gets a cgroup of its own: on some kernels (seen on 6.18) a process that is cloned into
 * a cgroup that was killed once, is killed too. */
void instance_group_end(struct instance *instance)
{
    if (!instance->grouped ||
        cgroup_remove(supervisor_of(instance)->cgroups, &instance->cgroup) < 0)
        return; /* still busy with the dead: tried again before the next start */
    instance->grouped = false;
}

/* Its output is not there any more, for the keeper neither; nor what is left of one that ended
 * while no supervisor lived. */
void instance_output_end(struct instance *instance)
{
    struct supervisor *supervisor = supervisor_of(instance);
    char name[KEEPER_NAME_BYTES], path[STATE_PATH_BYTES_MAX + INSTANCE_NAME_BYTES];
    snprintf(name, sizeof name, KEEPER_OUTPUT_PREFIX "%s", instance->name);
    snprintf(path, sizeof path, "%s/output/%s", supervisor->options.state_directory,
             instance->name);
    if (supervisor->keeper)
        keeper_drop(supervisor->keeper, name);
    output_close(instance->output, true);
    instance->output = NULL;
    unlink(path);
}

void instance_discard(struct instance *instance)
{
    struct supervisor *supervisor = supervisor_of(instance);
    char path[STATE_PATH_BYTES_MAX + INSTANCE_NAME_BYTES];
    instance_output_end(instance);
    static const char *const folders[] = {"notify", "data"}; /* data goes when it is empty */
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        snprintf(path, sizeof path, "%s/%s/%s", supervisor->options.state_directory, folders[i],
                 instance->name);
        rmdir(path);
    }
    instance_group_end(instance);
    uint32_t slot = instance->slot;
    uint32_t epoch = instance->record->epoch;
    instance_free(instance);
    front_slot_free(supervisor->front, slot);
    supervisor_slot_free(supervisor, slot);
    records_instance(supervisor->records, slot)->epoch = epoch; /* never the same twice */
}

/* ---- the lifecycle's actions ------------------------------------------------------------------
 */

static void failure_tell(struct instance *instance)
{
    size_t length = 0;
    const char *tail = instance->output ? output_tail(instance->output, &length) : "";
    log_error("instance-failed", "instance=%s failures=%u why=\"%s\"", instance->name,
              instance->life.failures, instance->reason);
    while (length) {
        const char *end = memchr(tail, '\n', length);
        size_t line = end ? (size_t)(end - tail) : length;
        log_error("instance-said", "instance=%s text=\"%.*s\"", instance->name, (int)line, tail);
        tail += line + (end ? 1 : 0);
        length -= line + (end ? 1 : 0);
    }
}

static void timeout_tell(struct instance *instance)
{
    const struct service *service = rolling_service(instance);
    char waited[256] = "its READY=1";
    size_t at = 0;
    enum check_kind check = rolling_check(instance);
    if (instance->steps) {
        instance_step_overran(instance);
        return;
    }
    if ((check == CHECK_EXEC || check_by_gateway(check)) && instance->listened)
        snprintf(waited, sizeof waited, "its check to pass");
    else if (service->check != CHECK_NOTIFY && !service->port_count)
        snprintf(waited, sizeof waited,
                 "it to listen on a port (a program that listens nowhere "
                 "needs `port none;`)");
    else if (service->check != CHECK_NOTIFY)
        for (size_t i = 0; i < service->port_count && at < sizeof waited; i++)
            at += (size_t)snprintf(
                waited + at, sizeof waited - at, "%s%s port %u", i ? " and " : "",
                service->ports[i].protocol == PROTOCOL_UDP ? "udp" : "tcp", service->ports[i].port);
    char listens[256] = "it listens nowhere";
    at = 0;
    for (size_t i = 0; i < instance->port_count && at < sizeof listens; i++)
        at += (size_t)snprintf(
            listens + at, sizeof listens - at, "%s%s port %u", i ? ", " : "it listens on ",
            instance->ports[i].protocol == PROTOCOL_UDP ? "udp" : "tcp", instance->ports[i].port);
    instance_reason_set(instance, "waited %u.%us for %s; %s", service->start_within_ms / 1000,
                        service->start_within_ms % 1000 / 100, waited, listens);
    log_warn("instance-start-timeout", "instance=%s why=\"%s\"", instance->name, instance->reason);
}

static void deadline_due(struct timer *timer)
{
    instance_feed(timer->owner, EVENT_DEADLINE);
}

void instance_deadline_set(struct instance *instance)
{
    uint32_t wait_ms = lifecycle_deadline_ms(&instance->life, rolling_service(instance));
    struct loop *loop = supervisor_of(instance)->loop;
    timer_stop(loop, &instance->deadline);
    if (wait_ms && timer_start(loop, &instance->deadline, wait_ms, deadline_due, instance) < 0)
        log_error("no-memory", "instance=%s what=timer", instance->name);
}

static void stop_signal_send(struct instance *instance)
{
    if (instance->step_waits) /* nothing of it runs that could end */
        instance_stillborn(instance, 0);
    else if (instance->pidfd >= 0 && !instance->main_ended)
        pidfd_send_signal(instance->pidfd, rolling_service(instance)->stop_signal, NULL, 0);
}

/* The steering hears of the end before anything new begins. */
static void steering_gone(struct instance *instance)
{
    struct steering *steering;
    enum lifecycle_state state = instance->life.state;
    enum lifecycle_goal goal = instance->life.goal;
    bool back = state == STATE_PREPARING || state == STATE_STARTING || state == STATE_BACKOFF ||
                (state == STATE_FINISHING && goal != GOAL_REST && goal != GOAL_REMOVE) ||
                instance->unit->asleep;
    steering_of(instance, &steering)->gone(steering, instance->slot, back);
}

/* `begins`: a start of it begins, with its steps if it has some. */
static void state_note(struct instance *instance, enum lifecycle_state was,
                       enum lifecycle_event event, bool begins)
{
    struct instance_record *record = instance->record;
    record->state = instance->life.state;
    record->held = instance->life.held;
    record->since_wall_ms = clock_wall_ms();
    if (begins && was != STATE_IDLE)
        record->restarts++;
    if (event == EVENT_READY) {
        instance->reason[0] = instance->told[0] = 0;
        log_info(
            "instance-up", "instance=%s pid=%d ms=%llu", instance->name, instance->pid,
            (unsigned long long)(loop_now(supervisor_of(instance)->loop) - instance->started_ms));
    } else if (was != instance->life.state) {
        log_change("instance-state", "instance=%s from=%s to=%s cause=%s%s%s%s", instance->name,
                   lifecycle_name(was), lifecycle_name(instance->life.state),
                   lifecycle_event_name(event), instance->reason[0] ? " why=\"" : "",
                   instance->reason, instance->reason[0] ? "\"" : "");
    }
}

static void actions_carry_out(struct instance *instance, unsigned actions)
{
    if (actions & ACTION_TIMED_OUT)
        timeout_tell(instance);
    if (actions & ACTION_FAILED)
        failure_tell(instance);
    if (actions & ACTION_NO_DEADLINE)
        timer_stop(supervisor_of(instance)->loop, &instance->deadline);
    if (actions & ACTION_DEADLINE)
        instance_deadline_set(instance);
    if (actions & ACTION_ROTATE)
        unit_rotate(instance->unit);
    if (actions & ACTION_SIGNAL)
        stop_signal_send(instance);
    if (actions & ACTION_KILL) {
        instance->step_late = instance->steps == STEPS_AFTER_STOP;
        instance_kill(instance);
    }
    if (actions & ACTION_PREPARE)
        instance_prepare(instance);
    if (actions & ACTION_SPAWN) {
        instance->steps = STEPS_NONE;
        instance_spawn(instance);
    }
    if (actions & ACTION_FINISH)
        instance_finish(instance);
    if (instance->life.state == STATE_DRAINING && instance->life.goal != GOAL_HOLD)
        instance_sweep_start(instance);
}

/* A start was decided: of which program is known from here on, and whether steps come first. */
static unsigned start_settle(struct instance *instance, unsigned actions)
{
    rolling_takes(instance);
    instance->ran = instance->overran = false;
    if (!rolling_service(instance)->before_start_count)
        return actions;
    return lifecycle_prepare(&instance->life, actions);
}

void instance_feed(struct instance *instance, enum lifecycle_event event)
{
    struct supervisor *supervisor = supervisor_of(instance);
    enum lifecycle_state was = instance->life.state;
    enum lifecycle_goal goal_was = instance->life.goal;
    bool ends = (event == EVENT_EXIT || event == EVENT_FINISHED) && lifecycle_running(was);
    if (event == EVENT_EXIT)
        instance->life.finishes = instance_finishes(instance);
    unsigned actions = lifecycle_step(&instance->life, event, loop_now(supervisor->loop),
                                      rolling_service(instance), &supervisor->random);
    bool blamed = rolling_fails(instance, event, was, goal_was);
    bool begins = actions & ACTION_SPAWN && event != EVENT_PREPARED;
    if (begins)
        actions = start_settle(instance, actions);
    if (instance->life.state != was || begins)
        state_note(instance, was, event, begins);
    if (ends)
        steering_gone(instance);
    instance->overran |= event == EVENT_DEADLINE && actions & (ACTION_TIMED_OUT | ACTION_KILL);
    actions_carry_out(instance, actions);
    if (blamed)
        rolling_blame(instance, instance->reason);
    unit_changed(instance->unit, instance);
}

void instance_start(struct instance *instance)
{
    instance->life.goal = instance->life.held ? GOAL_HOLD : GOAL_RUN;
    instance_feed(instance, EVENT_START);
}

/* An only instance that comes back: who connects from now on waits for the next start. */
static void only_listener_hold(const struct instance *instance)
{
    struct steering *steering;
    const struct steering_operations *operations = steering_of(instance, &steering);
    if (unit_seats(instance->unit) == 1 && operations->hold)
        operations->hold(steering, instance->slot);
}

void instance_stop(struct instance *instance, enum lifecycle_goal goal, bool abrupt)
{
    bool comes_back = goal == GOAL_RESTART || (goal == GOAL_REST && instance->unit->asleep);
    if (comes_back && !abrupt && instance->life.state == STATE_UP)
        only_listener_hold(instance);
    instance->life.goal = goal;
    instance->life.abrupt = abrupt;
    instance_feed(instance, EVENT_STOP);
}

/* The listener of an only instance is kept, and would go on taking connections for it. */
static void only_listener_settle(const struct instance *instance)
{
    struct steering *steering;
    const struct unit *unit = instance->unit;
    if (unit_seats(unit) == 1)
        steering_of(instance, &steering)
            ->wanted(steering, unit->service->index, unit_seats_kept(unit));
}

void instance_drain(struct instance *instance)
{
    instance->life.goal = GOAL_HOLD;
    instance->life.held = true;
    only_listener_settle(instance);
    instance_feed(instance, EVENT_DRAIN);
}

void instance_resume(struct instance *instance)
{
    instance->life.goal = instance->life.held ? GOAL_HOLD : GOAL_RUN;
    instance_feed(instance, EVENT_UNDRAIN);
}

void instance_undrain(struct instance *instance)
{
    instance->life.held = false;
    instance->record->held = false;
    if (instance->life.goal != GOAL_HOLD)
        return; /* it is on its way to end, or to start anew */
    only_listener_settle(instance);
    instance_resume(instance);
}

/* ---- taking over ----------------------------------------------------------------------------- */

/* Without BPF a program's socket may be at the port that `listen` publishes: the program's own port
 * is told then, if the file states it, else nothing, and the steering tells it that knows the
 * socket. */
static bool port_is_told(const struct instance *instance, struct steering_listen *listen)
{
    const struct supervisor *supervisor = supervisor_of(instance);
    const struct topology *topology = supervisor->topology;
    bool moves = strcmp(supervisor->steering->operations->name, "seccomp") == 0;
    for (size_t i = 0; moves && i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        if (!listener_leads(listener, instance->unit->service->index) ||
            listener->protocol != PROTOCOL_TCP || listener->port != listen->port)
            continue;
        uint16_t target = listener_target(topology, listener);
        if (target && target != listen->port) {
            listen->bound_port = listen->port;
            listen->port = target;
        }
        return target != 0;
    }
    return true;
}

/* Where an adopted instance listens: what it told a supervisor that is dead is asked of the kernel.
 */
static void ports_relearn(struct instance *instance)
{
    pid_t pids[64];
    uint16_t ports[INSTANCE_PORTS_MAX];
    size_t count = instance_processes(instance, pids, sizeof pids / sizeof pids[0]);
    count = sockets_listening(pids, count, ports, INSTANCE_PORTS_MAX);
    for (size_t i = 0; i < count; i++) {
        struct steering_listen listen = {.slot = instance->slot,
                                         .epoch = instance->record->epoch,
                                         .protocol = PROTOCOL_TCP,
                                         .port = ports[i]};
        if (port_is_told(instance, &listen))
            instance_listens(instance, &listen);
    }
}

/* How it ended nobody saw; the steps after its end have not run. */
static void end_expect(struct instance *instance)
{
    const struct instance_record *record = instance->record;
    bool ended =
        record->pid > 0 && lifecycle_running(record->state) && record->state != STATE_FINISHING;
    instance->ran = ended;
    if (!ended || !instance_finishes(instance))
        return;
    instance->record->exit_status = -1;
    instance->life.state = STATE_FINISHING;
    instance->life.goal = GOAL_RESTART;
    instance->begun = true;
}

int instance_expect(struct instance *instance)
{
    instance->life.held = instance->record->held;
    int error = instance_group_begin(instance);
    if (error)
        return error;
    if (instance->grouped && cgroup_populated(&instance->cgroup))
        instance_kill(instance); /* what its main process left behind */
    end_expect(instance);
    return instance_steering_prepare(instance);
}

/* Where an adopted instance stands. One that was draining in order to stop had not been told yet,
 * so it is in rotation again; one that was told comes back when it has ended, unless it is one too
 * many. */
static struct lifecycle adopted_life(const struct instance *instance)
{
    const struct instance_record *record = instance->record;
    struct lifecycle life = {
        .state = record->state,
        .goal = record->held ? GOAL_HOLD : GOAL_RUN,
        .held = record->held,
        .entered_ms = loop_now(supervisor_of(instance)->loop),
    };
    if (life.state == STATE_DRAINING && !record->held)
        life.state = STATE_UP;
    if (life.state == STATE_STOPPING || life.state == STATE_FINISHING)
        life.goal = instance->number > instance->unit->wanted ? GOAL_REMOVE
                    : instance->unit->service->job            ? GOAL_REST
                                                              : GOAL_RESTART;
    return life;
}

/* What looks at it begins anew: it belonged to the supervisor that is dead. */
static void checks_resume(struct instance *instance)
{
    enum check_kind check = rolling_check(instance);
    char path[STATE_PATH_BYTES_MAX + INSTANCE_NAME_BYTES];
    if (instance->steps)
        return;
    int error = check == CHECK_NOTIFY ? instance_readiness_listen(instance, path, sizeof path) : 0;
    if (error)
        log_warn("not-notified", "instance=%s error=\"%s\"", instance->name, strerror(-error));
    bool up = instance->life.state == STATE_UP || instance->life.state == STATE_DRAINING;
    instance->healthy = up || (check != CHECK_EXEC && !check_by_gateway(check));
    ports_relearn(instance);
    if (up && check == CHECK_EXEC)
        instance_probe_begin(instance);
    if (up)
        instance_role_begin(instance);
    instance_consider(instance);
}

int instance_adopt(struct instance *instance)
{
    struct instance_record *record = instance->record;
    instance_step_adopt(instance);
    int error = instance_group_begin(instance);
    if (!error)
        error = instance_output_begin(instance);
    if (!error)
        error = instance_steering_prepare(instance);
    scoped_fd int pidfd = error ? error : process_open(record->pid);
    if (pidfd < 0)
        return pidfd;
    if (process_start_ticks(record->pid) != record->start_ticks)
        return -ESRCH;
    instance->pid = record->pid;
    instance->pidfd = fd_take(&pidfd);
    instance->begun = instance->executed = instance->ran = true;
    instance->started_ms = loop_now(supervisor_of(instance)->loop);
    instance->life = adopted_life(instance);
    instance->listened = instance->life.state != STATE_STARTING && !instance->steps;
    record->state = instance->life.state;
    return instance_main_watch(instance);
}

void instance_adopted(struct instance *instance)
{
    struct steering *steering;
    steering_of(instance, &steering)->started(steering, instance->slot, -1);
    if (instance->life.state == STATE_FINISHING && !instance->pid) {
        instance_finish(instance);
        return;
    }
    instance_deadline_set(instance);
    checks_resume(instance);
}
