/* The builder: what is at hand while a topology is built. Private to build.c and the files that it
 * is made of (draft.c, publish.c); lives on the stack of topology_load. */
#pragma once

#include <setjmp.h>

#include "base/table.h"
#include "conf/check.h"
#include "topology/build.h"

struct draft { /* a service being built; lives in the tree's arena */
    struct draft *next;
    struct service service;            /* its texts live in the topology's arena already */
    const struct statement *statement; /* `service NAME { … }` */
    const struct value *uses;          /* names, to be resolved when all services are known */
    size_t uses_count;
    const char *local_name; /* inside its realm; the same as its name outside of one */
};

struct publication { /* a `listen`, to be resolved when all services are known */
    struct publication *next;
    const struct statement *statement;
    const char *realm; /* "" outside of one */
};

struct builder {
    struct topology *topology;
    struct arena *arena;      /* the topology's */
    struct arena *tree_arena; /* freed when the topology is built */
    jmp_buf *trap;            /* where failed allocations go */
    struct diagnostics *diagnostics;
    struct sources sources;
    struct buffer scratch;
    struct tree_reader reader;
    struct checker checker;
    struct variables variables;
    struct table *names;     /* of services, to their drafts */
    struct table *addresses; /* of listeners, to their statements */
    struct draft *drafts;
    struct draft **drafts_tail;
    struct publication *publications;
    struct publication **publications_tail;
    size_t publication_count;
    const struct statement *first[DIRECTIVE_COUNT]; /* by kind, in the block being read */
    struct service defaults;                        /* a service whose block says nothing */
    const char *template_directory;                 /* the topology's, as part of a template */
    const char *file_seen; /* the last source's path, and its copy in the arena */
    const char *file_copy;
};

_Noreturn void builder_no_memory(struct builder *builder);
/* A copy in the topology's arena. */
const char *builder_text(struct builder *builder, const char *text);
/* An absolute path; a relative one starts at the topology's folder. */
const char *builder_path(struct builder *builder, const char *path, bool template);
/* The path of the file in which a statement stands, as messages name it. */
const char *builder_file(struct builder *builder, const struct statement *statement);
void builder_quota(struct quota *quota, const struct statement *statement);

/* The service that `name` means inside of `realm` ("" outside): one of the realm's own first. NULL:
 * reported at `value`. */
const struct draft *draft_resolve(struct builder *builder, const struct value *value,
                                  const char *realm);

/* draft.c: services. */
void draft_defaults(struct builder *builder);
/* Notes the service and checks and reads its block; `variables` hold inside. */
void draft_add(struct builder *builder, const struct statement *statement,
               const struct variables *variables);
/* All drafts to topology.services, names resolved. */
void drafts_finish(struct builder *builder);

/* publish.c: listeners. */
void publication_add(struct builder *builder, const struct statement *statement, const char *realm);
void publications_finish(struct builder *builder);
