/* What `enginx top` knows: one look at a cluster, made of its `status` and of the look before, from
 * which rates come. Pure: the clocks come in. Everything of it lives in its own arena; nothing
 * points to the status or to the look before. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cli/top/column.h"

enum { MODEL_BYTES_MAX = 256 * 1024 * 1024 };

enum item_kind { ITEM_SERVICE, ITEM_INSTANCE, ITEM_JOB, ITEM_LISTENER };
enum item_mood { ITEM_WELL, ITEM_CHANGING, ITEM_ILL };

struct item {
    enum item_kind kind;
    enum item_mood mood;
    const char *name;    /* "web", "web.1" */
    const char *service; /* that it belongs to, itself or as an instance; NULL: none */
    uint32_t number;     /* of the instance; 0: it is none */
    size_t parent;       /* an instance's service, among the items; else its own place */
    const char *state;
    const char *note;           /* "" */
    double value[COLUMN_COUNT]; /* NAN: not known */
    /* Counters, of which rates are made; NAN: nobody counts. */
    double requests_total, connections_total, response_seconds;
    double served_total; /* requests, by a service's or listener's own count */
    bool folded; /* a service whose instances are not shown: the user's wish, kept from look to look
                  */
};

struct model {
    const char *cluster, *version, *logs;
    uint64_t generation;
    int64_t pid;
    double up_seconds;
    double quota_cpu, quota_memory; /* NAN: none */
    double total[COLUMN_COUNT];     /* of all instances, and of requests through services */
    size_t services, instances, instances_up;
    struct item *items; /* services, each followed by its instances; jobs; listeners */
    size_t item_count;
    uint64_t at_ms;
    struct table *index; /* kind and name → item */
    struct arena *arena;
};

/* `before` may be NULL: no rates yet. `at_ms` is of a monotonic clock, `wall_ms` is the time of
 * day. Takes nothing for granted of the status. NULL: no memory. */
struct model *model_new(const json_t *status, const struct model *before, uint64_t at_ms,
                        uint64_t wall_ms);
void model_free(struct model *model); /* accepts NULL */

/* NULL: there is none. */
struct item *model_find(const struct model *model, enum item_kind kind, const char *name);
