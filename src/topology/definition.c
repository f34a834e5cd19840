#include "topology/definition.h"

#include "base/table.h"
#include "topology/mark.h"

static void hash_program(uint64_t *hash, const struct topology *topology,
                         const struct service *service)
{
    mark_texts(hash, service->argv, service->argc);
    mark_number(hash, service->shell);
    mark_text(hash, service->directory ? service->directory : topology->directory);
    mark_text(hash, service->user);
    mark_text(hash, service->group);
    mark_texts(hash, service->env, service->env_count);
    mark_number(hash, service->env_clear);
    mark_number(hash, (uint64_t)service->umask);
}

static void hash_bounds(uint64_t *hash, const struct service *service)
{
    mark_number(hash, service->limit_count);
    for (size_t i = 0; i < service->limit_count; i++) {
        mark_number(hash, (uint64_t)service->limits[i].resource);
        mark_number(hash, service->limits[i].value);
    }
    mark_number(hash, service->quota.memory_bytes);
    mark_number(hash, service->quota.cpu_percent);
    mark_number(hash, service->quota.tasks);
}

static void hash_network(uint64_t *hash, const struct topology *topology,
                         const struct service *service)
{
    mark_number(hash, service->listens);
    mark_number(hash, service->port_count);
    for (size_t i = 0; i < service->port_count; i++) {
        mark_number(hash, service->ports[i].port);
        mark_number(hash, service->ports[i].protocol);
        mark_number(hash, service->ports[i].activation);
    }
    /* By name: an index changes when another service comes or goes. */
    mark_number(hash, service->uses_count);
    for (size_t i = 0; i < service->uses_count; i++)
        mark_text(hash, topology->services[service->uses[i]].name);
}

uint64_t service_definition(const struct topology *topology, const struct service *service)
{
    uint64_t hash = hash_seed();
    mark_text(&hash, topology->name);
    mark_text(&hash, service->name);
    mark_text(&hash, service->realm);
    hash_program(&hash, topology, service);
    hash_bounds(&hash, service);
    hash_network(&hash, topology, service);
    return hash;
}
