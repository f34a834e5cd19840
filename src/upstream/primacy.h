/* Primacy: which of a service's instances, or of its remote endpoints, is the primary, when more
 * than one says that it is, as after a failure that only some have seen. Pure.
 *
 * Whose term is higher is the primary; among equals (or where no terms are known) who newly says
 * so. A term that is lower than one that was seen counts nothing, so that a primary of before,
 * which comes back and knows of nothing, gets no writes even while the new one is away; for as long
 * as the role of anybody is known. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "topology/endpoint_role.h"
#include "upstream/role_answer.h"

struct claim {               /* what one says of itself */
    enum endpoint_role role; /* ROLE_NONE, ROLE_PRIMARY or ROLE_REPLICA */
    uint32_t term;           /* 0: not known */
    uint64_t since;          /* in the order in which primaries said so */
};

struct primacy { /* of a service */
    uint64_t sequence;
    uint32_t term_max; /* seen */
};

enum { PRIMACY_NOBODY = UINT32_MAX };

/* Its newest answer; NULL: its role is not known any more. */
void claim_take(struct claim *claim, const struct role_answer *answer, struct primacy *primacy);

/* The index of the primary; PRIMACY_NOBODY. NULL in `claims`: nobody stands there. */
uint32_t primacy_judge(struct primacy *primacy, struct claim *const *claims, uint32_t count);

/* What one is, by its claim and by who is the primary. */
static inline enum endpoint_role claim_role(const struct claim *claim, bool primary)
{
    if (claim->role != ROLE_PRIMARY)
        return claim->role;
    return primary ? ROLE_PRIMARY : ROLE_DEPOSED;
}
