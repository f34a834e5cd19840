/* Fuzz target of Cache-Control and of what is decided by it: whatever stands in the fields, lists
 * lie within the value, seconds in their bounds, and what says no-store or private is not stored.
 * Lines are fields of a response: the first byte of one says which. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/http/cache_policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIELDS_MAX = 16 };

static const struct slice names[] = {SLICE("Cache-Control"), SLICE("Expires"),
                                     SLICE("Age"),           SLICE("Vary"),
                                     SLICE("ETag"),          SLICE("Cache-Control")};

static uint32_t fields_read(const char *at, const char *end, struct field *fields)
{
    uint32_t count = 0;
    while (at < end && count < FIELDS_MAX) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        if (!line_end)
            line_end = end;
        unsigned kind = (unsigned char)*at % (sizeof names / sizeof names[0]);
        const char *start = at < line_end ? at + 1 : at;
        fields[count++] =
            (struct field){.name = names[kind], .value = {start, (uint32_t)(line_end - start)}};
        at = line_end < end ? line_end + 1 : end;
    }
    return count;
}

static void control_check(const struct cache_control *control, const char *start, const char *end)
{
    assert(control->list_count <= CONTROL_LISTS_MAX);
    for (uint8_t i = 0; i < control->list_count; i++) {
        assert(control->lists[i].bytes >= start);
        assert(control->lists[i].bytes + control->lists[i].length <= end);
    }
    assert(control->max_age <= CONTROL_SECONDS_MAX && control->s_maxage <= CONTROL_SECONDS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t statuses[] = {200, 404, 0};
    static const struct route_cache rules = {.ttl_ms = 1000, .statuses = statuses};
    const char *start = (const char *)data, *end = start + size;
    struct field fields[FIELDS_MAX];
    struct cache_response facts;
    struct cache_life life;
    if (size > 4096)
        return 0;
    uint32_t count = fields_read(start, end, fields);
    cache_response_read(fields, count, &facts);
    control_check(&facts.control, start, end);
    const struct cache_request request = {0};
    uint64_t now_ms = 1800000000000;
    const char *why = cache_may_store(&request, &facts, 200, &rules, now_ms, now_ms, &life);
    if (why)
        return 0;
    uint32_t says = facts.control.flags;
    assert(!facts.control.broken && !(says & CONTROL_PRIVATE) && !facts.vary_any);
    assert(!(says & CONTROL_NO_STORE) || says & CONTROL_MUST_UNDERSTAND);
    assert(cache_may_use(&life, NULL, now_ms + life.lifetime_ms) != USE_FRESH);
    assert(!(says & CONTROL_NO_CACHE) || cache_may_use(&life, NULL, now_ms) == USE_VALIDATED);
    return 0;
}
