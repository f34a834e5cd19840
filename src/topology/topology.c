#include "topology/topology.h"

#include <string.h>

void topology_free(struct topology *topology)
{
    if (topology)
        arena_free(topology->arena);
}

const struct service *topology_service(const struct topology *topology, const char *name)
{
    for (size_t i = 0; i < topology->service_count; i++)
        if (strcmp(topology->services[i].name, name) == 0)
            return &topology->services[i];
    return NULL;
}

bool topology_needs_gateway(const struct topology *topology)
{
    for (size_t i = 0; i < topology->listener_count; i++)
        if (topology->listeners[i].path != LISTENER_DIRECT)
            return true;
    for (size_t i = 0; i < topology->service_count; i++)
        if (check_by_gateway(topology->services[i].check) ||
            role_check_by_gateway(topology->services[i].role.check))
            return true;
    return false;
}

bool topology_port_is_gated(const struct topology *topology, enum protocol protocol, uint16_t port)
{
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        if (listener->path != LISTENER_DIRECT && listener->protocol == protocol &&
            listener->port == port)
            return true;
    }
    return false;
}

bool topology_udp_is_relayed(const struct topology *topology, uint32_t service)
{
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        if (listener->path != LISTENER_DIRECT && listener->protocol == PROTOCOL_UDP &&
            listener->service == service)
            return true;
    }
    return false;
}

uint16_t service_stated_port(const struct service *service, enum protocol protocol)
{
    for (size_t i = 0; i < service->port_count; i++)
        if (service->ports[i].protocol == protocol)
            return service->ports[i].port;
    return 0;
}

uint16_t listener_target(const struct topology *topology, const struct listener *listener)
{
    if (listener->target_port)
        return listener->target_port;
    if (listener->service == UINT32_MAX) /* each route or name has its own */
        return 0;
    return service_stated_port(&topology->services[listener->service], listener->protocol);
}
