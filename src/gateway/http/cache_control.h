/* Cache-Control (RFC 9111 §5.2, RFC 5861): a request's or response's fields of that name, read into
 * flags and seconds. Strict: what is no list of directives makes `broken` true, and such a response
 * is not stored. Unknown directives are skipped (§5.2.3). Pure; no allocation. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "gateway/http/head.h"

enum cache_directive { /* bits */
                       CONTROL_NO_STORE = 1 << 0,
                       CONTROL_NO_CACHE = 1 << 1, /* of the whole response */
                       CONTROL_PRIVATE = 1 << 2,  /* the same */
                       CONTROL_PUBLIC = 1 << 3,
                       CONTROL_MUST_REVALIDATE = 1 << 4,
                       CONTROL_PROXY_REVALIDATE = 1 << 5,
                       CONTROL_MUST_UNDERSTAND = 1 << 6,
                       CONTROL_ONLY_IF_CACHED = 1 << 7,
                       CONTROL_MAX_AGE = 1 << 8,
                       CONTROL_S_MAXAGE = 1 << 9,
                       CONTROL_MAX_STALE = 1 << 10,
                       CONTROL_MIN_FRESH = 1 << 11,
                       CONTROL_STALE_WHILE_REVALIDATE = 1 << 12,
                       CONTROL_STALE_IF_ERROR = 1 << 13,
};

enum {
    CONTROL_SECONDS_MAX = 0x7fffffff, /* what is larger, or does not fit, is this (§1.2.2) */
    CONTROL_LISTS_MAX = 4, /* no-cache="…" and private="…"; more: of the whole response */
};

struct cache_control {
    uint32_t flags;
    uint32_t max_age, s_maxage, max_stale, min_fresh; /* seconds, when their flag is set */
    uint32_t stale_while_revalidate, stale_if_error;
    /* Names of fields that no-cache="…" and private="…" are about: not to be stored. */
    struct slice lists[CONTROL_LISTS_MAX];
    uint8_t list_count;
    bool broken; /* not a list of directives, or seconds that are none, or two that differ */
};

/* Adds one field's value to what others said; begin with zeros. */
void cache_control_read(struct cache_control *control, struct slice value);
/* Is a field one of those that a list names? */
bool cache_control_lists(const struct cache_control *control, struct slice name);
