/* JSON Web Tokens (RFC 7519), signed (RFC 7515), verified: signature, times, who made it for whom.
 * Bounded: JWT_BYTES_MAX. Pure, but for the arena. */
#pragma once

#include "gateway/guard/key_set.h"
#include "gateway/http/bump.h"
#include "gateway/http/guarded.h"
#include "topology/guard.h"

enum {
    JWT_BYTES_MAX = 16 * 1024,
    JWT_CLAIMS_MAX = 64, /* that become variables */
    JWT_CLAIM_DEPTH_MAX = 4,
    JWT_TRIES_MAX = 8, /* keys that a token without `kid` is tried with */
};

enum jwt_result {
    JWT_GOOD,
    JWT_BAD,         /* 401 */
    JWT_UNKNOWN_KEY, /* the same, but a newer set may have it */
    JWT_NOT_ENOUGH,  /* it is good, but lacks a claim: 403 */
};

/* `rules`: what the token must say; its keys are not looked at. `now_s` since 1970. GOOD: the
 * claims in the arena. Else *ret_why, static. */
enum jwt_result jwt_verify(const struct key_set *keys, const struct guard_jwt *rules,
                           struct slice token, uint64_t now_s, struct bump *arena,
                           const struct guard_claim **ret_claims, uint32_t *ret_count,
                           const char **ret_why);
