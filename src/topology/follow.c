#include "topology/follow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/table.h"

enum { NO_PLACE = 0xffffffff };

struct following {
    struct topology *topology;
    const struct topology *before;
    uint32_t *places; /* by the index that it was built with: the one that it gets */
    size_t count;     /* places in all */
};

/* Places of services that were there; the others have none yet. */
static int places_keep(struct following *following)
{
    const struct topology *before = following->before;
    struct table *names = table_new();
    int error = names ? 0 : -ENOMEM;
    for (size_t i = 0; !error && i < before->service_count; i++)
        if (!before->services[i].absent)
            error = table_add(names, before->services[i].name, &before->services[i], NULL);
    for (size_t i = 0; !error && i < following->topology->service_count; i++) {
        const struct service *was = table_get(names, following->topology->services[i].name);
        following->places[i] = was ? was->index : NO_PLACE;
    }
    table_free(names);
    return error;
}

/* The others: where one was that is gone for good, or behind all. */
static void places_give(struct following *following, follow_free *is_free, void *owner)
{
    const struct topology *before = following->before;
    uint32_t hole = 0;
    following->count = before->service_count;
    for (size_t i = 0; i < following->topology->service_count; i++) {
        if (following->places[i] != NO_PLACE)
            continue;
        while (hole < before->service_count &&
               (!before->services[hole].absent || !is_free(owner, hole)))
            hole++;
        following->places[i] =
            hole < before->service_count ? hole++ : (uint32_t)following->count++;
    }
}

/* ---- references -------------------------------------------------------------------------------
 */

static void refer(const struct following *following, const uint32_t *reference)
{
    if (*reference != UINT32_MAX) /* it lies in our own arena, and nobody has seen it yet */
        *(uint32_t *)(uintptr_t)reference = following->places[*reference];
}

static void site_refer(const struct following *following, const struct site *site)
{
    for (size_t i = 0; i < site->host_count; i++)
        for (size_t k = 0; k < site->hosts[i].route_count; k++) {
            const struct route *route = &site->hosts[i].routes[k];
            for (size_t m = 0; m < route->target_count; m++)
                refer(following, &route->targets[m].service);
        }
}

static void references_move(const struct following *following)
{
    struct topology *topology = following->topology;
    for (size_t i = 0; i < topology->start_count; i++)
        refer(following, &topology->start_order[i]);
    for (size_t i = 0; i < topology->service_count; i++)
        for (size_t k = 0; k < topology->services[i].uses_count; k++)
            refer(following, &topology->services[i].uses[k]);
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        refer(following, &listener->service);
        for (size_t k = 0; k < listener->sni_count; k++)
            refer(following, &listener->snis[k].service);
        if (listener->site)
            site_refer(following, listener->site);
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

static void services_move(const struct following *following, struct service *services)
{
    struct topology *topology = following->topology;
    const struct topology *before = following->before;
    for (size_t i = 0; i < before->service_count; i++)
        services[i] = absent_of(&before->services[i]);
    for (size_t i = 0; i < topology->service_count; i++) {
        uint32_t place = following->places[i];
        services[place] = topology->services[i];
        services[place].index = place;
    }
}

int topology_follow(struct topology *topology, const struct topology *before, follow_free *is_free,
                    void *owner)
{
    struct following following = {.topology = topology, .before = before};
    jmp_buf full;
    following.places = calloc(topology->service_count + 1, sizeof *following.places);
    int error = following.places ? places_keep(&following) : -ENOMEM;
    if (error) {
        free(following.places);
        return error;
    }
    places_give(&following, is_free, owner);
    arena_trap_set(topology->arena, &full);
    if (setjmp(full)) {
        free(following.places);
        return -ENOMEM;
    }
    struct service *services =
        arena_array(topology->arena, following.count + 1, sizeof *services);
    references_move(&following);
    services_move(&following, services);
    topology->services = services;
    topology->service_count = following.count;
    free(following.places);
    return 0;
}
