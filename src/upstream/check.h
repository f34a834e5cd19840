/* A check: one question to one endpoint — connect, ask, read the answer, judge it — within the
 * service's check timeout. Its socket does not block. Of the loop's thread. */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>

#include "event/loop.h"
#include "topology/topology.h"

struct check;
struct tls_client;

struct check_target {
    const struct service *service; /* must live until the check is over */
    bool role;                     /* the question is its role, by `service->role` */
    const struct sockaddr *address;
    socklen_t address_length;
    const char *host;       /* of a remote, for Host and TLS; NULL: the address */
    struct tls_client *tls; /* NULL: plain */
};

/* `why` is "" when well; of a question after a role: the word for it ("primary 7"). The check is
 * gone already. */
typedef void check_over(void *owner, bool well, const char *why);

/* NULL: no memory. `over` is called later, never from within; not at all after check_stop. */
struct check *check_start(struct loop *loop, const struct check_target *target, check_over *over,
                          void *owner);
void check_stop(struct check *check); /* accepts NULL */
