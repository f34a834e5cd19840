#include "supervise/scaling.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/scoped.h"
#include "supervise/sleeping.h"
#include "supervise/supervisor.h"
#include "supervise/usage.h"

enum {
    SHORT_MEMORY_PERCENT = 92, /* of the cluster's quota */
    SHORT_CPU_PERCENT = 97,
    SHORT_PRESSURE_PERCENT = 25, /* of the last ten seconds, somebody waited for memory */
    SHRINK_EVERY_MS = 5000,      /* what left must have made itself felt */
    ACTIVE_CPU_PERCENT = 2,      /* a program that does nothing uses less of a core */
};

static bool scales(const struct unit *unit)
{
    return unit->service->scale.high && !unit->service->absent && unit->begun && !unit->ended;
}

/* ---- looking ----------------------------------------------------------------------------------
 */

/* Percent of a core since the last look; and adds what it uses to what the cluster does. */
static double cpu_look(struct instance *instance, uint64_t cpu_usec, uint64_t now_ms)
{
    struct instance_look *look = &instance->scale_look;
    bool known = look->at_ms && look->epoch == instance->record->epoch &&
                 cpu_usec >= look->cpu_usec && now_ms > look->at_ms;
    double percent =
        known ? (double)(cpu_usec - look->cpu_usec) / 10.0 / (double)(now_ms - look->at_ms) : 0;
    *look = (struct instance_look){now_ms, cpu_usec, instance->record->epoch};
    return percent;
}

static double latency_of(const struct service_scale *rules, const struct traffic *traffic)
{
    uint64_t us = rules->latency_part == 50   ? traffic->p50_us
                  : rules->latency_part == 95 ? traffic->p95_us
                                              : traffic->p99_us;
    return (double)us;
}

static void traffic_add(struct unit *unit, struct scaler_look *look)
{
    const struct tally *tally = front_tally(unit->supervisor->front);
    struct tally_traffic sum = {0};
    if (!tally)
        return;
    tally_traffic_sum(tally, TALLY_SERVICE, front_number(unit), &sum);
    const struct traffic *traffic = traffic_look(&unit->scale_traffic, &sum, look->now_ms);
    look->timed = traffic->timed;
    look->latency_us = latency_of(&unit->service->scale, traffic);
    look->held = (double)sum.held_now;
    look->active |= sum.requests_now > 0 || sum.held_now > 0 || traffic->requests_per_second > 0;
}

static void instance_add(struct instance *instance, struct scaler_look *look,
                         struct cgroup_usage *cluster, double *cluster_cpu)
{
    const struct quota *quota = &instance->unit->service->quota;
    struct cgroup_usage usage;
    int64_t live = 0;
    uint64_t total = STEERING_TOTAL_UNKNOWN;
    usage_of(instance, &usage);
    double cpu = cpu_look(instance, usage.cpu_usec, look->now_ms);
    cluster->memory_bytes += usage.memory_bytes;
    *cluster_cpu += cpu;
    if (instance->life.state != STATE_UP)
        return;
    bool known = instance_connections(instance, &live, &total);
    look->up++;
    look->cpu_percent += quota->cpu_percent ? cpu * 100 / quota->cpu_percent : cpu;
    if (quota->memory_bytes)
        look->memory_percent += 100.0 * (double)usage.memory_bytes / (double)quota->memory_bytes;
    look->connections += known && live > 0 ? (double)live : 0;
    /* Connections that the gateway keeps for later are nothing that goes on. */
    bool open = known && live > 0 && !unit_only_by_gateway(instance->unit);
    look->active |= open || cpu > ACTIVE_CPU_PERCENT;
}

static struct scaler_look unit_look_at(struct unit *unit, struct cgroup_usage *cluster,
                                       double *cluster_cpu)
{
    struct scaler_look look = {.now_ms = loop_now(unit->supervisor->loop),
                               .wanted = unit->asleep ? 0 : unit->wanted,
                               .ceiling = UINT32_MAX};
    for (uint32_t i = 0; i < unit->instance_count; i++)
        if (unit->instances[i])
            instance_add(unit->instances[i], &look, cluster, cluster_cpu);
    if (look.up > 1) {
        look.cpu_percent /= look.up;
        look.memory_percent /= look.up;
        look.connections /= look.up;
    }
    if (scales(unit))
        traffic_add(unit, &look);
    return look;
}

/* ---- the cluster's quota ----------------------------------------------------------------------
 */

/* "some avg10=1.23 …" (Documentation/accounting/psi.rst), of the cluster's group; 0: unknown. */
static double pressure_read(const struct supervisor *supervisor)
{
    char path[STATE_PATH_BYTES_MAX];
    double percent = 0;
    if (!supervisor->cgroups)
        return 0;
    snprintf(path, sizeof path, "%s/memory.pressure", cgroups_path(supervisor->cgroups));
    FILE *file = fopen(path, "re");
    if (file && fscanf(file, "some avg10=%lf", &percent) != 1)
        percent = 0;
    if (file)
        fclose(file);
    return percent;
}

