#include "gateway/core/networks.h"

#include <netinet/in.h>
#include <string.h>

static bool address_of(const struct sockaddr *peer, uint8_t ret_address[16])
{
    if (peer->sa_family == AF_INET) {
        memset(ret_address, 0, 10);
        ret_address[10] = ret_address[11] = 0xff;
        memcpy(ret_address + 12, &((const struct sockaddr_in *)peer)->sin_addr, 4);
        return true;
    }
    if (peer->sa_family != AF_INET6)
        return false;
    memcpy(ret_address, &((const struct sockaddr_in6 *)peer)->sin6_addr, 16);
    return true;
}

static bool network_contains(const struct network *network, const uint8_t address[16])
{
    unsigned bytes = network->length / 8;
    unsigned bits = network->length % 8;
    if (memcmp(network->address, address, bytes) != 0)
        return false;
    if (!bits)
        return true;
    uint8_t mask = (uint8_t)(0xff << (8 - bits));
    return ((network->address[bytes] ^ address[bytes]) & mask) == 0;
}

bool networks_allow(const struct access_list *access, const struct sockaddr *peer)
{
    uint8_t address[16];
    if (!address_of(peer, address))
        memset(address, 0, sizeof address);
    return access_list_find(access, address) != ACCESS_DENY;
}

bool networks_contain(const struct network *networks, size_t count, const struct sockaddr *peer)
{
    uint8_t address[16];
    if (!count || !address_of(peer, address))
        return false;
    for (size_t i = 0; i < count; i++)
        if (network_contains(&networks[i], address))
            return true;
    return false;
}
