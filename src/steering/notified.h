/* What a program under seccomp notification asks for, and what is done about it: where its sockets
 * are bound, how they join a share, where its connections go. One `notified` is one instance; the
 * supervisor's side of it (starting, ending, rotating) is steering_seccomp.c, which owns it. */
#pragma once

#include "kernel/seccomp.h"
#include "steering/connections.h"
#include "steering/redirect.h"
#include "steering/share.h"
#include "steering/steering.h"
#include "steering/steering_blocks.h"

enum {
    BINDINGS_MAX = 32,    /* sockets of an instance between bind and listen */
    PROCESSES_MAX = 1024, /* of an instance, that are looked through */
};

struct binding { /* what became of a bind, remembered until listen */
    uint64_t cookie;
    struct share_address asked;
    bool only_local;
    uint32_t admitted; /* IPv4 address that is served to others all the same; 0: none */
};

struct notified {
    struct seccomp_steering *steering;
    struct steering_instance instance;
    struct binding bindings[BINDINGS_MAX];
    uint32_t binding_next; /* a ring: the oldest is overwritten */
    int notify_fd;         /* -1: none */
    int calls_fd;          /* calls that came while there was no supervisor; -1: none */
    struct watch watch;
    struct deferred adopted; /* tells of what was found, after `started` has returned */
    bool denied;             /* was logged */
    bool reached;            /* `prepare` was called and the slot is not free */
};

struct seccomp_steering {
    struct steering steering;
    struct steering_setup setup;
    uint32_t *homes;
    struct notified **slots; /* by slot; NULL: never used */
    struct share_slot *share_slots;
    struct share *share;
    struct redirects *redirects;
    struct connections *connections;
    struct steering_blocks blocks;
    uint16_t (*learnt)[2]; /* by service and protocol: the port first asked for */
    uint32_t turn;         /* among members that each have only their own address */
    struct timer sweep;
    struct deferred sweep_found;
};

const struct service *notified_service(const struct notified *slot);
/* Answers a request of its program; false: it was left alone, and the caller lets it go on. */
bool notified_serve(struct notified *slot, const struct seccomp_request *request);
/* Tells the supervisor that the program listens on this socket. */
void notified_tell_listens(struct notified *slot, const struct share_member *member);
/* Finds the sockets of an adopted program of which nothing was kept (recall.c). */
void notified_recall(struct notified *slot);
/* Does a process of the instance still have the member's socket? */
bool notified_holds(struct notified *slot, const struct share_member *member);
