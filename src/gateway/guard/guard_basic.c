#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/guard/credentials.h"
#include "gateway/guard/guard.h"
#include "gateway/guard/passwords.h"
#include "gateway/http/bump.h"

enum { CHALLENGE_BYTES = 192 };

struct asking { /* in the exchange's arena, while the helpers are at it */
    struct exchange *exchange;
    const struct guard *guard;
    struct password_wait *wait;
    char user[CREDENTIALS_USER_BYTES_MAX + 1];
};

static enum guard_answer challenge(struct exchange *exchange, const struct guard *guard,
                                   const char *why)
{
    char text[CHALLENGE_BYTES];
    int length =
        snprintf(text, sizeof text, "Basic realm=\"%s\", charset=\"UTF-8\"", guard->basic->realm);
    const struct field field = {.name = SLICE("WWW-Authenticate"),
                                .value = {text, (uint32_t)length}};
    return guard_refuse(exchange, guard, 401, why, &field, 1);
}

static int user_compare(const void *name, const void *user)
{
    return strcmp(name, ((const struct guard_user *)user)->name);
}

static const char *hash_find(const struct guard_basic *basic, const char *name)
{
    const struct guard_user *user =
        bsearch(name, basic->users, basic->user_count, sizeof *basic->users, user_compare);
    return user ? user->hash : NULL;
}

static enum guard_answer busy(struct exchange *exchange, const struct guard *guard)
{
    return guard_fail(exchange, guard, 503, BLAME_ENGINX, "auth basic: too many passwords at once");
}

static bool user_keep(struct exchange *exchange, const char *user)
{
    size_t length = strlen(user);
    const char *copy = bump_copy(exchange->arena, user, length);
    if (copy)
        exchange->guarded->user = (struct slice){copy, (uint32_t)length};
    return copy != NULL;
}

/* ---- when the helpers have to be asked --------------------------------------------------------
 */

static void answered(void *owner, bool right)
{
    struct asking *asking = owner;
    struct exchange *exchange = asking->exchange;
    exchange->guarded->abort = NULL;
    if (!right)
        challenge(exchange, asking->guard, "auth basic: a wrong name or password");
    else if (!user_keep(exchange, asking->user))
        busy(exchange, asking->guard);
    else
        guard_go_on(exchange);
}

static void abort_asking(struct exchange *exchange)
{
    struct asking *asking = exchange->guarded->own;
    passwords_cancel(asking->wait);
}

static enum guard_answer ask(struct exchange *exchange, const struct guard *guard,
                             const struct credentials *credentials)
{
    struct asking *asking = bump_alloc(exchange->arena, sizeof *asking);
    if (!asking)
        return busy(exchange, guard);
    *asking = (struct asking){.exchange = exchange, .guard = guard};
    memcpy(asking->user, credentials->user, sizeof asking->user);
    const struct guard_basic *basic = guard->basic;
    const struct password_question question = {
        .user = credentials->user,
        .password = credentials->password,
        .hash = hash_find(basic, credentials->user),
        .like = basic->user_count ? basic->users[0].hash : NULL,
        .answer = answered,
        .owner = asking,
    };
    switch (passwords_ask(exchange->worker, &question, &asking->wait)) {
    case PASSWORD_RIGHT:
        return user_keep(exchange, credentials->user) ? GUARD_PASSES : busy(exchange, guard);
    case PASSWORD_WRONG:
        return challenge(exchange, guard, "auth basic: a wrong name or password");
    case PASSWORD_BUSY:
        return busy(exchange, guard);
    case PASSWORD_WAITS:
        break;
    }
    exchange->guarded->own = asking;
    exchange->guarded->abort = abort_asking;
    exchange->codec->watch(exchange);
    return GUARD_WAITS;
}

enum guard_answer guard_basic(struct exchange *exchange, const struct guard *guard)
{
    struct credentials credentials;
    struct slice text;
    if (!credentials_find(&exchange->request, "Basic", &text))
        return challenge(exchange, guard, "auth basic: no credentials");
    if (!credentials_parse(text, &credentials))
        return challenge(exchange, guard, "auth basic: broken credentials");
    enum guard_answer answer = ask(exchange, guard, &credentials);
    explicit_bzero(&credentials, sizeof credentials);
    return answer;
}
