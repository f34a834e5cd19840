#include "supervise/instance_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "supervise/launch.h"

/* ---- up ------------------------------------------------------------------------------------- */

void instance_checked(struct instance *instance, bool well, const char *why)
{
    bool was = instance->healthy;
    instance->healthy = well;
    if (!well)
        instance_reason_set(instance, "check: %s", why);
    if (instance->life.state == STATE_STARTING && well && instance->listened)
        instance_feed(instance, EVENT_READY);
    else if (was != well && instance->life.state == STATE_UP) {
        log_warn(well ? "instance-well" : "instance-ill", "instance=%s why=\"%s\"", instance->name,
                 why);
        if (well)
            instance->reason[0] = 0;
        else
            rolling_ill(instance, instance->reason);
        unit_rotate(instance->unit);
        supervisor_note_change(supervisor_of(instance), instance->unit);
    }
}

static void instance_probed(void *owner, bool well, const char *why)
{
    instance_checked(owner, well, why);
}

int instance_probe_start(struct instance *instance, const char *const *argv,
                         const struct probe_plan *plan, probe_call *call, struct probe **ret_probe)
{
    struct launch *launch = calloc(1, sizeof *launch);
    int error =
        launch ? launch_prepare(launch, instance, argv, instance->reason, sizeof instance->reason)
               : -ENOMEM;
    if (error) {
        if (launch)
            launch_done(launch);
        free(launch);
        return error;
    }
    launch->plan.output_fd = output_fd(instance->output);
    return probe_start(supervisor_of(instance)->loop, launch, plan, call, instance, ret_probe);
}

void instance_probe_begin(struct instance *instance)
{
    const struct service *service = rolling_service(instance);
    const struct probe_plan plan = {
        .every_ms = service->check_every_ms,
        .timeout_ms = service->check_timeout_ms,
        .rise = service->check_rise,
        .fall = service->check_fall,
    };
    int error = instance_probe_start(instance, service->check_argv, &plan, instance_probed,
                                     &instance->probe);
    if (error)
        log_error("check-not-started", "instance=%s why=\"%s\" error=\"%s\"", instance->name,
                  instance->reason, strerror(-error));
}

static bool ports_complete(const struct instance *instance)
{
    const struct service *service = rolling_service(instance);
    if (!service->listens)
        return instance->executed;
    size_t open = 0;
    for (size_t i = 0; i < instance->port_count; i++)
        open += !instance->ports[i].opens;
    for (size_t i = 0; i < service->port_count; i++) {
        bool found = false;
        for (size_t j = 0; j < instance->port_count; j++)
            found |= instance->ports[j].port == service->ports[i].port &&
                     instance->ports[j].protocol == service->ports[i].protocol &&
                     !instance->ports[j].opens;
        if (!found)
            return false;
    }
    return service->port_count || open > 0;
}

/* Has it come far enough to be asked whether it is ready? */
void instance_consider(struct instance *instance)
{
    if (instance->life.state != STATE_STARTING || instance->main_ended)
        return;
    enum check_kind check = rolling_check(instance);
    instance->listened = ports_complete(instance);
    if (!instance->listened)
        return;
    instance_role_begin(instance);
    if (check == CHECK_EXEC && !instance->probe)
        instance_probe_begin(instance);
    else if (check == CHECK_LISTEN)
        instance_feed(instance, EVENT_READY);
    else if (check_by_gateway(check)) /* it looks at what the board says is listening */
        front_unit_write(supervisor_of(instance)->front, instance->unit);
}

void instance_resettle(struct instance *instance)
{
    enum check_kind check = rolling_check(instance);
    enum lifecycle_state state = instance->life.state;
    bool checked = check == CHECK_EXEC || check_by_gateway(check);
    bool up = state == STATE_UP || state == STATE_DRAINING;
    probe_free(instance->probe);
    instance->probe = NULL;
    instance_role_resettle(instance);
    if (!checked && !instance->healthy) {
        instance->healthy = true;
        instance->reason[0] = 0;
    }
    if (up && check == CHECK_EXEC && !instance->main_ended)
        instance_probe_begin(instance);
    instance_consider(instance);
}

void instance_binds(struct instance *instance, const struct steering_listen *listen)
{
    instance->binds = true;
    instance->last_bind =
        (struct instance_port){.protocol = listen->protocol, .port = listen->port};
}

/* NULL: there is no room; further ones are steered, but not shown. */
static struct instance_port *port_note(struct instance *instance,
                                       const struct steering_listen *listen, bool *ret_is_new)
{
    *ret_is_new = false;
    for (size_t i = 0; i < instance->port_count; i++)
        if (instance->ports[i].port == listen->port &&
            instance->ports[i].protocol == listen->protocol)
            return &instance->ports[i];
    if (instance->port_count == INSTANCE_PORTS_MAX)
        return NULL;
    struct instance_port *port = &instance->ports[instance->port_count++];
    *port = (struct instance_port){.protocol = listen->protocol, .port = listen->port};
    *ret_is_new = true;
    return port;
}

void instance_opens(struct instance *instance, const struct steering_listen *listen)
{
    bool is_new;
    if (listen->epoch != instance->record->epoch)
        return;
    struct instance_port *port = port_note(instance, listen, &is_new);
    if (!port || !is_new)
        return;
    port->opens = true;
    supervisor_note_change(supervisor_of(instance), instance->unit);
}

void instance_listens(struct instance *instance, const struct steering_listen *listen)
{
    bool is_new;
    if (listen->epoch != instance->record->epoch)
        return;
    struct instance_port *port = port_note(instance, listen, &is_new);
    bool moved = port && port->bound_port != listen->bound_port;
    if (!port || !(is_new || port->opens || moved))
        return;
    port->opens = false;
    port->bound_port = listen->bound_port;
    unit_learn(instance->unit, port);
    instance_consider(instance);
    supervisor_note_change(supervisor_of(instance), instance->unit);
}

void instance_notified(void *owner, const struct readiness_message *message)
{
    struct instance *instance = owner;
    if (message->status)
        snprintf(instance->status, sizeof instance->status, "%s", message->status);
    if (message->main_pid)
        instance_main_told(instance, message->main_pid);
    if (message->ready && instance->life.state == STATE_STARTING) {
        instance->listened = true;
        instance_feed(instance, EVENT_READY);
    }
    if (message->stopping && !instance->leaving) {
        instance->leaving = true;
        unit_rotate(instance->unit);
    }
}
