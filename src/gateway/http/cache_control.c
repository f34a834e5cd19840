#include "gateway/http/cache_control.h"

#include "gateway/http/h1_scan.h"

enum argument { ARGUMENT_NONE, ARGUMENT_SECONDS, ARGUMENT_SECONDS_MAYBE, ARGUMENT_LIST_MAYBE };

static const struct row {
    const char *name;
    enum cache_directive flag;
    enum argument argument;
    size_t offset; /* of the seconds */
} rows[] = {
    {"no-store", CONTROL_NO_STORE, ARGUMENT_NONE, 0},
    {"no-cache", CONTROL_NO_CACHE, ARGUMENT_LIST_MAYBE, 0},
    {"private", CONTROL_PRIVATE, ARGUMENT_LIST_MAYBE, 0},
    {"public", CONTROL_PUBLIC, ARGUMENT_NONE, 0},
    {"must-revalidate", CONTROL_MUST_REVALIDATE, ARGUMENT_NONE, 0},
    {"proxy-revalidate", CONTROL_PROXY_REVALIDATE, ARGUMENT_NONE, 0},
    {"must-understand", CONTROL_MUST_UNDERSTAND, ARGUMENT_NONE, 0},
    {"only-if-cached", CONTROL_ONLY_IF_CACHED, ARGUMENT_NONE, 0},
    {"max-age", CONTROL_MAX_AGE, ARGUMENT_SECONDS, offsetof(struct cache_control, max_age)},
    {"s-maxage", CONTROL_S_MAXAGE, ARGUMENT_SECONDS, offsetof(struct cache_control, s_maxage)},
    {"max-stale", CONTROL_MAX_STALE, ARGUMENT_SECONDS_MAYBE,
     offsetof(struct cache_control, max_stale)},
    {"min-fresh", CONTROL_MIN_FRESH, ARGUMENT_SECONDS, offsetof(struct cache_control, min_fresh)},
    {"stale-while-revalidate", CONTROL_STALE_WHILE_REVALIDATE, ARGUMENT_SECONDS,
     offsetof(struct cache_control, stale_while_revalidate)},
    {"stale-if-error", CONTROL_STALE_IF_ERROR, ARGUMENT_SECONDS,
     offsetof(struct cache_control, stale_if_error)},
};

struct item { /* one directive */
    struct slice name;
    struct slice value; /* bytes NULL: none */
    bool escaped;       /* it was quoted, and has backslashes */
};

/* ---- one directive -------------------------------------------------------------------------- */

static bool blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

static const char *blanks_skip(const char *at, const char *end)
{
    while (at < end && blank(*at))
        at++;
    return at;
}

/* Behind the opening quote. The closing one, or NULL. */
static const char *quoted_end(const char *at, const char *end, bool *ret_escaped)
{
    for (; at < end && *at != '"'; at++) {
        if (*at != '\\')
            continue;
        *ret_escaped = true;
        if (++at == end)
            return NULL;
    }
    return at < end ? at : NULL;
}

/* A token, and maybe `=` and a token or a quoted string. NULL: it is none; else its end. */
static const char *item_read(const char *at, const char *end, struct item *item)
{
    *item = (struct item){0};
    const char *name_end = h1_skip(at, end, BYTE_TOKEN);
    item->name = (struct slice){at, (uint32_t)(name_end - at)};
    if (name_end == at || name_end == end || *name_end != '=')
        return name_end == at ? NULL : name_end;
    const char *start = name_end + 1, *stop;
    if (start < end && *start == '"') {
        stop = quoted_end(++start, end, &item->escaped);
        item->value = (struct slice){start, (uint32_t)(stop ? stop - start : 0)};
        return stop ? stop + 1 : NULL;
    }
    stop = h1_skip(start, end, BYTE_TOKEN);
    item->value = (struct slice){start, (uint32_t)(stop - start)};
    return stop == start ? NULL : stop;
}

/* ---- what it says --------------------------------------------------------------------------- */

static bool seconds_read(struct slice text, uint32_t *ret_seconds)
{
    uint64_t seconds = 0;
    for (uint32_t i = 0; i < text.length; i++) {
        if (text.bytes[i] < '0' || text.bytes[i] > '9')
            return false;
        seconds = seconds * 10 + (uint64_t)(text.bytes[i] - '0');
        if (seconds > CONTROL_SECONDS_MAX)
            seconds = CONTROL_SECONDS_MAX;
    }
    *ret_seconds = (uint32_t)seconds;
    return text.length > 0;
}

static void seconds_take(struct cache_control *control, const struct row *row,
                         const struct item *item)
{
    uint32_t *seconds = (uint32_t *)(void *)((char *)control + row->offset);
    uint32_t read = CONTROL_SECONDS_MAX; /* max-stale alone: of any age (§5.2.1.2) */
    bool maybe = row->argument == ARGUMENT_SECONDS_MAYBE && !item->value.bytes;
    if (!maybe && !seconds_read(item->value, &read)) {
        control->broken = true;
        return;
    }
    if (control->flags & row->flag && *seconds != read)
        control->broken = true;
    control->flags |= row->flag;
    *seconds = read;
}

static void list_take(struct cache_control *control, const struct row *row, const struct item *item)
{
    if (!item->value.bytes || item->escaped || control->list_count == CONTROL_LISTS_MAX)
        control->flags |= row->flag;
    else
        control->lists[control->list_count++] = item->value;
}

static void item_take(struct cache_control *control, const struct item *item)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *row = &rows[i];
        if (!slice_is_nocase(item->name, row->name))
            continue;
        if (row->argument == ARGUMENT_NONE)
            control->flags |= row->flag;
        else if (row->argument == ARGUMENT_LIST_MAYBE)
            list_take(control, row, item);
        else
            seconds_take(control, row, item);
        return;
    }
}

void cache_control_read(struct cache_control *control, struct slice value)
{
    const char *at = value.bytes, *end = at + value.length;
    for (;;) {
        at = blanks_skip(at, end);
        if (at == end)
            return;
        if (*at != ',') {
            struct item item;
            const char *stop = item_read(at, end, &item);
            if (!stop) {
                control->broken = true;
                return;
            }
            item_take(control, &item);
            at = blanks_skip(stop, end);
        }
        if (at < end && *at++ != ',') {
            control->broken = true;
            return;
        }
    }
}

bool cache_control_lists(const struct cache_control *control, struct slice name)
{
    for (uint8_t i = 0; i < control->list_count; i++) {
        const char *at = control->lists[i].bytes, *end = at + control->lists[i].length;
        while (at < end) {
            const char *stop = h1_skip(at, end, BYTE_TOKEN);
            if (slice_same_nocase((struct slice){at, (uint32_t)(stop - at)}, name))
                return true;
            at = stop < end ? stop + 1 : end;
        }
    }
    return false;
}