static bool cluster_short(const struct supervisor *supervisor, const struct cgroup_usage *cluster,
                          double cpu_percent)
{
    const struct quota *quota = &supervisor->topology->quota;
    if (quota->memory_bytes &&
        (double)cluster->memory_bytes * 100 > (double)quota->memory_bytes * SHORT_MEMORY_PERCENT)
        return true;
    if (quota->cpu_percent && cpu_percent * 100 > (double)quota->cpu_percent * SHORT_CPU_PERCENT)
        return true;
    return quota->memory_bytes && pressure_read(supervisor) > SHORT_PRESSURE_PERCENT;
}

static bool shrinks_before(const struct unit *one, const struct unit *other)
{
    if (one->service->priority != other->service->priority)
        return one->service->priority < other->service->priority;
    return one->wanted > other->wanted;
}

/* The service that gives an instance up; NULL: none can. */
static const struct unit *giver_of(const struct supervisor *supervisor)
{
    const struct unit *giver = NULL;
    for (size_t i = 0; i < supervisor->topology->service_count; i++) {
        const struct unit *unit = &supervisor->units[i];
        uint32_t least = unit->service->scale.low > 1 ? unit->service->scale.low : 1;
        if (scales(unit) && unit->wanted > least && (!giver || shrinks_before(unit, giver)))
            giver = unit;
    }
    return giver;
}

/* Nobody grows while it is short, and one shrinks. */
static void ceilings_set(struct supervisor *supervisor, struct scaler_look *looks)
{
    uint64_t now_ms = loop_now(supervisor->loop);
    const struct unit *giver = NULL;
    if (!supervisor->shrunk_ms || now_ms - supervisor->shrunk_ms >= SHRINK_EVERY_MS)
        giver = giver_of(supervisor);
    for (size_t i = 0; i < supervisor->topology->service_count; i++)
        looks[i].ceiling = looks[i].wanted - (&supervisor->units[i] == giver && looks[i].wanted);
    if (giver)
        supervisor->shrunk_ms = now_ms;
}

/* ---- doing ------------------------------------------------------------------------------------
 */

static void unit_scale_to(struct unit *unit, const struct scaler_answer *answer, uint32_t was)
{
    if (answer->wanted == was || (!answer->wanted && !sleeping_possible(unit)))
        return;
    log_info("service-scaled", "service=%s from=%u to=%u why=\"%s\"", unit->service->name, was,
             answer->wanted, answer->why);
    snprintf(unit->scale_why, sizeof unit->scale_why, "%s", answer->why);
    if (!answer->wanted) {
        sleeping_begin(unit);
        return;
    }
    int error = unit_scale(unit, answer->wanted);
    if (error)
        log_error("not-scaled", "service=%s instances=%u error=\"%s\"", unit->service->name,
                  answer->wanted, strerror(-error));
}

static void all_look(struct supervisor *supervisor, struct scaler_look *looks)
{
    struct cgroup_usage cluster = {0};
    double cpu_percent = 0;
    size_t count = supervisor->topology->service_count;
    bool bounded =
        supervisor->topology->quota.memory_bytes || supervisor->topology->quota.cpu_percent;
    for (size_t i = 0; i < count; i++)
        if (bounded || scales(&supervisor->units[i]))
            looks[i] = unit_look_at(&supervisor->units[i], &cluster, &cpu_percent);
    if (bounded && cluster_short(supervisor, &cluster, cpu_percent))
        ceilings_set(supervisor, looks);
}

static void look_due(struct timer *timer)
{
    struct supervisor *supervisor = timer->owner;
    size_t count = supervisor->topology->service_count;
    scoped_memory struct scaler_look *looks = calloc(count, sizeof *looks);
    timer_start(supervisor->loop, timer, SCALING_LOOK_MS, look_due, supervisor);
    if (!looks || supervisor->ending)
        return;
    all_look(supervisor, looks);
    for (size_t i = 0; i < count; i++) {
        struct unit *unit = &supervisor->units[i];
        struct scaler_answer answer;
        if (!scales(unit) || unit->restarting)
            continue;
        scaler_step(&unit->scaler, &unit->service->scale, &looks[i], &answer);
        unit_scale_to(unit, &answer, looks[i].wanted);
    }
}

void scaling_settle(struct supervisor *supervisor)
{
    bool any = false;
    for (size_t i = 0; i < supervisor->topology->service_count; i++)
        any |= supervisor->topology->services[i].scale.high != 0;
    if (!any)
        timer_stop(supervisor->loop, &supervisor->scaling);
    else if (!timer_active(&supervisor->scaling))
        timer_start(supervisor->loop, &supervisor->scaling, SCALING_LOOK_MS, look_due, supervisor);
}

void scaling_end(struct supervisor *supervisor)
{
    timer_stop(supervisor->loop, &supervisor->scaling);
}
