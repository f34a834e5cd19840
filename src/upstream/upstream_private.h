/* What the files of an upstream share: upstream.c (its life), roster.c (who is in it), choose.c
 * (who is next), endpoint.c (using one), low_water.c (what it lets others have), wait.c (those who
 * wait). */
#pragma once

#include "upstream/low_water.h"
#include "upstream/retry_budget.h"
#include "upstream/stash.h"
#include "upstream/upstream.h"

enum {
    ROSTER_MAX = 4096,      /* endpoints under one port: ROTATION_MAX */
    SCAN_MAX = 16,          /* up to so many are compared all; of more, two that chance chose */
    WAIT_POLL_MS = 10,      /* room that other threads make is seen so late at most */
    COMING_GRACE_MS = 1000, /* so long after its last endpoint a service is worth waiting for, since
                               its supervisor may not have said yet that it restarts */
    REFUSED_PAUSE_MS = 250, /* an instance that refused a connection has died, it seems: it is not
                               tried again by the same request before its supervisor had the time
                               to see it */
    EJECT_FACTOR_MAX = 10,
    EWMA_HALF_MS = 2000,
};

struct endpoint_own { /* an endpoint, and what nobody else needs to see of it */
    struct endpoint endpoint;
    LIST_ENTRY(endpoint_own) all;          /* of its upstream, those that left too */
    const struct board_instance *instance; /* NULL: remote */
    bool ill;                              /* of a remote: its check fails */
    enum role_wish wish;                   /* of its roster */
    enum endpoint_role role;
    uint64_t up_ms;          /* of a remote, or after an ejection: slow start */
    uint64_t clock;          /* see choose.c */
    uint64_t others_turn;    /* when others_now was read */
    uint64_t others_now;     /* requests of the other threads */
    uint32_t trials;         /* begun while it was ejected, and not over */
    uint64_t trial_until_ms; /* no other trial before that */
    uint64_t returned_ms;    /* from its last ejection */
    uint64_t refused_ms;     /* when a connect to it failed last; 0: never */
    uint32_t eject_level;    /* ejections in a row */
    bool gathered;           /* while a roster is read anew: it stays */
    bool is_looked_at;       /* by the thread's low_water */
    LIST_ENTRY(endpoint_own) looked_at;
    struct shelf *shelf; /* in the stash, while it is listed; NULL: nothing is shared */
    char texts[];        /* name, host */
};

static inline struct endpoint_own *endpoint_own(struct endpoint *endpoint)
{
    return (struct endpoint_own *)endpoint;
}

struct roster_remote {
    uint32_t place; /* in `resolved` */
    uint32_t version;
};

/* The endpoints of a service under one port. */
struct roster {
    struct roster *next;
    struct upstream *upstream;
    uint16_t port; /* these three are asked for: struct pick */
    bool datagram;
    enum role_wish role;
    bool stale;       /* to be read anew whatever the versions say */
    uint32_t version; /* of the board's service */
    uint32_t changes; /* of `resolved` */
    struct roster_remote *remotes;
    size_t remote_count;
    bool resolving;  /* a name of it was never answered yet */
    uint32_t others; /* that stand, and whose role is another one, or is not known */
    /* In the order of their numbers. */
    struct endpoint_own **endpoints;
    uint32_t count;
    uint64_t clock;
    uint32_t *sequence; /* indexes of endpoints, by their weights; NULL: each once */
    uint32_t sequence_length;
    uint32_t cursor;
    uint64_t *name_hashes; /* of the endpoints, side by side; NULL: not `balance hash` */
    bool weighted;         /* the weights differ */
};

TAILQ_HEAD(waiters, waiter);

struct upstream {
    struct upstream_place place;
    const struct service *service;
    uint32_t number; /* on the board; BOARD_NONE: it is not there */
    uint32_t row;    /* in the tally */
    struct tally_traffic *tally;
    struct shared_breaker *breaker; /* NULL: the service has none */
    uint32_t threads;
    struct roster *rosters; /* the one that was asked for first is the first */
    uint64_t up_seen_ms;    /* when the last choice was made */
    bool ending;            /* it is being freed */
    bool revoked;           /* an endpoint was, and nobody was told yet */
    bool looking;           /* those who wait are being told: the last of it is freed after that */
    uint32_t idle_total;
    uint32_t looked_at; /* endpoints with something idle, here or in the stash: low_water.c */
    LIST_HEAD(, endpoint_own) all;
    struct retry_budget budget;
    struct waiters waiters; /* by their deadlines */
    uint32_t waiting;
    struct timer wait_timer;
    struct deferred wake;
};

/* ---- roster.c ---- */

struct roster *roster_new(struct upstream *upstream, const struct pick *pick);
void roster_free(struct roster *roster);
/* Reads it anew if the board or the resolver changed it. Without memory it stays as it is. */
void roster_refresh(struct roster *roster);
struct endpoint_own *roster_by_number(const struct roster *roster, uint32_t number); /* or NULL */

/* ---- choose.c ---- */

enum pick_result roster_choose(struct roster *roster, const struct pick *pick,
                               struct endpoint **ret_endpoint);
/* Could somebody take a request? Chooses nobody. */
enum pick_result roster_outlook(struct roster *roster);
/* Does the board or the resolver let it be used (leaving aside passive health and room)? */
bool endpoint_stands(const struct endpoint_own *own);
bool endpoint_ejected(const struct endpoint_own *own, uint64_t now_ms);

/* ---- endpoint.c ---- */

/* What a latency of that age still counts: half after EWMA_HALF_MS. */
double ewma_fade(uint64_t age_ms);

/* It is in the upstream no more: its idle connections go. */
void endpoint_leave(struct endpoint_own *own);
/* Closes what is idle of one that serves no more, in the stash too. */
void endpoint_idle_settle(struct endpoint_own *own);

/* ---- low_water.c ---- */

/* It has something idle: is looked at once a second from now on. */
void low_water_watch(struct endpoint_own *own);
void low_water_forget(struct endpoint_own *own); /* accepts one that is not looked at */

/* ---- wait.c ---- */

/* Somebody who waits may have become lucky: looked at when the turn ends. */
void waiters_wake(struct upstream *upstream);
/* All are told PICK_NONE. */
void waiters_dismiss(struct upstream *upstream);
