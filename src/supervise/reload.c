#include "supervise/reload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/scoped.h"
#include "base/table.h"
#include "supervise/loading.h"
#include "supervise/past.h"
#include "supervise/scaling.h"
#include "supervise/supervisor.h"
#include "topology/addresses.h"
#include "topology/difference.h"
#include "topology/place.h"

struct reload {
    struct supervisor *supervisor;
    struct topology *before; /* the one in use when it began */
    struct topology *next;
    struct difference *difference;
    struct past_topology *past; /* for the one in use, so that the commit needs no memory */
    int bundle_fd;              /* of the next; -1: none */
    struct table *names;
    struct links *users, *listeners;
    uint32_t *homes;
    size_t inited; /* units of services up to here were looked at */
    bool opened;   /* the steering has what it needs */
    reload_done *done;
    void *owner;
};

/* ---- services that are gone --------------------------------------------------------------------
 */

void supervisor_unit_forget(struct supervisor *supervisor, struct unit *unit)
{
    struct service *service = &supervisor->topology->services[unit->service->index];
    log_info("service-gone", "service=%s", service->name);
    front_unit_forget(supervisor->front, unit);
    supervisor->steering->operations->forget(supervisor->steering, service->index);
    supervisor->homes[service->index] = 0;
    records_service_drop(supervisor->records, unit->record);
    supervisor->unsettled -= !unit->settled;
    bool ended = unit->ended;
    unit_blocks_give(unit);
    unit_done(unit);
    *service = (struct service){.index = service->index, .name = "", .absent = true};
    const struct reload *reload = supervisor->reload;
    if (reload && reload->opened && service->index < reload->next->service_count)
        reload->next->services[service->index] = *service; /* it was to be absent there, too */
    unit_clear(unit, supervisor, service);
    unit->ended = ended;
    past_sweep(supervisor);
}

/* ---- preparing --------------------------------------------------------------------------------
 */

/* The places of the services, by their records; new records for new services. */
static int places_find(struct reload *reload, char *why, size_t why_size)
{
    const struct supervisor *supervisor = reload->supervisor;
    struct topology *next = reload->next;
    size_t count = supervisor->topology->service_count;
    scoped_memory uint32_t *places = calloc(next->service_count + 1, sizeof *places);
    if (!places)
        return -ENOMEM;
    for (size_t i = 0; i < next->service_count; i++) {
        const char *name = next->services[i].name;
        const struct service_record *record = records_service_take(supervisor->records, name);
        if (!record) {
            snprintf(why, why_size, "too many new services; restart the cluster");
            return -ENOSPC;
        }
        places[i] = records_service_number(supervisor->records, record);
        if (places[i] < count && supervisor->units[places[i]].removed) {
            snprintf(why, why_size, "service %s is still being stopped; try again", name);
            return -EBUSY;
        }
    }
    for (size_t i = 0; i < next->service_count; i++)
        if (count <= places[i])
            count = places[i] + 1;
    return topology_place(next, places, count, supervisor->topology);
}

static bool place_is_new(const struct reload *reload, size_t place)
{
    return place >= reload->before->service_count;
}

/* Is the service of that place one that the topology in use has not? */
static bool service_is_new(const struct reload *reload, size_t place)
{
    return !reload->next->services[place].absent &&
           (place_is_new(reload, place) || reload->before->services[place].absent);
}

/* Records that were taken for services that will not come. */
static void records_return(const struct reload *reload)
{
    const struct supervisor *supervisor = reload->supervisor;
    for (size_t i = 0; i < reload->next->service_count; i++) {
        const char *name = reload->next->services[i].name;
        struct service_record *record =
            name[0] ? records_service_find(supervisor->records, name) : NULL;
        if (record && !table_get(supervisor->names, name) &&
            !supervisor->units[records_service_number(supervisor->records, record)].removed)
            records_service_drop(supervisor->records, record);
    }
}

static bool home_is_taken(const struct supervisor *supervisor, uint32_t home, size_t but)
{
    for (size_t i = 0; i < supervisor->services_max; i++)
        if (i != but && supervisor->homes[i] == home)
            return true;
    return false;
}

/* Services that are there keep their homes; new ones get those that are theirs by name, unless one
 * that is there has it. */
static int homes_find(struct reload *reload)
{
    const struct supervisor *supervisor = reload->supervisor;
    size_t count = reload->next->service_count;
    reload->homes = calloc(count + 1, sizeof *reload->homes);
    if (!reload->homes)
        return -ENOMEM;
    addresses_homes(reload->next, reload->homes);
    for (size_t i = 0; i < count; i++) {
        if (!service_is_new(reload, i))
            reload->homes[i] = supervisor->homes[i];
        else
            while (home_is_taken(supervisor, reload->homes[i], i))
                reload->homes[i]++;
    }
    return 0;
}

