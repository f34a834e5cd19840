#include "gateway/http/file_condition.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* ---- the fields ------------------------------------------------------------------------------ */

void wishes_read(const struct head *request, struct wishes *ret_wishes)
{
    static const struct {
        const char *name;
        size_t offset;
    } names[] = {
        {"If-Match", offsetof(struct wishes, if_match)},
        {"If-None-Match", offsetof(struct wishes, if_none_match)},
        {"If-Modified-Since", offsetof(struct wishes, if_modified_since)},
        {"If-Unmodified-Since", offsetof(struct wishes, if_unmodified_since)},
        {"Range", offsetof(struct wishes, range)},
        {"If-Range", offsetof(struct wishes, if_range)},
        {"Accept-Encoding", offsetof(struct wishes, accept_encoding)},
    };
    *ret_wishes = (struct wishes){0};
    for (uint32_t i = 0; i < request->field_count; i++) {
        const struct field *field = &request->fields[i];
        char first = field->name.length ? (char)(field->name.bytes[0] | 0x20) : 0;
        if (field->id != FIELD_OTHER || (first != 'i' && first != 'r' && first != 'a'))
            continue;
        for (size_t k = 0; k < sizeof names / sizeof names[0]; k++)
            if (slice_is_nocase(field->name, names[k].name))
                *(struct slice *)((char *)ret_wishes + names[k].offset) = field->value;
    }
}

/* ---- dates ----------------------------------------------------------------------------------- */

time_t http_date_parse(struct slice text)
{
    static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                        "%a %b %d %H:%M:%S %Y"};
    char copy[64];
    if (text.length >= sizeof copy)
        return -1;
    memcpy(copy, text.bytes, text.length);
    copy[text.length] = 0;
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct tm parts = {0};
        const char *end = strptime(copy, forms[i], &parts);
        if (end && !*end)
            return timegm(&parts);
    }
    return -1;
}

void http_date_print(time_t seconds, char out[HTTP_DATE_BYTES])
{
    struct tm parts;
    if (!gmtime_r(&seconds, &parts) ||
        strftime(out, HTTP_DATE_BYTES, "%a, %d %b %Y %H:%M:%S GMT", &parts) == 0)
        memcpy(out, "Thu, 01 Jan 1970 00:00:00 GMT", HTTP_DATE_BYTES);
}

/* ---- conditions ------------------------------------------------------------------------------ */

/* The next of a list; `bytes` NULL: that was all. A comma in quotes is part of it. */
static struct slice list_next(struct slice *rest)
{
    const char *at = rest->bytes, *end = rest->bytes + rest->length;
    while (at < end && (*at == ' ' || *at == '\t' || *at == ','))
        at++;
    const char *start = at;
    bool quoted = false;
    while (at < end && (quoted || *at != ',')) {
        if (*at++ == '"')
            quoted = !quoted;
    }
    *rest = (struct slice){at, (uint32_t)(end - at)};
    while (at > start && (at[-1] == ' ' || at[-1] == '\t'))
        at--;
    return (struct slice){at > start ? start : NULL, (uint32_t)(at - start)};
}

static bool same(struct slice one, struct slice other)
{
    return one.length == other.length && memcmp(one.bytes, other.bytes, one.length) == 0;
}

/* `weak`: W/"x" is the same as "x" (RFC 9110 §8.8.3.2). */
static bool etag_listed(struct slice list, struct slice etag, bool weak)
{
    for (struct slice item; (item = list_next(&list)).bytes;) {
        if (slice_is(item, "*"))
            return true;
        if (weak && item.length > 2 && memcmp(item.bytes, "W/", 2) == 0)
            item = (struct slice){item.bytes + 2, item.length - 2};
        if (same(item, etag))
            return true;
    }
    return false;
}

