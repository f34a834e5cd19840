#include "topology/links.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct links {
    size_t service_count;
    size_t *ends; /* by service: where its list ends, which is where the next one's begins */
    uint32_t *numbers;
};

static struct links *links_new(size_t service_count, size_t number_count)
{
    struct links *links = calloc(1, sizeof *links);
    if (!links)
        return NULL;
    links->service_count = service_count;
    links->ends = calloc(service_count + 1, sizeof *links->ends);
    links->numbers = calloc(number_count + 1, sizeof *links->numbers);
    if (links->ends && links->numbers)
        return links;
    links_free(links);
    return NULL;
}

/* Lengths become beginnings; putting moves each beginning on, and leaves it at the list's end. */
static void links_arrange(struct links *links)
{
    size_t begin = 0;
    for (size_t i = 0; i < links->service_count; i++) {
        size_t length = links->ends[i];
        links->ends[i] = begin;
        begin += length;
    }
}

static void links_put(struct links *links, uint32_t service, size_t number)
{
    links->numbers[links->ends[service]++] = (uint32_t)number;
}

struct links *links_users_new(const struct topology *topology)
{
    size_t count = 0;
    for (size_t i = 0; i < topology->service_count; i++)
        count += topology->services[i].uses_count;
    struct links *links = links_new(topology->service_count, count);
    if (!links)
        return NULL;
    for (size_t i = 0; i < topology->service_count; i++)
        for (size_t k = 0; k < topology->services[i].uses_count; k++)
            links->ends[topology->services[i].uses[k]]++;
    links_arrange(links);
    for (size_t i = 0; i < topology->service_count; i++)
        for (size_t k = 0; k < topology->services[i].uses_count; k++)
            links_put(links, topology->services[i].uses[k], i);
    return links;
}

/* Calls for each service that the listener leads to, some more than once. */
typedef void service_call(void *owner, uint32_t service);

static void site_services_each(const struct site *site, service_call *call, void *owner)
{
    for (size_t i = 0; i < site->host_count; i++)
        for (size_t k = 0; k < site->hosts[i].route_count; k++) {
            const struct route *route = &site->hosts[i].routes[k];
            for (size_t m = 0; m < route->target_count; m++)
                call(owner, route->targets[m].service);
        }
}

static void services_each(const struct listener *listener, service_call *call, void *owner)
{
    if (listener->service != UINT32_MAX)
        call(owner, listener->service);
    for (size_t i = 0; i < listener->sni_count; i++)
        call(owner, listener->snis[i].service);
    if (listener->site)
        site_services_each(listener->site, call, owner);
}

struct linking { /* one listener being linked */
    struct links *links;
    size_t listener;
    size_t *seen; /* by service: 1 + the last listener that was linked */
    size_t count;
    bool put;
};

static void listener_link(void *owner, uint32_t service)
{
    struct linking *linking = owner;
    if (linking->seen[service] == linking->listener + 1)
        return;
    linking->seen[service] = linking->listener + 1;
    linking->count++;
    if (linking->put)
        links_put(linking->links, service, linking->listener);
    else if (linking->links)
        linking->links->ends[service]++;
}

/* How many links there are; with `links`, each is counted or put into its place. */
static size_t listeners_link(const struct topology *topology, size_t *seen, struct links *links,
                             bool put)
{
    struct linking linking = {.links = links, .seen = seen, .put = put};
    memset(seen, 0, topology->service_count * sizeof *seen);
    for (size_t i = 0; i < topology->listener_count; i++) {
        linking.listener = i;
        services_each(&topology->listeners[i], listener_link, &linking);
    }
    return linking.count;
}

struct links *links_listeners_new(const struct topology *topology)
{
    size_t *seen = calloc(topology->service_count + 1, sizeof *seen);
    if (!seen)
        return NULL;
    struct links *links =
        links_new(topology->service_count, listeners_link(topology, seen, NULL, false));
    if (links) {
        listeners_link(topology, seen, links, false);
        links_arrange(links);
        listeners_link(topology, seen, links, true);
    }
    free(seen);
    return links;
}

void links_free(struct links *links)
{
    if (!links)
        return;
    free(links->ends);
    free(links->numbers);
    free(links);
}

const uint32_t *links_of(const struct links *links, uint32_t service, size_t *ret_count)
{
    assert(service < links->service_count);
    size_t begin = service ? links->ends[service - 1] : 0;
    *ret_count = links->ends[service] - begin;
    return links->numbers + begin;
}