static int tables_make(struct reload *reload)
{
    const struct topology *next = reload->next;
    reload->names = table_new();
    reload->users = links_users_new(next);
    reload->listeners = links_listeners_new(next);
    reload->past = past_new();
    int error = reload->names && reload->users && reload->listeners && reload->past ? 0 : -ENOMEM;
    for (size_t i = 0; !error && i < next->service_count; i++)
        if (!next->services[i].absent)
            error = table_add(reload->names, next->services[i].name, &next->services[i], NULL);
    return error;
}

static int scales_check(const struct reload *reload, char *why, size_t why_size)
{
    const struct supervisor *supervisor = reload->supervisor;
    uint64_t more = 0;
    for (size_t i = 0; i < reload->next->service_count; i++) {
        const struct service *service = &reload->next->services[i];
        uint32_t has = service_is_new(reload, i) ? 0 : supervisor->units[i].instance_count;
        if (service->absent)
            continue;
        more += service->instances > has ? service->instances - has : 0;
        if (!service_is_new(reload, i) &&
            unit_scale_check(&supervisor->units[i], service->instances) == -ERANGE) {
            snprintf(why, why_size,
                     "service %s cannot have %u instances: its addresses are given out; restart "
                     "the cluster",
                     service->name, service->instances);
            return -ERANGE;
        }
    }
    if (more <= supervisor_slots_free(supervisor))
        return 0;
    snprintf(why, why_size, "so many more instances (%llu) cannot be had before a restart",
             (unsigned long long)more);
    return -ENOSPC;
}

static int units_make(struct reload *reload, char *why, size_t why_size)
{
    struct supervisor *supervisor = reload->supervisor;
    for (; reload->inited < reload->next->service_count; reload->inited++) {
        size_t place = reload->inited;
        const struct service *service = &reload->next->services[place];
        struct unit *unit = &supervisor->units[place];
        if (!service_is_new(reload, place))
            continue;
        supervisor->homes[place] = reload->homes[place];
        int error = unit_init(unit, supervisor, service);
        unit->ended = supervisor->ending;
        if (!error)
            continue;
        unit_blocks_give(unit);
        unit_done(unit);
        unit_clear(unit, supervisor, service);
        supervisor->homes[place] = 0;
        snprintf(why, why_size, "service %s: %s", service->name, strerror(-error));
        return error;
    }
    return 0;
}

/* The parts of a preparation that need nobody else. */
static int reload_prepare(struct reload *reload, char *why, size_t why_size)
{
    struct steering *steering = reload->supervisor->steering;
    int error = places_find(reload, why, why_size);
    if (!error)
        error = homes_find(reload);
    if (!error)
        error = tables_make(reload);
    if (!error)
        error = scales_check(reload, why, why_size);
    if (!error) {
        reload->opened = true;
        error = steering->operations->open(steering, reload->next, reload->homes, why, why_size);
    }
    return error ? error : units_make(reload, why, why_size);
}

/* ---- giving up --------------------------------------------------------------------------------
 */

static void reload_free(struct reload *reload)
{
    reload->supervisor->reload = NULL;
    difference_free(reload->difference);
    table_free(reload->names);
    links_free(reload->users);
    links_free(reload->listeners);
    free(reload->homes);
    past_free(reload->past);
    fd_drop(&reload->bundle_fd);
    topology_free(reload->next);
    free(reload);
}

/* As if it had not been tried. */
static void reload_undo(struct reload *reload)
{
    struct supervisor *supervisor = reload->supervisor;
    front_abandon(supervisor);
    for (size_t place = 0; place < reload->inited; place++) {
        if (!service_is_new(reload, place))
            continue;
        struct unit *unit = &supervisor->units[place];
        bool there = place < supervisor->topology->service_count;
        unit_blocks_give(unit);
        unit_done(unit);
        unit_clear(unit, supervisor, there ? &supervisor->topology->services[place] : NULL);
        supervisor->homes[place] = 0;
    }
    if (reload->opened)
        supervisor->steering->operations->abandon(supervisor->steering, reload->next);
    records_return(reload);
    reload_free(reload);
}

/* ---- the one step -----------------------------------------------------------------------------
 */

static bool is_direct(const struct listener *listener)
{
    return listener && listener->path == LISTENER_DIRECT;
}

