#include "control/status.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/roll.h"
#include "control/status_traffic.h"
#include "control/text.h"
#include "kernel/process.h"
#include "supervise/explain.h"
#include "supervise/supervisor.h"
#include "supervise/usage.h"
#include "topology/addresses.h"
#include "upstream/breaker.h"

enum { CPU_SAMPLE_MS = 500 };

static json_t *time_text(uint64_t wall_ms)
{
    char text[CLOCK_TEXT_BYTES];
    return wall_ms ? json_string(clock_format(wall_ms, text)) : json_null();
}

static json_t *address_text(uint32_t address)
{
    char text[ADDRESS_TEXT_BYTES];
    return json_string(address_format(address, text));
}

static json_t *port_text(enum protocol protocol, uint16_t port)
{
    char text[16];
    snprintf(text, sizeof text, "%s:%u", protocol == PROTOCOL_UDP ? "udp" : "tcp", port);
    return json_string(text);
}

/* ---- usage ------------------------------------------------------------------------------------
 */

/* CPU use since the last look, or since the start; looks that follow at once show the same. */
static double cpu_percent(struct instance *instance, uint64_t cpu_usec, uint64_t now_ms)
{
    uint64_t since_ms = instance->cpu_sampled_ms > instance->started_ms ? instance->cpu_sampled_ms
                                                                        : instance->started_ms;
    if (now_ms < since_ms + CPU_SAMPLE_MS)
        return instance->cpu_percent;
    uint64_t before = cpu_usec >= instance->cpu_usec_last ? instance->cpu_usec_last : 0;
    instance->cpu_percent = (double)(cpu_usec - before) / 10.0 / (double)(now_ms - since_ms);
    instance->cpu_usec_last = cpu_usec;
    instance->cpu_sampled_ms = now_ms;
    return instance->cpu_percent;
}

static void usage_add(json_t *object, struct instance *instance)
{
    struct supervisor *supervisor = instance->unit->supervisor;
    struct cgroup_usage usage;
    bool runs = lifecycle_running(instance->life.state);
    usage_of(instance, &usage);
    double percent = runs ? cpu_percent(instance, usage.cpu_usec, loop_now(supervisor->loop)) : 0;
    json_object_set_new(object, "cpu_percent", json_real((double)(int64_t)(percent * 10) / 10));
    json_object_set_new(object, "memory_bytes", json_integer((json_int_t)usage.memory_bytes));
    json_object_set_new(object, "memory_peak_bytes",
                        usage.memory_peak_bytes ? json_integer((json_int_t)usage.memory_peak_bytes)
                                                : json_null());
}

static void connections_add(json_t *object, const struct instance *instance)
{
    int64_t live = 0;
    uint64_t total = STEERING_TOTAL_UNKNOWN;
    bool known = instance_connections(instance, &live, &total);
    json_object_set_new(object, "connections", known ? json_integer(live) : json_null());
    json_object_set_new(object, "connections_total",
                        known && total != STEERING_TOTAL_UNKNOWN ? json_integer((json_int_t)total)
                                                                 : json_null());
}

/* ---- traffic through the gateway --------------------------------------------------------------
 */

static json_t *count_json(uint64_t count)
{
    return json_integer((json_int_t)count);
}

static void requests_add(json_t *object, const struct instance *instance)
{
    const struct tally *tally = front_tally(instance->unit->supervisor->front);
    struct tally_endpoint sum = {0};
    if (tally)
        tally_endpoint_sum(tally, instance->slot, &sum);
    uint64_t errors = sum.failures_connect + sum.failures + sum.status[5];
    json_object_set_new(object, "requests_total", tally ? count_json(sum.requests) : json_null());
    json_object_set_new(object, "requests", tally ? count_json(sum.requests_now) : json_null());
    json_object_set_new(object, "errors_total", tally ? count_json(errors) : json_null());
    json_object_set_new(object, "response_seconds_total",
                        tally ? json_real((double)sum.latency_us / 1e6) : json_null());
}

