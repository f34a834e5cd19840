#include "upstream/primacy.h"

void claim_take(struct claim *claim, const struct role_answer *answer, struct primacy *primacy)
{
    if (!answer) {
        *claim = (struct claim){0};
        return;
    }
    bool newly =
        answer->role == ROLE_PRIMARY && (claim->role != ROLE_PRIMARY || answer->term > claim->term);
    claim->role = answer->role;
    claim->term = answer->term;
    if (newly)
        claim->since = ++primacy->sequence;
}

uint32_t primacy_judge(struct primacy *primacy, struct claim *const *claims, uint32_t count)
{
    uint32_t first = PRIMACY_NOBODY;
    bool known = false;
    for (uint32_t i = 0; i < count; i++) {
        const struct claim *claim = claims[i];
        if (!claim)
            continue;
        known |= claim->role != ROLE_NONE;
        if (claim->role == ROLE_PRIMARY && claim->term > primacy->term_max)
            primacy->term_max = claim->term;
    }
    if (!known)
        primacy->term_max = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct claim *claim = claims[i];
        if (!claim || claim->role != ROLE_PRIMARY || claim->term < primacy->term_max)
            continue;
        if (first == PRIMACY_NOBODY || claim->since > claims[first]->since)
            first = i;
    }
    return first;
}
