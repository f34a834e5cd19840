#include "topology/definition.h"

#include <string.h>

#include "base/table.h"

static void hash_number(uint64_t *hash, uint64_t number)
{
    unsigned char bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(number >> (8 * i));
    *hash = hash_bytes(bytes, sizeof bytes, *hash);
}

/* With its length, so that ("ab", "c") and ("a", "bc") differ, and none from an empty one. */
static void hash_text(uint64_t *hash, const char *text)
{
    hash_number(hash, text ? strlen(text) : UINT64_MAX);
    if (text)
        *hash = hash_bytes(text, strlen(text), *hash);
}

static void hash_texts(uint64_t *hash, const char *const *texts, size_t count)
{
    hash_number(hash, count);
    for (size_t i = 0; i < count; i++)
        hash_text(hash, texts[i]);
}

static void hash_program(uint64_t *hash, const struct topology *topology,
                         const struct service *service)
{
    hash_texts(hash, service->argv, service->argc);
    hash_number(hash, service->shell);
    hash_text(hash, service->directory ? service->directory : topology->directory);
    hash_text(hash, service->user);
    hash_text(hash, service->group);
    hash_texts(hash, service->env, service->env_count);
    hash_number(hash, service->env_clear);
    hash_number(hash, (uint64_t)service->umask);
}

static void hash_bounds(uint64_t *hash, const struct service *service)
{
    hash_number(hash, service->limit_count);
    for (size_t i = 0; i < service->limit_count; i++) {
        hash_number(hash, (uint64_t)service->limits[i].resource);
        hash_number(hash, service->limits[i].value);
    }
    hash_number(hash, service->quota.memory_bytes);
    if (service->quota.memory_soft_bytes) /* what had none is as it was for older versions */
        hash_number(hash, service->quota.memory_soft_bytes);
    hash_number(hash, service->quota.cpu_percent);
    hash_number(hash, service->quota.tasks);
    if (service->quota.io_weight)
        hash_number(hash, service->quota.io_weight);
}

static void hash_network(uint64_t *hash, const struct topology *topology,
                         const struct service *service)
{
    hash_number(hash, service->listens);
    hash_number(hash, service->port_count);
    for (size_t i = 0; i < service->port_count; i++) {
        hash_number(hash, service->ports[i].port);
        hash_number(hash, service->ports[i].protocol);
        hash_number(hash, service->ports[i].activation);
    }
    /* By name: an index changes when another service comes or goes. */
    hash_number(hash, service->uses_count);
    for (size_t i = 0; i < service->uses_count; i++)
        hash_text(hash, topology->services[service->uses[i]].name);
}

/* What had none is as it was for older versions. What runs after the end is not in it: nothing of
 * an instance that runs depends on it. */
static void hash_steps(uint64_t *hash, const struct service *service)
{
    for (size_t i = 0; i < service->before_start_count; i++) {
        const struct service_step *step = &service->before_start[i];
        size_t count = 0;
        while (step->argv[count])
            count++;
        hash_texts(hash, step->argv, count);
        hash_number(hash, step->once);
    }
}

uint64_t service_definition(const struct topology *topology, const struct service *service)
{
    uint64_t hash = hash_seed();
    hash_text(&hash, topology->name);
    hash_text(&hash, service->name);
    hash_text(&hash, service->realm);
    hash_program(&hash, topology, service);
    hash_bounds(&hash, service);
    hash_network(&hash, topology, service);
    hash_steps(&hash, service);
    return hash;
}