/* RFC 9110 §13.2.2, in its order. */
enum verdict wishes_judge(const struct wishes *wishes, struct slice etag, time_t modified)
{
    if (wishes->if_match.bytes) {
        if (!etag_listed(wishes->if_match, etag, false))
            return VERDICT_FAILED;
    } else if (wishes->if_unmodified_since.bytes) {
        time_t since = http_date_parse(wishes->if_unmodified_since);
        if (since >= 0 && modified > since)
            return VERDICT_FAILED;
    }
    if (wishes->if_none_match.bytes)
        return etag_listed(wishes->if_none_match, etag, true) ? VERDICT_NOT_MODIFIED : VERDICT_SEND;
    if (wishes->if_modified_since.bytes) {
        time_t since = http_date_parse(wishes->if_modified_since);
        if (since >= 0 && modified <= since)
            return VERDICT_NOT_MODIFIED;
    }
    return VERDICT_SEND;
}

bool wishes_range_holds(const struct wishes *wishes, struct slice etag, time_t modified)
{
    struct slice given = wishes->if_range;
    if (!given.bytes)
        return true;
    if (given.length && (given.bytes[0] == '"' || given.bytes[0] == 'W'))
        return same(given, etag);
    return http_date_parse(given) == modified;
}

/* ---- encodings ------------------------------------------------------------------------------- */

const struct encoding_name encodings[ENCODING_COUNT] = {
    [ENCODING_BROTLI] = {SLICE("br"), SLICE(".br")},
    [ENCODING_ZSTD] = {SLICE("zstd"), SLICE(".zst")},
    [ENCODING_GZIP] = {SLICE("gzip"), SLICE(".gz")},
};

/* Thousandths of "; q=0.5"; 1000 without one; 0 for what is none. */
static unsigned quality(struct slice item, struct slice *ret_name)
{
    const char *end = item.bytes + item.length;
    const char *semicolon = memchr(item.bytes, ';', item.length);
    const char *name_end = semicolon ? semicolon : end;
    while (name_end > item.bytes && (name_end[-1] == ' ' || name_end[-1] == '\t'))
        name_end--;
    *ret_name = (struct slice){item.bytes, (uint32_t)(name_end - item.bytes)};
    if (!semicolon)
        return 1000;
    const char *at = semicolon + 1;
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    if (end - at < 3 || (at[0] | 0x20) != 'q' || at[1] != '=' || at[2] < '0' || at[2] > '1')
        return 0;
    unsigned value = at[2] == '1' ? 1000 : 0;
    if (end - at > 3 && at[3] == '.') {
        unsigned weight = 100;
        for (at += 4; at < end && *at >= '0' && *at <= '9' && weight; at++, weight /= 10)
            value += (unsigned)(*at - '0') * weight;
    }
    return value > 1000 ? 1000 : value;
}

static bool encoding_named(struct slice name, size_t encoding)
{
    return slice_same_nocase(name, encodings[encoding].name) ||
           (encoding == ENCODING_GZIP && slice_is_nocase(name, "x-gzip"));
}

enum encoding encoding_prefer(struct slice accept, const enum encoding *order, size_t count)
{
    enum { UNSAID = 1001 };
    unsigned qualities[ENCODING_COUNT], others = 0, identity = 0;
    for (size_t i = 0; i < ENCODING_COUNT; i++)
        qualities[i] = UNSAID;
    for (struct slice item, name; (item = list_next(&accept)).bytes;) {
        unsigned value = quality(item, &name);
        if (slice_is(name, "*"))
            others = value;
        else if (slice_is_nocase(name, "identity"))
            identity = value;
        for (size_t i = 0; i < ENCODING_COUNT; i++)
            if (encoding_named(name, i))
                qualities[i] = value;
    }
    enum encoding best = ENCODING_COUNT;
    unsigned best_value = 0;
    for (size_t i = 0; i < count; i++) {
        unsigned value = qualities[order[i]] == UNSAID ? others : qualities[order[i]];
        if (value <= best_value)
            continue;
        best = order[i];
        best_value = value;
    }
    return best_value >= identity ? best : ENCODING_COUNT; /* it may like it best as it is */
}

enum encoding encoding_choose(struct slice accept, unsigned there)
{
    enum encoding order[ENCODING_COUNT];
    size_t count = 0;
    for (enum encoding encoding = 0; encoding < ENCODING_COUNT; encoding++)
        if (there & 1u << encoding)
            order[count++] = encoding;
    return accept.bytes && count ? encoding_prefer(accept, order, count) : ENCODING_COUNT;
}
