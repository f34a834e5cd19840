#include "topology/links.h"

#include <assert.h>
#include <stdlib.h>

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

struct links *links_listeners_new(const struct topology *topology)
{
    struct links *links = links_new(topology->service_count, topology->listener_count);
    if (!links)
        return NULL;
    for (size_t i = 0; i < topology->listener_count; i++)
        links->ends[topology->listeners[i].service]++;
    links_arrange(links);
    for (size_t i = 0; i < topology->listener_count; i++)
        links_put(links, topology->listeners[i].service, i);
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
