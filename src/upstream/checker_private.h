/* What the files of a checker share: checker.c (who is asked, and when), checker_told.c (what comes
 * of what was found). */
#pragma once

#include <sys/queue.h>

#include "base/random.h"
#include "upstream/check.h"
#include "upstream/checker.h"
#include "upstream/primacy.h"
#include "upstream/tally.h"

enum {
    INSTANCES_MAX = 4096, /* of a service, more are not looked at */
    LOOK_MS = 1000,       /* so often is looked at what the resolver knows */
    FIRST_FACTOR = 10,    /* before it was well, it is asked so many times as often */
    JITTER_PERCENT = 10,
};

enum verdict { VERDICT_NONE, VERDICT_WELL, VERDICT_ILL };

struct checked { /* a service, whether its endpoints are well, or what their roles are */
    TAILQ_ENTRY(checked) next;
    struct checker *checker;
    const struct service *service;
    struct tls_client *tls; /* NULL: plain */
    bool role;              /* the question is the role */
    struct primacy primacy; /* of remote ones */
    char *name;
    uint32_t number; /* on the board; BOARD_NONE: not there */
    LIST_HEAD(, target) targets;
    bool wanted; /* while a topology is settled */
};

struct target { /* an instance's start, or an address of a remote */
    LIST_ENTRY(target) next;
    TAILQ_ENTRY(target) queued_next;
    struct checked *checked;
    struct sockaddr_storage address;
    socklen_t address_length;
    uint32_t slot;  /* BOARD_NONE: remote */
    uint32_t epoch; /* of an instance */
    uint32_t place; /* of a remote, in `resolved` */
    uint32_t row;   /* in the tally */
    char *host;     /* of a remote; NULL: none */
    struct timer timer;
    struct check *check; /* that runs; NULL */
    bool queued;         /* it is time, but too many run */
    bool seen;           /* while the board or what is resolved is read */
    bool was_well;       /* ever */
    enum verdict verdict;
    struct claim claim;       /* the role that it says, and */
    enum endpoint_role given; /* of a remote: that it was given */
    uint32_t good;            /* in a row */
    uint32_t bad;
};

TAILQ_HEAD(queue, target);

struct checker {
    struct loop *loop;
    const struct board *board;
    struct resolved *resolved;
    struct resolver *resolver;
    struct tally *tally;
    uint32_t thread; /* whose rows it counts in */
    checker_instance *instance;
    checker_role *role;
    void *owner;
    struct random_state random;
    TAILQ_HEAD(, checked) services;
    struct target **by_slot[2]; /* who is asked for health, for a role */
    struct queue queue;
    unsigned under_way;
    struct timer look;
    uint32_t changes; /* of `resolved` */
    bool ending;
};

static inline uint32_t checked_every_ms(const struct checked *checked)
{
    uint32_t every_ms =
        checked->role ? checked->service->role.every_ms : checked->service->check_every_ms;
    return every_ms ? every_ms : 1;
}

static inline uint32_t checked_fall(const struct checked *checked)
{
    uint32_t fall = checked->role ? checked->service->role.fall : checked->service->check_fall;
    return fall ? fall : 1;
}

/* ---- checker_told.c ---- */

/* A check is over. */
void target_judge(struct target *target, bool well, const char *why);
/* A remote one is checked no more. */
void target_unsay(struct target *target);
