#include "control/purge.h"

#include <errno.h>
#include <string.h>

#include "supervise/front.h"

/* Nothing of it is asked for that a configuration does not say: which cache, and what. */
const char *purge_begin(struct supervisor *supervisor, const json_t *request, uint64_t *ret_ticket)
{
    const char *what = json_string_value(json_object_get(request, "what"));
    const char *cache = json_string_value(json_object_get(request, "cache"));
    bool there = !cache && supervisor->topology->cache_count;
    for (size_t i = 0; cache && i < supervisor->topology->cache_count; i++)
        there |= strcmp(supervisor->topology->caches[i].name, cache) == 0;
    if (!there)
        return "there is no such cache";
    int error =
        what ? front_purge(supervisor->front, cache ? cache : "*", what, ret_ticket) : -EINVAL;
    if (error)
        return error == -ENOENT ? "the gateway is not there just now"
                                : "the gateway could not be asked";
    return NULL;
}
