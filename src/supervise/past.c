#include "supervise/past.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "conf/bundle.h"
#include "supervise/companions.h"
#include "topology/build.h"

#define PAST_PREFIX "past:"

struct past_topology {
    struct past_topology *next;
    struct topology *topology;
    int bundle_fd; /* -1: none */
    bool kept;     /* the keeper holds the bundle, under this name: */
    char name[32];
};

struct past_topology *past_new(void)
{
    struct past_topology *past = calloc(1, sizeof *past);
    if (past)
        past->bundle_fd = -1;
    return past;
}

void past_free(struct past_topology *past)
{
    if (!past)
        return;
    fd_drop(&past->bundle_fd);
    topology_free(past->topology);
    free(past);
}

void past_add(struct supervisor *supervisor, struct past_topology *past, struct topology *topology,
              uint32_t generation, int bundle_fd)
{
    past->topology = topology;
    past->bundle_fd = bundle_fd;
    snprintf(past->name, sizeof past->name, PAST_PREFIX "%u", generation);
    past->next = supervisor->past;
    supervisor->past = past;
}

/* Nobody looks at what an absent service was once its unit is gone. */
static bool names_needed(const struct supervisor *supervisor)
{
    for (size_t i = 0; i < supervisor->topology->service_count; i++)
        if (supervisor->topology->services[i].absent && supervisor->topology->services[i].name[0])
            return true;
    return false;
}

static bool programs_needed(const struct supervisor *supervisor, const struct topology *topology)
{
    for (size_t i = 0; i < supervisor->topology->service_count; i++)
        if (rolling_needs(&supervisor->units[i], topology->services, topology->service_count))
            return true;
    return false;
}

void past_sweep(struct supervisor *supervisor)
{
    bool names = names_needed(supervisor);
    for (struct past_topology **at = &supervisor->past; *at;) {
        struct past_topology *past = *at;
        bool programs = programs_needed(supervisor, past->topology);
        if (programs && !past->kept && past->bundle_fd >= 0) {
            companions_keep(supervisor, past->name, past->bundle_fd);
            past->kept = true;
        }
        if (programs || names) {
            at = &past->next;
            continue;
        }
        if (past->kept)
            companions_forget(supervisor, past->name);
        *at = past->next;
        past_free(past);
    }
}

void past_end(struct supervisor *supervisor)
{
    while (supervisor->past) {
        struct past_topology *past = supervisor->past;
        supervisor->past = past->next;
        past_free(past);
    }
}

/* ---- after a crash ----------------------------------------------------------------------------
 */

static struct topology *topology_of(int bundle_fd)
{
    struct bundle *bundle = NULL;
    struct diagnostics *diagnostics = diagnostics_new();
    struct topology *topology = NULL;
    if (diagnostics && bundle_open(bundle_fd, &bundle) == 0)
        topology = topology_load_bundle(bundle, diagnostics);
    bundle_free(bundle);
    diagnostics_free(diagnostics);
    return topology;
}

static void program_offer(const struct topology *topology, struct unit *unit, uint64_t definition)
{
    const struct service *service = topology_service(topology, unit->service->name);
    struct program *before = &unit->rolling.before;
    if (!service || before->service || service->definition != definition)
        return;
    *before = (struct program){.service = service};
    int error = service->user ? spawn_user_find(service->user, service->group, &before->user) : 0;
    if (error)
        before->service = NULL; /* what ran as somebody who is not there any more is not started */
}

static void programs_offer(struct supervisor *supervisor, const struct topology *topology)
{
    for (uint32_t slot = 0; slot < supervisor->slots_max; slot++) {
        const struct instance_record *record = records_instance(supervisor->records, slot);
        struct unit *unit =
            record->service[0] ? supervisor_unit(supervisor, record->service) : NULL;
        if (unit && record->pid > 0 && record->definition != unit->service->definition)
            program_offer(topology, unit, record->definition);
    }
}

void past_find(struct supervisor *supervisor)
{
    for (uint32_t generation = supervisor->generation; generation > 0; generation--) {
        char name[32];
        snprintf(name, sizeof name, PAST_PREFIX "%u", generation);
        scoped_fd int fd = companions_take_found(supervisor, name);
        struct past_topology *past = fd < 0 ? NULL : past_new();
        struct topology *topology = past ? topology_of(fd) : NULL;
        if (!topology) {
            past_free(past);
            if (fd >= 0)
                log_warn("past-lost", "generation=%u", generation);
            continue;
        }
        programs_offer(supervisor, topology);
        past_add(supervisor, past, topology, generation, fd_take(&fd));
        past->kept = true; /* under that name: it is forgotten with it */
        companions_keep(supervisor, past->name, past->bundle_fd);
    }
    past_sweep(supervisor);
}
