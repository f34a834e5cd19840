/* Which stored answers a purge means, and purges as bytes. */
#include "gateway/http/cache_store.h"

/* ---- what it means -------------------------------------------------------------------------- */

static bool tagged(const struct cache_object *object, struct slice tags)
{
    const char *at = tags.bytes, *end = at + tags.length;
    while (at < end) {
        const char *start = at;
        while (at < end && *at != ' ' && *at != ',' && *at != '\t')
            at++;
        struct slice tag = {start, (uint32_t)(at - start)};
        if (tag.length && cache_object_tagged(object, tag))
            return true;
        at++;
    }
    return false;
}

static bool begins(const char *bytes, size_t length, struct slice text)
{
    return length >= text.length && (!text.length || memcmp(bytes, text.bytes, text.length) == 0);
}

bool cache_purge_matches(const struct cache_object *object, const struct cache_purge *purge)
{
    const struct cache_key *key = &object->key;
    size_t url_length = key->length - key->url;
    if (purge->listener.length && (!begins(key->bytes, key->length, purge->listener) ||
                                   key->bytes[purge->listener.length] != '\n'))
        return false;
    switch (purge->kind) {
    case PURGE_ALL:
        return true;
    case PURGE_TAGS:
        return tagged(object, purge->text);
    case PURGE_TARGET:
        return url_length == purge->text.length &&
               begins(key->bytes + key->url, url_length, purge->text);
    case PURGE_BELOW:
        return begins(key->bytes + key->url, url_length, purge->text);
    }
    return false;
}

/* ---- as bytes: kind, the listener, a line's end, the text ------------------------------------ */

size_t cache_purge_write(const struct cache_purge *purge, char *room)
{
    size_t length = 2 + purge->listener.length + purge->text.length;
    if (length > CACHE_PURGE_BYTES_MAX)
        return 0;
    *room++ = (char)('0' + purge->kind);
    memcpy(room, purge->listener.length ? purge->listener.bytes : "", purge->listener.length);
    room += purge->listener.length;
    *room++ = '\n';
    memcpy(room, purge->text.length ? purge->text.bytes : "", purge->text.length);
    return length;
}

bool cache_purge_read(const char *bytes, size_t length, struct cache_purge *ret_purge)
{
    if (length < 2 || length > CACHE_PURGE_BYTES_MAX || bytes[0] < '0' ||
        bytes[0] > '0' + PURGE_BELOW)
        return false;
    const char *line_end = memchr(bytes, '\n', length);
    if (!line_end)
        return false;
    *ret_purge = (struct cache_purge){
        .kind = (enum purge_kind)(bytes[0] - '0'),
        .listener = {bytes + 1, (uint32_t)(line_end - bytes - 1)},
        .text = {line_end + 1, (uint32_t)(bytes + length - line_end - 1)},
    };
    return true;
}
