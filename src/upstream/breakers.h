/* The breakers of all services that have one: each is one for all threads of the gateway, found by
 * its service's name, and lives for as long as a thread has it.
 *
 * While it is closed, a try that is good writes two counters of its thread's own, and reads a word
 * that is only written when the breaker changes. Only failures, probes and changes take the
 * breaker's lock, for some loads and stores: then the rows of all threads are summed.
 *
 * All threads; a row is of one thread. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "upstream/breaker.h"

enum { BREAKER_PARTS = 10 }; /* of the window: what is older leaves it by a part */

struct breakers;
struct shared_breaker;

/* For so many threads. NULL: no memory. */
struct breakers *breakers_new(uint32_t threads);
/* No breaker is held any more. Accepts NULL. */
void breakers_free(struct breakers *breakers);
/* An eventfd, readable when breakers have changed: breakers_changed tells which. */
int breakers_fd(const struct breakers *breakers);

struct breaker_change {
    const char *service;
    enum breaker_state state;     /* now */
    uint32_t opened;              /* so often since this was asked last */
    struct breaker_counts counts; /* why it opened last */
};
typedef void breaker_change_call(void *owner, const struct breaker_change *change);
/* By one thread: calls for each that has another state than when this was asked last. */
void breakers_changed(struct breakers *breakers, breaker_change_call *call, void *owner);

/* The service's, with a reference; NULL: no memory. */
struct shared_breaker *breakers_take(struct breakers *breakers, const char *service);
void shared_breaker_unref(struct shared_breaker *shared); /* accepts NULL */

/* What one try knows of it, from passing to its outcome; 0: of none. */
typedef uint32_t breaker_pass;

struct breaker_user { /* who asks */
    struct shared_breaker *shared;
    const struct service_breaker *settings;
    uint32_t thread; /* below the number of threads */
    uint64_t now_ms;
};

/* May a try begin? One that does has an outcome below, or none when nothing was learnt and it does
 * not matter when the next probe passes. */
bool shared_breaker_passes(const struct breaker_user *user, breaker_pass *ret_pass);
/* Is it closed? */
bool shared_breaker_closed(const struct shared_breaker *shared);
/* Would it let a try pass? None does by that. */
bool shared_breaker_may_pass(const struct breaker_user *user);
/* How long it lets nobody pass yet; 0: it is not open. */
uint64_t shared_breaker_rests_ms(const struct breaker_user *user);

/* The try is going well. It may still turn out to be bad. */
void shared_breaker_good(const struct breaker_user *user, breaker_pass *pass);
/* It failed: the end of the pass. */
void shared_breaker_bad(const struct breaker_user *user, breaker_pass *pass);
/* It is over: the end of the pass. Without having been good it said nothing. */
void shared_breaker_over(const struct breaker_user *user, breaker_pass *pass);
