/* A cluster as a picture: what leads where, before anybody decides how it is drawn. Made of a
 * topology, of what a running cluster says of itself (`status`), or of both; immutable; everything
 * in it lives in its own arena. Nothing of it points to the topology or the status. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "topology/topology.h"

enum graph_kind {
    GRAPH_LISTENER,
    GRAPH_SERVICE,
    GRAPH_JOB,
    GRAPH_REMOTE, /* `at HOST:PORT`: somebody else's server */
    GRAPH_ANSWER, /* what enginx answers itself: files, redirects, texts, metrics */
};

enum graph_mood { GRAPH_UNKNOWN, GRAPH_WELL, GRAPH_ILL };

enum {
    GRAPH_REMOTES_MAX = 8, /* shown of one service; the rest is counted */
    GRAPH_LINES_MAX = 12,  /* of one node */
    GRAPH_MEMBERS_MAX = 24 /* instances of one service that have a name in the picture */
};

struct graph_member { /* an instance */
    const char *name, *state;
    enum graph_mood mood;
};

struct graph_node {
    enum graph_kind kind;
    enum graph_mood mood;
    const char *name;
    const char *lines[GRAPH_LINES_MAX]; /* what is said of it below its name */
    size_t line_count;
    struct graph_member *members;
    size_t member_count;
    unsigned column; /* 0: listeners; every edge leads to a higher one */
};

struct graph_edge {
    size_t from, to;   /* nodes */
    bool uses;         /* a service uses another; else: connections or requests go there */
    const char *label; /* the first route or name of TLS; NULL: everything goes there */
    size_t more;       /* further routes that lead there */
};

struct graph {
    const char *name; /* of the cluster */
    bool live;        /* it shows what runs now */
    struct graph_node *nodes;
    size_t node_count;
    struct graph_edge *edges; /* those of one node side by side */
    size_t edge_count;
    struct arena *arena;
};

/* Either may be NULL, not both. NULL: no memory. */
struct graph *graph_new(const struct topology *topology, const json_t *status);
void graph_free(struct graph *graph); /* accepts NULL */

/* The edge's label as people read it: "shop.example /api/ +2"; "" without. */
const char *graph_label(const struct graph_edge *edge, char *text, size_t size);
