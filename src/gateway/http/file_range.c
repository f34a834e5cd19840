#include "gateway/http/file_range.h"

#include <stdbool.h>
#include <strings.h>

struct scan {
    const char *at, *end;
};

static void blanks_skip(struct scan *scan)
{
    while (scan->at < scan->end && (*scan->at == ' ' || *scan->at == '\t'))
        scan->at++;
}

/* A number; those that are too large become the largest. False: there is none. */
static bool number_take(struct scan *scan, uint64_t *ret_number)
{
    const char *start = scan->at;
    uint64_t number = 0;
    for (; scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9'; scan->at++) {
        uint64_t digit = (uint64_t)(*scan->at - '0');
        number = number > (UINT64_MAX - digit) / 10 ? UINT64_MAX : number * 10 + digit;
    }
    *ret_number = number;
    return scan->at > start;
}

/* One of "5-9", "5-", "-9". False: it is not that. *ret_range of length 0: it lies outside. */
static bool range_take(struct scan *scan, uint64_t size, struct range *ret_range)
{
    uint64_t first, last;
    bool has_first = number_take(scan, &first);
    if (scan->at == scan->end || *scan->at++ != '-')
        return false;
    bool has_last = number_take(scan, &last);
    if ((!has_first && !has_last) || (has_first && has_last && last < first))
        return false;
    *ret_range = (struct range){0};
    if (!has_first) { /* the last so many */
        uint64_t length = last < size ? last : size;
        *ret_range = (struct range){size - length, length};
    } else if (first < size) {
        uint64_t length = size - first;
        if (has_last && last - first < length)
            length = last - first + 1;
        *ret_range = (struct range){first, length};
    }
    return true;
}

static bool unit_take(struct scan *scan)
{
    static const char unit[] = "bytes=";
    if ((size_t)(scan->end - scan->at) < sizeof unit - 1 ||
        strncasecmp(scan->at, unit, sizeof unit - 1) != 0)
        return false;
    scan->at += sizeof unit - 1;
    return true;
}

enum ranges ranges_parse(struct slice value, uint64_t size, struct range ret_ranges[RANGES_MAX],
                         uint32_t *ret_count)
{
    struct scan scan = {value.bytes, value.bytes + value.length};
    uint32_t count = 0, asked = 0;
    uint64_t sum = 0;
    if (!unit_take(&scan))
        return RANGES_IGNORED;
    for (;;) {
        struct range range;
        blanks_skip(&scan);
        if (++asked > RANGES_MAX || !range_take(&scan, size, &range))
            return RANGES_IGNORED;
        if (range.length) {
            ret_ranges[count++] = range;
            sum += range.length; /* of at most RANGES_MAX, none larger than a file can be */
        }
        blanks_skip(&scan);
        if (scan.at == scan.end)
            break;
        if (*scan.at++ != ',')
            return RANGES_IGNORED;
    }
    *ret_count = count;
    if (!count)
        return RANGES_OUTSIDE;
    return count > 1 && sum > size ? RANGES_IGNORED : RANGES_GIVEN;
}
