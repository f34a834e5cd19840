/* Passwords are checked by two threads of their own, since a hash that is good for passwords keeps
 * a processor busy for a tenth of a second, and a worker may never wait. The answer comes back in
 * the worker's loop. What was found is remembered for a while, under a keyed hash (HMAC-SHA-256
 * with a secret of this process) of name, password and hash: the password itself is kept only while
 * it is checked, and wiped then.
 *
 * Bounded: questions that wait are at most PASSWORDS_WAITING_MAX, one that is asked by several at a
 * time is answered once. A name that is not there costs the same time as one that is. */
#pragma once

#include <stdbool.h>

#include "gateway/core/worker.h"

enum {
    PASSWORDS_WAITING_MAX = 256,
    PASSWORDS_KEPT = 2048,
    PASSWORDS_GOOD_MS = 300000, /* a right one is remembered */
    PASSWORDS_BAD_MS = 10000,
};

enum password_answer {
    PASSWORD_RIGHT,
    PASSWORD_WRONG,
    PASSWORD_WAITS, /* `answer` is called later, unless it is cancelled */
    PASSWORD_BUSY,  /* too many wait, or there is no memory */
};

struct password_wait;

struct password_question {
    const char *user;
    const char *password;
    const char *hash; /* of the user; NULL: there is no such user, and */
    const char *like; /* this is a hash that takes the same time; NULL: at once */
    void (*answer)(void *owner, bool right);
    void *owner;
};

/* All is copied. *ret_wait only with PASSWORD_WAITS. */
enum password_answer passwords_ask(struct worker *worker, const struct password_question *question,
                                   struct password_wait **ret_wait);
/* `answer` will not be called. */
void passwords_cancel(struct password_wait *wait);

/* A worker's end: its questions are answered to nobody. */
struct passwords_worker;
void passwords_worker_free(struct passwords_worker *own); /* accepts NULL */
