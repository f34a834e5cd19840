/* Fuzz target of keys: two requests have one key only if they mean the same, and a key holds what
 * it is made of. Seven lines: listener, route, scheme, host, port, target, and `key=` (empty:
 * none); seven more for a second request. What follows is names of a Vary and a request's fields.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "gateway/http/cache_key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { VARIED_FIELDS = 8 };

static struct slice line_take(const char **at, const char *end)
{
    const char *start = *at, *stop = start;
    while (stop < end && *stop != '\n')
        stop++;
    *at = stop < end ? stop + 1 : end;
    return (struct slice){start, (uint32_t)(stop - start)};
}

static void parts_take(const char **at, const char *end, struct cache_key_parts *parts)
{
    *parts = (struct cache_key_parts){.listener = line_take(at, end), .route = line_take(at, end)};
    parts->scheme = line_take(at, end);
    parts->host = line_take(at, end);
    struct slice port = line_take(at, end);
    parts->port = port.length ? (uint16_t)((unsigned char)port.bytes[0] * 7u + port.length) : 0;
    parts->target = line_take(at, end);
    parts->custom = line_take(at, end);
    if (!parts->custom.length)
        parts->custom.bytes = NULL;
}

static bool same(struct slice one, struct slice other)
{
    return one.length == other.length &&
           (!one.length || memcmp(one.bytes, other.bytes, one.length) == 0);
}

static uint16_t port_of(const struct cache_key_parts *parts)
{
    uint16_t usual = slice_is_nocase(parts->scheme, "https") ? 443 : 80;
    return parts->port ? parts->port : usual;
}

/* A `:` in what is taken for a host could be a port's: real hosts have none outside of brackets. */
static bool plain(const struct cache_key_parts *parts)
{
    struct slice target = parts->target;
    return !memchr(parts->host.bytes, ':', parts->host.length) &&
           !memchr(parts->host.bytes, '/', parts->host.length) &&
           !memchr(parts->host.bytes, '?', parts->host.length) && target.length &&
           target.bytes[0] == '/';
}

static void same_key_check(const struct cache_key_parts *one, const struct cache_key_parts *other)
{
    assert(same(one->listener, other->listener) && same(one->route, other->route));
    if (one->custom.bytes && other->custom.bytes) {
        assert(same(one->custom, other->custom));
        return;
    }
    if (one->custom.bytes || other->custom.bytes) /* a scheme is never "key" */
        return;
    assert(slice_same_nocase(one->scheme, other->scheme));
    if (!plain(one) || !plain(other))
        return;
    assert(slice_same_nocase(one->host, other->host) && port_of(one) == port_of(other));
    assert(same(one->target, other->target));
}

static void keys_check(const char **at, const char *end)
{
    static char rooms[2][CACHE_KEY_BYTES_MAX];
    struct cache_key_parts parts[2];
    struct cache_key keys[2];
    bool made = true;
    for (int i = 0; i < 2; i++) {
        parts_take(at, end, &parts[i]);
        made &= cache_key_make(&parts[i], rooms[i], &keys[i]);
        if (made)
            assert(keys[i].length <= CACHE_KEY_BYTES_MAX && keys[i].url <= keys[i].length);
    }
    if (made && keys[0].length == keys[1].length && memcmp(rooms[0], rooms[1], keys[0].length) == 0)
        same_key_check(&parts[0], &parts[1]);
}

static void vary_check(const char *at, const char *end)
{
    static char names[VARY_BYTES_MAX], again[VARY_BYTES_MAX], values[VARY_BYTES_MAX];
    struct field fields[VARIED_FIELDS];
    struct field vary = {.name = SLICE("Vary"), .value = line_take(&at, end)};
    struct head request = {.fields = fields};
    while (at < end && request.field_count < VARIED_FIELDS) {
        struct field *field = &fields[request.field_count++];
        field->name = line_take(&at, end);
        field->value = line_take(&at, end);
    }
    int length = vary_names(&vary, 1, names);
    if (length < 0)
        return;
    assert(length <= VARY_BYTES_MAX);
    struct slice made = {names, (uint32_t)length};
    vary.value = made; /* it is a list itself, and in the normal form */
    assert(vary_names(&vary, 1, again) == length && memcmp(names, again, made.length) == 0);
    assert(vary_values(made, &request, values) <= VARY_BYTES_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data, *end = at + size;
    if (size > 4 * CACHE_KEY_BYTES_MAX)
        return 0;
    keys_check(&at, end);
    vary_check(at, end);
    return 0;
}
