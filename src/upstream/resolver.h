/* The resolver: names of remote endpoints (`at HOST:PORT`) to addresses, by c-ares, on the
 * gateway's main thread, without blocking. A name is asked again when its TTL ends (RESOLVE_TTL_…
 * bound it); the last good answer is kept while the servers fail. All addresses of a name are
 * endpoints. Paths of Unix sockets and numeric addresses need no question.
 *
 * /etc/resolv.conf and /etc/hosts are read when it is made, which is before the sandbox; after
 * that it opens sockets only. So a change of these files counts from the gateway's next start on.
 * `localhost` is 127.0.0.1.
 *
 * What is known stands in `struct resolved`, which the threads read: a version and, per
 * remote, a list of addresses, written under a sequence lock.
 *
 * It also holds what the checker (checker.h) found of remote endpoints: well or ill, and roles. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "event/loop.h"
#include "topology/topology.h"

enum {
    RESOLVE_TTL_MIN_MS = 1000,
    RESOLVE_TTL_MAX_MS = 3600000,
    RESOLVE_RETRY_MS = 2000,    /* after a failure */
    RESOLVE_ADDRESSES_MAX = 16, /* of a name */
    RESOLVED_REMOTES_MAX = 4096,
};

struct resolved_address {
    struct sockaddr_storage address; /* with the remote's port; or AF_UNIX */
    socklen_t length;
    bool ill;     /* its check fails */
    uint8_t role; /* enum endpoint_role */
    uint32_t row; /* in the tally */
};

struct resolved;
struct resolver;

struct resolved *resolved_new(void); /* NULL: no memory */
void resolved_free(struct resolved *resolved);

/* The place of a remote (its text is its identity, over reloads); UINT32_MAX: not known. */
uint32_t resolved_find(const struct resolved *resolved, const char *text);
/* Changes with every change of any remote: one load. */
uint32_t resolved_changes(const struct resolved *resolved);
/* Changes with every change of the remote at this place. */
uint32_t resolved_version(const struct resolved *resolved, uint32_t place);
/* Was it asked for, and nothing has come yet, neither an answer nor a failure? */
bool resolved_pending(const struct resolved *resolved, uint32_t place);
/* A consistent copy. The number of addresses; 0: none known (yet). */
uint32_t resolved_read(const struct resolved *resolved, uint32_t place,
                       struct resolved_address ret_addresses[RESOLVE_ADDRESSES_MAX],
                       uint32_t *ret_version);

/* By the main thread: `changed` is called when something in `resolved` changed, so that threads can
 * be woken. NULL with errno. */
struct tally;
struct resolver *resolver_new(struct loop *loop, struct resolved *resolved, struct tally *tally,
                              void (*changed)(void *owner), void *owner);
void resolver_free(struct resolver *resolver);
/* The remotes of a topology: new ones are asked for, those that are gone forgotten a minute later,
 * so it may be called before all threads use that topology. 0 or -errno (-ENOSPC: more than
 * RESOLVED_REMOTES_MAX). */
int resolver_settle(struct resolver *resolver, const struct topology *topology);
/* For the checker. `index`: of the address in the list. */
void resolver_health_set(struct resolver *resolver, uint32_t place, uint32_t index, bool ill);
void resolver_role_set(struct resolver *resolver, uint32_t place, uint32_t index,
                       enum endpoint_role role);
