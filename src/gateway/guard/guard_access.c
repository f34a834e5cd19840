#include "gateway/guard/guard.h"

#include "gateway/core/networks.h"
#include "gateway/http/requester.h"

/* Clients without an address (Unix sockets) are of no network, so only `all` can speak of them:
 * they are asked for as the address of nobody. */
enum guard_answer guard_access(struct exchange *exchange, const struct guard *guard)
{
    union client_address client;
    requester_client(exchange, &client);
    if (networks_allow(guard->access, &client.any))
        return GUARD_PASSES;
    return guard_refuse(exchange, guard, 403, NULL, NULL, 0);
}