/* Without BPF a socket is bound where its listener says, and a relayed UDP socket always is bound
 * to its instance's own address: its program must bind it anew. */
static void service_note_move(const struct reload *reload, const struct change *change,
                              uint32_t service)
{
    struct supervisor *supervisor = reload->supervisor;
    bool bpf = supervisor->steering->operations->gate != NULL;
    if (service >= reload->before->service_count || reload->before->services[service].absent)
        return;
    bool direct = is_direct(change->listener) || is_direct(change->listener_was);
    supervisor->units[service].outdated |=
        (direct && !bpf) || topology_udp_is_relayed(reload->before, service) !=
                                topology_udp_is_relayed(reload->next, service);
}

/* A port that the gateway gets or gives back is one that the programs may have. */
static bool port_changes_hands(const struct reload *reload, const struct unit *unit)
{
    if (reload->supervisor->steering->operations->gate)
        return false;
    for (size_t i = 0; i < unit->port_count; i++)
        if (topology_port_is_gated(reload->before, unit->ports[i].protocol, unit->ports[i].port) !=
            topology_port_is_gated(reload->next, unit->ports[i].protocol, unit->ports[i].port))
            return true;
    return false;
}

static void units_note_moves(const struct reload *reload)
{
    const struct difference *difference = reload->difference;
    struct unit *units = reload->supervisor->units;
    bool any = false;
    for (size_t i = 0; i < difference->count; i++) {
        const struct change *change = &difference->changes[i];
        if (change->listener)
            service_note_move(reload, change, change->listener->service);
        if (change->listener_was)
            service_note_move(reload, change, change->listener_was->service);
        any |= change->listener || change->listener_was;
    }
    for (size_t i = 0; any && i < reload->before->service_count; i++)
        units[i].outdated |=
            !reload->before->services[i].absent && port_changes_hands(reload, &units[i]);
}

static void unit_switch(const struct reload *reload, size_t place)
{
    struct supervisor *supervisor = reload->supervisor;
    struct unit *unit = &supervisor->units[place];
    const struct service *now = &reload->next->services[place];
    if (service_is_new(reload, place)) {
        supervisor->unsettled++;
        unit_fill(unit); /* idle for now, and to be seen in `status` */
        supervisor_note_change(supervisor, unit);
        return;
    }
    if (place_is_new(reload, place)) { /* between others, and nobody's */
        unit_clear(unit, supervisor, now);
        return;
    }
    const struct service *was = &reload->before->services[place];
    if (was->absent) {
        unit->service = now;
        return;
    }
    if (now->absent) {
        unit_remove(unit, now);
        return;
    }
    unit_adapt(unit, now, was);
    bool moved = unit->outdated && now->definition == was->definition;
    unit->outdated &= !unit->begun; /* what has not begun is restarted when it does */
    if (moved) {
        const struct rollout_plan plan = rolling_plan(unit);
        rolling_begin(unit, &plan, "its sockets must be bound elsewhere");
    }
}

/* From the topology in use to the next: what is prepared is enough, nothing here can fail. */
static void reload_commit(struct reload *reload)
{
    struct supervisor *supervisor = reload->supervisor;
    units_note_moves(reload);
    supervisor->steering->operations->use(supervisor->steering, reload->next);
    front_commit(supervisor->front, reload->next);
    struct links *users = supervisor->users, *listeners = supervisor->listeners;
    struct table *names = supervisor->names;
    supervisor->users = reload->users;
    supervisor->listeners = reload->listeners;
    supervisor->names = reload->names;
    supervisor->topology = reload->next;
    for (size_t i = 0; i < reload->next->service_count; i++)
        unit_switch(reload, i);
    supervisor->begin_next = 0;
    supervisor->ready_told = false;
    supervisor->generation = ++records_gateway(supervisor->records)->generation;
    scaling_settle(supervisor);
    log_info("reloaded", "generation=%u changes=%zu", supervisor->generation,
             reload->difference->count);
    past_add(supervisor, reload->past, reload->before, supervisor->generation - 1,
             supervisor->bundle_fd);
    supervisor->bundle_fd = fd_take(&reload->bundle_fd);
    links_free(users);
    links_free(listeners);
    table_free(names);
    reload->users = reload->listeners = NULL;
    reload->names = NULL;
    reload->past = NULL;
    reload->next = NULL;
    past_sweep(supervisor);
    supervisor_note_change(supervisor, NULL);
}

