#include "supervise/sleeping.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/scoped.h"
#include "supervise/supervisor.h"

enum { LISTENERS_MAX = 16 };

/* Duplicates of its listeners: whoever closes its own must not find the number taken. */
struct sleep {
    struct unit *unit;
    size_t count;
    struct watch watches[LISTENERS_MAX];
    int fds[LISTENERS_MAX];
};

static void knocked(struct watch *watch, unsigned events)
{
    (void)events;
    const struct sleep *sleep = watch->owner;
    sleeping_end(sleep->unit, "a connection");
}

void sleeping_forget(struct unit *unit)
{
    struct sleep *sleep = unit->sleep;
    unit->sleep = NULL;
    if (!sleep)
        return;
    for (size_t i = 0; i < sleep->count; i++) {
        watch_stop(unit->supervisor->loop, &sleep->watches[i]);
        fd_drop(&sleep->fds[i]);
    }
    free(sleep);
}

static int listener_watch(struct sleep *sleep, int fd)
{
    struct loop *loop = sleep->unit->supervisor->loop;
    scoped_fd int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return -errno;
    int error = watch_start(loop, &sleep->watches[sleep->count], copy, WATCH_READ, knocked, sleep);
    if (!error)
        sleep->fds[sleep->count++] = fd_take(&copy);
    return error;
}

/* 0 or -errno: it would not hear of everybody. */
static int listeners_watch(struct sleep *sleep, const struct instance *instance)
{
    struct steering *steering = instance->unit->supervisor->steering;
    int fds[LISTENERS_MAX];
    const struct steering_operations *operations = steering->operations;
    size_t count =
        operations->kept ? operations->kept(steering, instance->slot, fds, LISTENERS_MAX) : 0;
    int error = count ? 0 : unit_only_by_gateway(instance->unit) ? 0 : -ENOENT;
    for (size_t i = 0; i < count && !error; i++)
        error = listener_watch(sleep, fds[i]);
    return error;
}

static void sleepless(struct unit *unit, const char *why)
{
    unit->sleepless = true;
    log_warn("service-does-not-sleep", "service=%s error=\"%s\" instead=\"it runs\"",
             unit->service->name, why);
}

bool sleeping_possible(struct unit *unit)
{
    const struct instance *instance = unit_only(unit);
    bool connections = false;
    for (size_t i = 0; instance && i < instance->port_count; i++)
        connections |= instance->ports[i].protocol == PROTOCOL_TCP;
    if (!connections && instance && !unit->sleepless)
        sleepless(unit, "it has UDP sockets only, and a datagram wakes nobody");
    return connections && !unit->sleepless;
}

void sleeping_settle(struct unit *unit)
{
    const struct instance *instance = unit_only(unit);
    if (!unit->asleep || unit->sleep || !instance || instance->life.state != STATE_IDLE)
        return;
    unit->sleep = calloc(1, sizeof *unit->sleep);
    int error = unit->sleep ? 0 : -ENOMEM;
    if (!error) {
        unit->sleep->unit = unit;
        error = listeners_watch(unit->sleep, instance);
    }
    if (!error) {
        log_info("service-sleeps", "service=%s", unit->service->name);
        return;
    }
    sleepless(unit, error == -ENOENT ? "no listener of it is kept" : strerror(-error));
    sleeping_end(unit, "nobody would hear a connection");
}

void sleeping_begin(struct unit *unit)
{
    struct instance *instance = unit_only(unit);
    if (unit->asleep || unit->ended || unit->wanted != 1 || !instance ||
        instance->life.state != STATE_UP || rollout_active(&unit->rolling.rollout))
        return;
    unit->asleep = true;
    instance_stop(instance, GOAL_REST, false);
    supervisor_note_change(unit->supervisor, unit);
}

void sleeping_end(struct unit *unit, const char *why)
{
    struct instance *instance = unit_only(unit);
    if (!unit->asleep)
        return;
    unit->asleep = false;
    unit->scaler = (struct scaler){0};
    sleeping_forget(unit);
    if (unit->ended || !instance)
        return;
    log_info("service-wakes", "service=%s why=\"%s\"", unit->service->name, why);
    if (instance->life.state == STATE_IDLE)
        instance_start(instance);
    else /* it is still on its way to rest */
        instance_stop(instance, GOAL_RESTART, false);
    supervisor_note_change(unit->supervisor, unit);
}

void sleeping_rung(struct supervisor *supervisor)
{
    const struct tally *tally = front_tally(supervisor->front);
    for (size_t i = 0; tally && i < supervisor->topology->service_count; i++) {
        struct unit *unit = &supervisor->units[i];
        struct tally_traffic sum = {0};
        if (!unit->asleep)
            continue;
        tally_traffic_sum(tally, TALLY_SERVICE, front_number(unit), &sum);
        if (sum.held_now)
            sleeping_end(unit, "a request");
    }
}
