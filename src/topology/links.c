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

/* The services that a listener leads to, each once; `put` says whether they are counted or noted.
 */
struct leading {
    struct links *links;
    size_t *seen; /* by service: the last listener that it was seen in, plus 1 */
    bool put;
};

static void lead(struct leading *leading, uint32_t service, size_t listener)
{
    if (leading->seen[service] == listener + 1)
        return;
    leading->seen[service] = listener + 1;
    if (leading->put)
        links_put(leading->links, service, listener);
    else
        leading->links->ends[service]++;
}

static void lead_site(struct leading *leading, const struct site *site, size_t listener)
{
    for (size_t i = 0; i < site->host_count; i++)
        for (size_t k = 0; k < site->hosts[i].route_count; k++)
            for (size_t m = 0; m < site->hosts[i].routes[k].target_count; m++)
                lead(leading, site->hosts[i].routes[k].targets[m].service, listener);
    for (size_t i = 0; i < site->own_route_count; i++)
        lead(leading, site->own_routes[i]->targets->service, listener);
}

static void lead_all(struct leading *leading, const struct topology *topology)
{
    memset(leading->seen, 0, topology->service_count * sizeof *leading->seen);
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        if (listener->service != UINT32_MAX)
            lead(leading, listener->service, i);
        for (size_t k = 0; k < listener->sni_count; k++)
            lead(leading, listener->snis[k].service, i);
        if (listener->site)
            lead_site(leading, listener->site, i);
    }
}

/* How many links there are at most. */
static size_t leads_count(const struct topology *topology)
{
    size_t count = topology->listener_count;
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        const struct site *site = listener->site;
        count += listener->sni_count + (site ? site->own_route_count : 0);
        for (size_t k = 0; site && k < site->host_count; k++)
            for (size_t m = 0; m < site->hosts[k].route_count; m++)
                count += site->hosts[k].routes[m].target_count;
    }
    return count;
}

struct links *links_listeners_new(const struct topology *topology)
{
    struct links *links = links_new(topology->service_count, leads_count(topology));
    struct leading leading = {.links = links};
    leading.seen = calloc(topology->service_count + 1, sizeof *leading.seen);
    if (!links || !leading.seen) {
        links_free(links);
        free(leading.seen);
        return NULL;
    }
    lead_all(&leading, topology);
    links_arrange(links);
    leading.put = true;
    lead_all(&leading, topology);
    free(leading.seen);
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