static void reload_tell(struct reload *reload, int error, const char *why)
{
    struct supervisor *supervisor = reload->supervisor;
    reload_done *done = reload->done;
    void *owner = reload->owner;
    char text[1024];
    snprintf(text, sizeof text, "%s", why);
    if (error) {
        log_warn("not-reloaded", "why=\"%s\"", text);
        reload_undo(reload);
        supervisor_note_change(supervisor, NULL);
    } else {
        reload_commit(reload);
        reload_free(reload);
    }
    if (done)
        done(owner, error, text);
}

static void gateway_prepared(void *owner, int error, const char *why)
{
    char text[1024];
    snprintf(text, sizeof text, "the gateway: %s", why);
    reload_tell(owner, error, error ? text : "");
}

/* ---- the beginning ----------------------------------------------------------------------------
 */

static int reload_begin(struct reload *reload, int *bundle_fd, char *why, size_t why_size)
{
    struct supervisor *supervisor = reload->supervisor;
    const struct change *refused = difference_find(reload->difference, CHANGE_REFUSED);
    if (refused) {
        snprintf(why, why_size, "%s cannot change while the cluster runs", refused->what);
        return -EINVAL;
    }
    int error = reload_prepare(reload, why, why_size);
    return error ? error
                 : front_prepare(supervisor, reload->next, supervisor->generation + 1,
                                 fd_take(bundle_fd), gateway_prepared, reload, why, why_size);
}

/* Takes topology, difference and bundle over. */
static int reload_start(struct supervisor *supervisor, struct topology *next,
                        struct difference *difference, int bundle_fd, reload_done *done,
                        void *owner, char *why, size_t why_size)
{
    scoped_fd int bundle = bundle_fd;
    struct reload *reload =
        supervisor->reload || supervisor->ending ? NULL : calloc(1, sizeof *reload);
    if (!reload) {
        topology_free(next);
        difference_free(difference);
        snprintf(why, why_size, "%s",
                 supervisor->ending   ? "the cluster is going down"
                 : supervisor->reload ? "another reload is under way"
                                      : "no memory");
        return -EBUSY;
    }
    *reload = (struct reload){.supervisor = supervisor,
                              .before = supervisor->topology,
                              .next = next,
                              .difference = difference,
                              .bundle_fd = fcntl(bundle, F_DUPFD_CLOEXEC, 0),
                              .done = done,
                              .owner = owner};
    supervisor->reload = reload;
    supervisor_note_change(supervisor, NULL);
    why[0] = 0;
    int error = reload_begin(reload, &bundle, why, why_size);
    if (error < 0) {
        if (!why[0])
            snprintf(why, why_size, "%s", strerror(-error));
        reload_undo(reload);
        return error;
    }
    if (error == 1) /* there is nobody to be waited for */
        reload_tell(reload, 0, "");
    return 0;
}

void reload_disown(struct supervisor *supervisor, void *owner)
{
    if (supervisor->reload && supervisor->reload->owner == owner)
        supervisor->reload->done = NULL;
}

void reload_cancel(struct supervisor *supervisor)
{
    if (supervisor->reload)
        reload_tell(supervisor->reload, -ECANCELED, "the cluster is going down");
}

/* ---- from a file -------------------------------------------------------------------------------
 */

static struct topology *file_load(const struct supervisor *supervisor, const char *path,
                                  int *ret_bundle, FILE *out)
{
    struct diagnostics *diagnostics = diagnostics_new();
    struct topology *topology =
        diagnostics ? loading_file(path, supervisor->options.name, diagnostics, ret_bundle) : NULL;
    if (diagnostics && (diagnostics_errors(diagnostics) || diagnostics_warnings(diagnostics)))
        diagnostics_print(diagnostics, out, false);
    diagnostics_free(diagnostics);
    return topology;
}

int reload_file(struct supervisor *supervisor, const char *path, bool dry, reload_done *done,
                void *owner, FILE *out, char *why, size_t why_size)
{
    scoped_fd int bundle = -1;
    const char *file = path ? path : supervisor->topology->file;
    if (!file[0]) {
        snprintf(why, why_size, "this cluster was started without a file");
        return -ENOENT;
    }
    struct topology *next = file_load(supervisor, file, &bundle, out);
    if (!next) {
        snprintf(why, why_size, "%s: nothing was changed", file);
        return -EINVAL;
    }
    struct difference *difference = difference_new(supervisor->topology, next);
    if (difference)
        difference_print(difference, out);
    if (difference && !dry)
        return reload_start(supervisor, next, difference, fd_take(&bundle), done, owner, why,
                            why_size);
    topology_free(next);
    snprintf(why, why_size, "no memory");
    int error = difference ? 0 : -ENOMEM;
    difference_free(difference);
    return error;
}
