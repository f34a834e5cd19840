/* Roles: the instances of a service, or its remote endpoints, that are not alike: one of them is
 * the primary, which alone may be written to, the others are replicas of it. Which is which is
 * found by a check (`role …` in a service), and listeners and routes may ask for one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum endpoint_role {
    ROLE_NONE, /* not known (yet) */
    ROLE_PRIMARY,
    ROLE_REPLICA,
    ROLE_DEPOSED, /* it says that it is the primary, and so does another one that counts more */
    ROLE_COUNT,
};

enum role_wish { /* `role=` of a listener or a route; the choices of the table in their order */
                 ROLE_WISH_ANY,
                 ROLE_WISH_PRIMARY,
                 ROLE_WISH_REPLICA,
                 ROLE_WISH_REPLICA_OR_PRIMARY, /* the primary only if no replica can take it */
};
#define ROLE_WISH_CHOICES "primary replica replica-or-primary"

enum role_check {
    ROLE_CHECK_NONE,
    ROLE_CHECK_EXEC,     /* a command that prints it */
    ROLE_CHECK_POSTGRES, /* what follows is network input: the gateway asks */
    ROLE_CHECK_REDIS,
};

static inline bool role_check_by_gateway(enum role_check check)
{
    return check >= ROLE_CHECK_POSTGRES;
}

/* "primary"; NULL for ROLE_NONE. */
static inline const char *endpoint_role_name(enum endpoint_role role)
{
    static const char *const names[ROLE_COUNT] = {
        [ROLE_PRIMARY] = "primary", [ROLE_REPLICA] = "replica", [ROLE_DEPOSED] = "deposed"};
    return role < ROLE_COUNT ? names[role] : NULL;
}

/* May one of this role have what asks for that? */
static inline bool endpoint_role_serves(enum endpoint_role role, enum role_wish wish)
{
    switch (wish) {
    case ROLE_WISH_ANY:
        return true;
    case ROLE_WISH_PRIMARY:
        return role == ROLE_PRIMARY;
    case ROLE_WISH_REPLICA:
        return role == ROLE_REPLICA;
    case ROLE_WISH_REPLICA_OR_PRIMARY:
        return role == ROLE_REPLICA || role == ROLE_PRIMARY;
    }
    return false;
}

/* What it was given as one that serves the wish, it must let go now. What is not known any more is
 * not taken from it, nor does a replica that was promoted lose those who read. */
static inline bool endpoint_role_revokes(enum endpoint_role role, enum role_wish wish)
{
    return wish != ROLE_WISH_ANY && !endpoint_role_serves(role, wish) &&
           (role == ROLE_REPLICA || role == ROLE_DEPOSED);
}
