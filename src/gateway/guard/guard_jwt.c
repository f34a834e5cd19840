#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "gateway/core/generation.h"
#include "gateway/guard/credentials.h"
#include "gateway/guard/guard.h"
#include "gateway/guard/jwks.h"
#include "gateway/guard/jwt.h"
#include "gateway/http/bump.h"

enum { CHALLENGE_BYTES = 256, MS_PER_S = 1000 };

struct asking { /* in the exchange's arena */
    struct exchange *exchange;
    const struct guard *guard;
    struct jwks_wait wait; /* first of those that have a service */
    struct slice token;
    bool newer; /* the set that was there has not its key */
};

static struct asking *asking_of(struct jwks_wait *wait)
{
    return (struct asking *)(void *)((char *)wait - offsetof(struct asking, wait));
}

/* RFC 6750 §3. */
static enum guard_answer challenge(struct exchange *exchange, const struct guard *guard,
                                   uint16_t status, const char *error, const char *why)
{
    char text[CHALLENGE_BYTES];
    int length = snprintf(text, sizeof text, "Bearer realm=\"%s\"%s%s%s", guard->jwt->realm,
                          error ? ", error=\"" : "", error ? error : "", error ? "\"" : "");
    const struct field field = {.name = SLICE("WWW-Authenticate"),
                                .value = {text, (uint32_t)length}};
    return guard_refuse(exchange, guard, status, why, &field, 1);
}

static void user_take(struct guarded *guarded)
{
    for (uint32_t i = 0; i < guarded->claim_count; i++)
        if (slice_is(guarded->claims[i].name, "sub"))
            guarded->user = guarded->claims[i].value;
}

static enum jwt_result verify(struct asking *asking, const struct key_set *keys, const char **why)
{
    struct exchange *exchange = asking->exchange;
    const struct guard_jwt *jwt = asking->guard->jwt;
    struct guarded *guarded = exchange->guarded;
    enum jwt_result result =
        jwt_verify(keys, jwt, asking->token, clock_wall_ms() / MS_PER_S, exchange->arena,
                   &guarded->claims, &guarded->claim_count, why);
    if (result == JWT_GOOD)
        user_take(guarded);
    return result;
}

static enum guard_answer answer(struct asking *asking, enum jwt_result result, const char *why)
{
    struct exchange *exchange = asking->exchange;
    if (result == JWT_GOOD)
        return GUARD_PASSES;
    if (result == JWT_NOT_ENOUGH)
        return challenge(exchange, asking->guard, 403, "insufficient_scope", why);
    return challenge(exchange, asking->guard, 401, "invalid_token", why);
}

/* ---- keys that a service has ------------------------------------------------------------------
 */

static enum guard_answer ask(struct asking *asking);

static void fetched(struct jwks_wait *wait)
{
    struct asking *asking = asking_of(wait);
    struct exchange *exchange = asking->exchange;
    exchange->guarded->abort = NULL;
    if (ask(asking) == GUARD_PASSES)
        guard_go_on(exchange);
}

static void abort_asking(struct exchange *exchange)
{
    struct asking *asking = exchange->guarded->own;
    jwks_cancel(&asking->wait);
}

static enum guard_answer wait_begin(struct asking *asking)
{
    struct exchange *exchange = asking->exchange;
    exchange->guarded->own = asking;
    exchange->guarded->abort = abort_asking;
    exchange->codec->watch(exchange);
    return GUARD_WAITS;
}

static enum guard_answer ask(struct asking *asking)
{
    struct exchange *exchange = asking->exchange;
    const struct guard *guard = asking->guard;
    const struct key_set *keys;
    const char *why;
    switch (jwks_find(exchange, guard->jwt, false, &asking->wait, &keys)) {
    case JWKS_WAITS:
        return wait_begin(asking);
    case JWKS_NONE:
        return guard_fail(exchange, guard, 503, BLAME_UPSTREAM, "auth jwt: no keys can be had");
    case JWKS_THERE:
        break;
    }
    enum jwt_result result = verify(asking, keys, &why);
    if (result != JWT_UNKNOWN_KEY || asking->newer)
        return answer(asking, result, why);
    asking->newer = true; /* once */
    if (jwks_find(exchange, guard->jwt, true, &asking->wait, &keys) == JWKS_WAITS)
        return wait_begin(asking);
    return answer(asking, result, why);
}

enum guard_answer guard_jwt(struct exchange *exchange, const struct guard *guard)
{
    const struct guard_jwt *jwt = guard->jwt;
    struct asking *asking = bump_alloc(exchange->arena, sizeof *asking);
    const char *why = NULL;
    if (!asking)
        return guard_fail(exchange, guard, 503, BLAME_ENGINX, "no memory for a token");
    *asking = (struct asking){.exchange = exchange, .guard = guard, .wait = {.fetched = fetched}};
    if (!credentials_find(&exchange->request, "Bearer", &asking->token))
        return challenge(exchange, guard, 401, NULL, "auth jwt: no token");
    if (jwt->route)
        return ask(asking);
    const struct key_set *keys = exchange->use->generation->key_sets[jwt->number];
    enum jwt_result result = verify(asking, keys, &why);
    return answer(asking, result, why);
}