/* Null: it has none, or nobody counts. */
static json_t *breaker_json(const struct service *service, const struct tally_traffic *sum)
{
    if (!sum || !service->gateway.breaker.failures)
        return json_null();
    json_t *object = json_object();
    enum breaker_state state = (enum breaker_state)tally_breaker_state(sum);
    json_object_set_new(object, "state", json_string(breaker_state_name(state)));
    json_object_set_new(object, "opened", count_json(sum->breaker_opened));
    json_object_set_new(object, "refused", count_json(sum->broken));
    return object;
}

/* ---- the document -----------------------------------------------------------------------------
 */

/* Why it is not up; NULL: it is, or nobody knows. */
static const char *reason_of(const struct instance *instance, char *text, size_t size)
{
    const struct unit *unit = instance->unit;
    if (instance->reason[0])
        return instance->reason;
    if (unit->begun || unit->ended)
        return NULL;
    for (size_t i = 0; i < unit->service->uses_count; i++) {
        const struct unit *used = &unit->supervisor->units[unit->service->uses[i]];
        if (unit_ready(used))
            continue;
        snprintf(text, size, "waits for %s, which it uses", used->service->name);
        return text;
    }
    return NULL;
}

static json_t *instance_status(struct instance *instance)
{
    const struct instance_record *record = instance->record;
    char text[64], reason[INSTANCE_REASON_BYTES], step[192];
    json_t *object = json_object();
    json_object_set_new(object, "id", json_integer(instance->number));
    json_object_set_new(object, "state", json_string(lifecycle_name(instance->life.state)));
    json_object_set_new(object, "held", json_boolean(instance->life.held));
    json_object_set_new(object, "step", json_text(instance_step_text(instance, step, sizeof step)));
    json_object_set_new(object, "healthy", json_boolean(instance->healthy));
    json_object_set_new(object, "role", json_text(endpoint_role_name(instance->role)));
    json_object_set_new(object, "address", address_text(instance->address));
    json_object_set_new(object, "pid", instance->pid ? json_integer(instance->pid) : json_null());
    json_object_set_new(object, "since", time_text(record->since_wall_ms));
    json_object_set_new(object, "revision", json_integer(record->revision));
    json_object_set_new(object, "restarts", json_integer(record->restarts));
    connections_add(object, instance);
    requests_add(object, instance);
    usage_add(object, instance);
    const char *how = instance_exit_text(instance, text, sizeof text);
    json_object_set_new(object, "exit", how ? json_string(how) : json_null());
    json_object_set_new(object, "reason", json_text(reason_of(instance, reason, sizeof reason)));
    json_object_set_new(object, "status", json_text(instance->status[0] ? instance->status : NULL));
    json_t *ports = json_array();
    for (size_t i = 0; i < instance->port_count; i++)
        json_array_append_new(ports,
                              port_text(instance->ports[i].protocol, instance->ports[i].port));
    json_object_set_new(object, "ports", ports);
    return object;
}

static json_t *ports_of(const struct unit *unit)
{
    json_t *ports = json_array();
    for (size_t i = 0; i < unit->service->port_count; i++)
        json_array_append_new(
            ports, port_text(unit->service->ports[i].protocol, unit->service->ports[i].port));
    for (size_t i = 0; !unit->service->port_count && i < unit->port_count; i++)
        json_array_append_new(ports, port_text(unit->ports[i].protocol, unit->ports[i].port));
    return ports;
}

static json_t *listeners_of(const struct unit *unit)
{
    const struct topology *topology = unit->supervisor->topology;
    json_t *listeners = json_array();
    size_t count;
    const uint32_t *list = links_of(unit->supervisor->listeners, unit->service->index, &count);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(listeners, json_string(topology->listeners[list[i]].text));
    for (size_t i = 0; unit->service->publish && i < unit->port_count; i++)
        json_array_append_new(listeners, port_text(unit->ports[i].protocol, unit->ports[i].port));
    return listeners;
}

