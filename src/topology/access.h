/* Who may: the rules of `allow` and `deny` that stand in one block, of which the first that matches
 * decides. Compiled when the topology is built: the addresses from one end to the other, cut where
 * the answer changes, so that a search costs the same with three networks and with thirty
 * thousand. A value of a topology; immutable. */
#pragma once

#include <stddef.h>

#include "base/arena.h"
#include "topology/site.h"

enum { ACCESS_RULES_MAX = 200000 }; /* of one block, those of files included */

enum access_verdict { ACCESS_NONE, ACCESS_ALLOW, ACCESS_DENY }; /* NONE: no rule speaks of it */

struct access_rule {
    struct network network;
    enum access_verdict verdict;
};

struct access_segment { /* from this address to the next segment's */
    uint8_t from[16];
    uint8_t verdict;
};

struct access_list {
    const struct access_segment *segments; /* ordered; the first begins with all zeros */
    size_t count;
};

/* In the arena; `scratch` is one whose contents need not live. */
const struct access_list *access_list_make(struct arena *arena, struct arena *scratch,
                                           const struct access_rule *rules, size_t count);
/* IPv4 as ::ffff:a.b.c.d. */
enum access_verdict access_list_find(const struct access_list *list, const uint8_t address[16]);
