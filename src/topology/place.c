#include "topology/place.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* ---- references -------------------------------------------------------------------------------
 */

/* It lies in the topology's own arena, and nobody has seen it yet. */
static void refer(const uint32_t *places, const uint32_t *reference)
{
    if (*reference != UINT32_MAX)
        *(uint32_t *)(uintptr_t)reference = places[*reference];
}

static void site_refer(const uint32_t *places, const struct site *site)
{
    for (size_t i = 0; i < site->host_count; i++)
        for (size_t k = 0; k < site->hosts[i].route_count; k++) {
            const struct route *route = &site->hosts[i].routes[k];
            for (size_t m = 0; m < route->target_count; m++)
                refer(places, &route->targets[m].service);
        }
    for (size_t i = 0; i < site->own_route_count; i++)
        refer(places, &site->own_routes[i]->targets->service);
}

static void references_move(struct topology *topology, const uint32_t *places)
{
    for (size_t i = 0; i < topology->start_count; i++)
        refer(places, &topology->start_order[i]);
    for (size_t i = 0; i < topology->service_count; i++)
        for (size_t k = 0; k < topology->services[i].uses_count; k++)
            refer(places, &topology->services[i].uses[k]);
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        refer(places, &listener->service);
        for (size_t k = 0; k < listener->sni_count; k++)
            refer(places, &listener->snis[k].service);
        if (listener->site)
            site_refer(places, listener->site);
    }
}

/* What is left of a service that is gone: enough to end it in order. */
static struct service absent_of(const struct service *was)
{
    struct service absent = *was;
    absent.absent = true;
    absent.instances = 0;
    absent.publish = false;
    absent.uses_count = 0;
    return absent;
}

static void services_move(const struct topology *topology, const uint32_t *places, size_t count,
                          const struct topology *before, struct service *services)
{
    for (size_t i = 0; i < count; i++)
        services[i] = before && i < before->service_count
                          ? absent_of(&before->services[i])
                          : (struct service){.index = (uint32_t)i, .name = "", .absent = true};
    for (size_t i = 0; i < topology->service_count; i++) {
        assert(places[i] < count && services[places[i]].absent);
        services[places[i]] = topology->services[i];
        services[places[i]].index = places[i];
    }
}

int topology_place(struct topology *topology, const uint32_t *places, size_t count,
                   const struct topology *before)
{
    jmp_buf full;
    arena_trap_set(topology->arena, &full);
    if (setjmp(full))
        return -ENOMEM;
    struct service *services = arena_array(topology->arena, count + 1, sizeof *services);
    references_move(topology, places);
    services_move(topology, places, count, before, services);
    topology->services = services;
    topology->service_count = count;
    return 0;
}