/* How its connections come: by its first listener; by none, straight to its home. */
static const char *path_of(const struct unit *unit)
{
    const struct supervisor *supervisor = unit->supervisor;
    size_t count;
    const uint32_t *list = links_of(supervisor->listeners, unit->service->index, &count);
    bool steered = strcmp(supervisor->steering->operations->name, "none") != 0;
    return explain_path(count ? &supervisor->topology->listeners[list[0]] : NULL, steered);
}

static json_t *paths_of(const struct unit *unit)
{
    const struct supervisor *supervisor = unit->supervisor;
    bool steered = strcmp(supervisor->steering->operations->name, "none") != 0;
    json_t *paths = json_array();
    size_t count;
    const uint32_t *list = links_of(supervisor->listeners, unit->service->index, &count);
    for (size_t i = 0; i < count; i++) {
        const struct listener *listener = &supervisor->topology->listeners[list[i]];
        json_t *path = json_object();
        json_object_set_new(path, "listener", json_text(listener->text));
        json_object_set_new(path, "path", json_string(explain_path(listener, steered)));
        json_object_set_new(path, "why", json_text(listener->path_why));
        json_array_append_new(paths, path);
    }
    return paths;
}

/* Null: its number is fixed. */
static json_t *scale_status(const struct unit *unit)
{
    const struct service_scale *scale = &unit->service->scale;
    if (!scale->high)
        return json_null();
    json_t *object = json_object();
    json_object_set_new(object, "low", json_integer(scale->low));
    json_object_set_new(object, "high", json_integer(scale->high));
    json_object_set_new(object, "asleep", json_boolean(unit->asleep));
    json_object_set_new(object, "why",
                        unit->scale_why[0] ? json_text(unit->scale_why) : json_null());
    return object;
}

static json_t *unit_status(struct unit *unit)
{
    const struct supervisor *supervisor = unit->supervisor;
    json_t *object = json_object();
    json_object_set_new(object, "name", json_text(unit->service->name));
    json_object_set_new(object, "path", json_string(path_of(unit)));
    json_object_set_new(object, "mechanism", json_string(supervisor->steering->operations->name));
    json_object_set_new(object, "why", json_text(supervisor->steering_why));
    json_object_set_new(object, "home", address_text(unit->home));
    json_object_set_new(object, "ports", ports_of(unit));
    json_object_set_new(object, "listeners", listeners_of(unit));
    json_object_set_new(object, "paths", paths_of(unit));
    const struct tally *tally = front_tally(supervisor->front);
    struct tally_traffic sum;
    if (tally)
        tally_traffic_sum(tally, TALLY_SERVICE, front_number(unit), &sum);
    status_traffic_add(object, tally ? &sum : NULL, &unit->traffic, loop_now(supervisor->loop));
    json_object_set_new(object, "breaker", breaker_json(unit->service, tally ? &sum : NULL));
    json_object_set_new(object, "wanted", json_integer(unit->wanted));
    json_object_set_new(object, "scale", scale_status(unit));
    json_object_set_new(object, "rollout", roll_status(unit));
    json_t *instances = json_array();
    for (uint32_t i = 0; i < unit->instance_count; i++)
        if (unit->instances[i] && unit->instances[i]->life.state != STATE_GONE)
            json_array_append_new(instances, instance_status(unit->instances[i]));
    json_object_set_new(object, "instances", instances);
    return object;
}

static json_t *run_status(const struct job_run *run)
{
    json_t *object = json_object();
    json_object_set_new(object, "begin", time_text(run->begin_wall_ms));
    json_object_set_new(object, "duration_ms", count_json(run->duration_ms));
    json_object_set_new(object, "ok", json_boolean(run->good));
    json_object_set_new(object, "exit", json_text(run->exit));
    return object;
}

