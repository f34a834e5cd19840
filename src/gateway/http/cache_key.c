#include "gateway/http/cache_key.h"

#include "base/table.h"
#include "gateway/http/h1_scan.h"

struct room { /* text being written */
    char *bytes;
    size_t length;
    size_t size;
    bool full;
};

static void room_add(struct room *room, const char *bytes, size_t length)
{
    if (length > room->size - room->length) {
        room->full = true;
        return;
    }
    if (length)
        memcpy(room->bytes + room->length, bytes, length);
    room->length += length;
}

static void room_add_lower(struct room *room, struct slice text)
{
    size_t start = room->length;
    room_add(room, text.bytes, text.length);
    for (size_t i = start; i < room->length; i++)
        if (room->bytes[i] >= 'A' && room->bytes[i] <= 'Z')
            room->bytes[i] = (char)(room->bytes[i] | 0x20);
}

/* ---- the primary key ------------------------------------------------------------------------ */

/* A part, and the line's end. */
static void line_add(struct room *room, struct slice text)
{
    room_add(room, text.bytes, text.length);
    room_add(room, "\n", 1);
}

static void port_add(struct room *room, const struct cache_key_parts *parts)
{
    char digits[8];
    size_t at = sizeof digits;
    uint16_t usual = slice_is_nocase(parts->scheme, "https") ? 443 : 80;
    if (!parts->port || parts->port == usual)
        return;
    for (unsigned port = parts->port; port; port /= 10)
        digits[--at] = (char)('0' + port % 10);
    digits[--at] = ':';
    room_add(room, digits + at, sizeof digits - at);
}

static bool control_free(struct slice text)
{
    for (uint32_t i = 0; i < text.length; i++)
        if ((unsigned char)text.bytes[i] < ' ' || text.bytes[i] == 0x7f)
            return false;
    return true;
}

/* FNV leaves the upper bits of texts that differ in their last bytes alike, and shards go by them
 * (the last steps of MurmurHash3). */
static uint64_t mixed(uint64_t hash)
{
    hash = (hash ^ hash >> 33) * 0xff51afd7ed558ccdull;
    hash = (hash ^ hash >> 33) * 0xc4ceb9fe1a85ec53ull;
    return hash ^ hash >> 33;
}

bool cache_key_make(const struct cache_key_parts *parts, char *room_bytes,
                    struct cache_key *ret_key)
{
    struct room room = {.bytes = room_bytes, .size = CACHE_KEY_BYTES_MAX};
    const struct slice *custom = parts->custom.bytes ? &parts->custom : NULL;
    if (!control_free(parts->listener) || !control_free(parts->route) ||
        !control_free(parts->scheme) || !control_free(parts->host) ||
        !control_free(parts->target) || (custom && !control_free(*custom)))
        return false;
    line_add(&room, parts->listener);
    line_add(&room, parts->route);
    if (custom) {
        line_add(&room, SLICE("key"));
        ret_key->url = (uint32_t)room.length;
        room_add(&room, custom->bytes, custom->length);
    } else {
        room_add_lower(&room, parts->scheme);
        room_add(&room, "\n", 1);
        ret_key->url = (uint32_t)room.length;
        room_add_lower(&room, parts->host);
        port_add(&room, parts);
        if (!parts->target.length || parts->target.bytes[0] == '?') /* RFC 9110 §4.2.3 */
            room_add(&room, "/", 1);
        room_add(&room, parts->target.bytes, parts->target.length);
    }
    ret_key->bytes = room.bytes;
    ret_key->length = (uint32_t)room.length;
    ret_key->hash = mixed(hash_bytes(room.bytes, room.length, hash_seed()));
    return !room.full;
}

/* ---- Vary ----------------------------------------------------------------------------------- */

static bool blank_or_comma(char byte)
{
    return byte == ' ' || byte == '\t' || byte == ',';
}

/* The next name of a list; empty: that was all. False: it is none. */
static bool name_next(struct slice *rest, struct slice *ret_name)
{
    const char *at = rest->bytes, *end = at + rest->length;
    while (at < end && blank_or_comma(*at))
        at++;
    const char *stop = h1_skip(at, end, BYTE_TOKEN);
    *ret_name = (struct slice){at, (uint32_t)(stop - at)};
    *rest = (struct slice){stop, (uint32_t)(end - stop)};
    return at == end || (stop > at && (stop == end || blank_or_comma(*stop)));
}

int vary_names(const struct field *fields, uint32_t count, char *room_bytes)
{
    struct room room = {.bytes = room_bytes, .size = VARY_BYTES_MAX};
    unsigned names = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct slice rest = fields[i].value, name;
        if (fields[i].dropped || !slice_is_nocase(fields[i].name, "Vary"))
            continue;
        for (;;) {
            if (!name_next(&rest, &name) || names > VARY_NAMES_MAX)
                return -1;
            if (!name.length)
                break;
            if (names++)
                room_add(&room, ",", 1);
            room_add_lower(&room, name);
        }
    }
    return room.full || names > VARY_NAMES_MAX ? -1 : (int)room.length;
}

/* Without white space at the ends and around commas. */
static void value_add(struct room *room, struct slice value)
{
    for (uint32_t i = 0; i < value.length; i++) {
        char byte = value.bytes[i];
        if (byte == ' ' || byte == '\t') {
            uint32_t next = i;
            while (next < value.length && (value.bytes[next] == ' ' || value.bytes[next] == '\t'))
                next++;
            bool edge =
                !i || next == value.length || value.bytes[next] == ',' || value.bytes[i - 1] == ',';
            if (!edge)
                room_add(room, value.bytes + i, next - i);
            i = next - 1;
        } else {
            room_add(room, &byte, 1);
        }
    }
}

int vary_values(struct slice names, const struct head *request, char *room_bytes)
{
    struct room room = {.bytes = room_bytes, .size = VARY_BYTES_MAX};
    struct slice name;
    while (name_next(&names, &name) && name.length) {
        bool there = false;
        for (uint32_t i = 0; i < request->field_count; i++) {
            const struct field *field = &request->fields[i];
            if (!slice_same_nocase(field->name, name))
                continue;
            room_add(&room, there ? "," : "=", 1); /* an empty field is not an absent one */
            there = true;
            value_add(&room, field->value);
        }
        room_add(&room, "\n", 1);
    }
    return room.full ? -1 : (int)room.length;
}
