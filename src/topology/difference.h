/* The difference of two topologies: what a reload would change, service by service and listener by
 * listener, in an order that people can read. Services are told by their names, listeners by their
 * addresses. Pure; both topologies must live for as long as the difference does. */
#pragma once

#include <stddef.h>
#include <stdio.h>

#include "topology/topology.h"

enum change_kind {
    CHANGE_SERVICE_ADDED,
    CHANGE_SERVICE_REMOVED,
    CHANGE_SERVICE_RESTARTED, /* its definition changed: one instance after the other */
    CHANGE_SERVICE_SCALED,    /* another number of instances */
    CHANGE_SERVICE_SETTINGS,  /* balance, checks, timeouts …: no restart */
    CHANGE_LISTENER_ADDED,
    CHANGE_LISTENER_REMOVED,
    CHANGE_LISTENER_MOVED,   /* to another path */
    CHANGE_LISTENER_CHANGED, /* where it leads, its routes, its settings */
    CHANGE_GATEWAY,          /* `gateway connections=` */
    CHANGE_CACHE_ADDED,      /* `what`: its name */
    CHANGE_CACHE_REMOVED,
    CHANGE_CACHE_CHANGED, /* its bounds, or where its file is */
    CHANGE_LATER,         /* needs a restart of the cluster, and is left as it was: `what` */
    CHANGE_REFUSED,       /* cannot be had by a reload at all: `what` */
};

struct change {
    enum change_kind kind;
    const struct service *service; /* the new one; REMOVED: the old one */
    const struct service *service_was;
    const struct listener *listener;
    const struct listener *listener_was;
    const char *what; /* static text, or a topology's */
};

struct difference {
    struct change *changes;
    size_t count;
    const struct topology *before;
    const struct topology *after;
};

struct difference *difference_new(const struct topology *before, const struct topology *after);
void difference_free(struct difference *difference); /* accepts NULL */
/* The first change of that kind; NULL: none. */
const struct change *difference_find(const struct difference *difference, enum change_kind kind);
/* A line for each change; nothing when there is none. */
void difference_print(const struct difference *difference, FILE *out);