static json_t *job_status(const struct unit *unit)
{
    const struct job *job = unit->job;
    const struct instance *instance = unit_instance(unit, 1);
    const struct job_run *run;
    bool runs = job && job->runs;
    json_t *object = json_object();
    json_t *history = json_array();
    json_object_set_new(object, "name", json_text(unit->service->name));
    json_object_set_new(object, "running", json_boolean(runs));
    json_object_set_new(object, "since", time_text(runs ? job->begin_wall_ms : 0));
    json_object_set_new(object, "pid",
                        instance && instance->pid ? json_integer(instance->pid) : json_null());
    json_object_set_new(object, "next", time_text(job ? job->schedule.due_ms : 0));
    for (uint32_t back = 0; job && (run = job_past(job, back)); back++)
        json_array_append_new(history, run_status(run));
    json_object_set_new(object, "history", history);
    return object;
}

/* What everything together may use; null: as much as the machine has. */
static json_t *quota_status(const struct quota *quota)
{
    json_t *object = json_object();
    json_object_set_new(object, "cpu_percent",
                        quota->cpu_percent ? count_json(quota->cpu_percent) : json_null());
    json_object_set_new(object, "memory_bytes",
                        quota->memory_bytes ? count_json(quota->memory_bytes) : json_null());
    json_object_set_new(object, "tasks", quota->tasks ? count_json(quota->tasks) : json_null());
    return object;
}

static json_t *gateways_draining(const struct supervisor *supervisor)
{
    pid_t pids[FRONT_ELDERS_MAX];
    json_t *list = json_array();
    size_t count = front_elders(supervisor->front, pids);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_integer(pids[i]));
    return list;
}

/* Null: there was none. */
static json_t *upgrade_status(const struct supervisor *supervisor)
{
    const struct upgrade_past *past = &supervisor->options.past;
    if (!past->count)
        return json_null();
    json_t *object = json_object();
    const char *outcome = past->watched ? "watching" : past->failed ? "rolled-back" : "done";
    json_object_set_new(object, "count", json_integer(past->count));
    json_object_set_new(object, "outcome", json_string(outcome));
    json_object_set_new(object, "from", past->from ? json_text(past->from) : json_null());
    json_object_set_new(object, "why", past->failed ? json_text(past->failed) : json_null());
    return object;
}

json_t *status_build(struct supervisor *supervisor)
{
    json_t *status = json_object();
    json_object_set_new(status, "cluster", json_text(supervisor->topology->name));
    json_object_set_new(status, "generation", json_integer(supervisor->generation));
    json_object_set_new(status, "version", json_string(ENGINX_VERSION));
    json_object_set_new(status, "pid", json_integer(getpid()));
    json_object_set_new(status, "since", time_text(supervisor->started_wall_ms));
    json_object_set_new(status, "file", json_text(supervisor->topology->file));
    json_object_set_new(status, "logs", json_text(supervisor->options.log_directory));
    json_object_set_new(status, "keeper_pid",
                        json_integer(supervisor->keeper ? keeper_pid(supervisor->keeper) : 0));
    json_object_set_new(status, "logger_pid",
                        json_integer(supervisor->logger ? logger_pid(supervisor->logger) : 0));
    json_object_set_new(status, "gateway_pid", json_integer(front_pid(supervisor->front)));
    json_object_set_new(status, "gateways_draining", gateways_draining(supervisor));
    json_object_set_new(status, "upgrade", upgrade_status(supervisor));
    json_object_set_new(status, "quota", quota_status(&supervisor->topology->quota));
    json_t *services = json_array(), *jobs = json_array();
    for (size_t i = 0; i < supervisor->topology->service_count; i++) {
        const struct service *service = &supervisor->topology->services[i];
        if (service->job)
            json_array_append_new(jobs, job_status(&supervisor->units[i]));
        else if (!service->absent || supervisor->units[i].instance_count)
            json_array_append_new(services, unit_status(&supervisor->units[i]));
    }
    json_object_set_new(status, "services", services);
    json_object_set_new(status, "jobs", jobs);
    json_object_set_new(status, "listeners", status_listeners(supervisor));
    return status;
}
