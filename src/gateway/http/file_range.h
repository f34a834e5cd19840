/* Range (RFC 9110 §14.2): which parts of a file are asked for. Pure; no allocation. */
#pragma once

#include <stdint.h>

#include "gateway/http/head.h"

enum { RANGES_MAX = 16 };

struct range {
    uint64_t first;
    uint64_t length; /* at least 1 */
};

enum ranges {
    RANGES_IGNORED, /* no range of bytes, more than RANGES_MAX, or parts that overlap so much that
                       together they are larger than the whole: the whole is sent */
    RANGES_GIVEN,
    RANGES_OUTSIDE, /* none of them lies in the file: 416 */
};

/* Those that lie in a file of that size, in their order. */
enum ranges ranges_parse(struct slice value, uint64_t size, struct range ret_ranges[RANGES_MAX],
                         uint32_t *ret_count);
