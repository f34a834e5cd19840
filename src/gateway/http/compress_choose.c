#include "gateway/http/compress_choose.h"

#include "gateway/http/h1_fields.h"

_Static_assert((int)CODING_BROTLI == ENCODING_BROTLI && (int)CODING_ZSTD == ENCODING_ZSTD &&
                   (int)CODING_GZIP == ENCODING_GZIP,
               "a coding of the configuration is the encoding of the same number");

/* ---- types ----------------------------------------------------------------------------------- */

static char lower(char byte)
{
    return byte >= 'A' && byte <= 'Z' ? (char)(byte | 0x20) : byte;
}

/* `*` is any text; of several the last takes what it must. */
static bool type_matches(const char *pattern, struct slice type)
{
    const char *star = NULL;
    uint32_t at = 0, star_at = 0;
    while (at < type.length) {
        if (*pattern == '*') {
            star = ++pattern;
            star_at = at;
        } else if (*pattern == lower(type.bytes[at])) {
            pattern++;
            at++;
        } else if (star) {
            pattern = star;
            at = ++star_at;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return !*pattern;
}

static bool type_listed(const struct compression *compression, struct slice value)
{
    uint32_t length = 0;
    while (length < value.length && value.bytes[length] != ';' && value.bytes[length] != ' ')
        length++;
    for (const char *const *type = compression->types; *type; type++)
        if (type_matches(*type, (struct slice){value.bytes, length}))
            return true;
    return false;
}

/* ---- the response ---------------------------------------------------------------------------- */

static bool member_of(struct slice list, const char *name)
{
    struct slice member;
    while (h1_list_next(&list, &member))
        if (slice_is_nocase(member, name))
            return true;
    return false;
}

/* A field that speaks of the very bytes, or forbids. */
static bool field_forbids(const struct field *field)
{
    static const char *const names[] = {"Content-Encoding", "Content-Range", "Content-Digest",
                                        "Content-MD5",      "Repr-Digest",   "Digest"};
    if (slice_is_nocase(field->name, "Cache-Control"))
        return member_of(field->value, "no-transform");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (slice_is_nocase(field->name, names[i]))
            return true;
    return false;
}

static bool status_fits(uint16_t status)
{
    return status >= 200 && status != 204 && status != 205 && status != 206 && status != 304;
}

/* False: it is known to be too small. */
static bool size_fits(const struct compression *compression, const struct response_head *head,
                      size_t length, bool last)
{
    if (head->body == BODY_LENGTH)
        return head->body_length && head->body_length >= compression->bytes_min;
    return !last || (length && length >= compression->bytes_min);
}

bool compress_fits(const struct compression *compression, const struct response_head *head,
                   size_t length, bool last)
{
    bool listed = false;
    if (!status_fits(head->status) || !size_fits(compression, head, length, last))
        return false;
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct field *field = &head->fields[i];
        if (field->dropped)
            continue;
        if (field->id == FIELD_CONTENT_TYPE)
            listed = type_listed(compression, field->value);
        else if (field->id == FIELD_OTHER && field_forbids(field))
            return false;
    }
    return listed;
}

enum encoding compress_choose(const struct compression *compression, const struct head *request)
{
    const struct field *accept = head_find(request, "Accept-Encoding");
    enum encoding order[ENCODING_COUNT];
    for (size_t i = 0; i < compression->coding_count; i++)
        order[i] = (enum encoding)compression->codings[i];
    return accept ? encoding_prefer(accept->value, order, compression->coding_count)
                  : ENCODING_COUNT;
}

/* ---- heads ----------------------------------------------------------------------------------- */

static bool varies_already(const struct response_head *head)
{
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct field *field = &head->fields[i];
        if (!field->dropped && slice_is_nocase(field->name, "Vary") &&
            (member_of(field->value, "Accept-Encoding") || member_of(field->value, "*")))
            return true;
    }
    return false;
}

static bool etag_strong(const struct field *field)
{
    return field->id == FIELD_OTHER && slice_is_nocase(field->name, "ETag") &&
           field->value.length && field->value.bytes[0] == '"';
}

/* The same content in other bytes: RFC 9110 §8.8.1. */
static bool etag_weaken(struct bump *arena, struct field *field)
{
    char *weak = bump_alloc(arena, field->value.length + 2u);
    if (!weak)
        return false;
    memcpy(weak, "W/", 2);
    memcpy(weak + 2, field->value.bytes, field->value.length);
    field->value = (struct slice){weak, field->value.length + 2};
    return true;
}

/* A copy of the fields with room for two more; NULL: no memory. */
static struct field *fields_copy(struct bump *arena, const struct response_head *head)
{
    struct field *fields = bump_alloc(arena, (head->field_count + 2) * sizeof *fields);
    if (fields && head->field_count)
        memcpy(fields, head->fields, head->field_count * sizeof *fields);
    return fields;
}

static void field_add(struct field *fields, uint32_t *count, struct slice name, struct slice value)
{
    fields[(*count)++] = (struct field){.name = name, .value = value, .id = FIELD_OTHER};
}

bool compress_vary(struct bump *arena, struct response_head *head)
{
    if (varies_already(head))
        return true;
    struct field *fields = fields_copy(arena, head);
    if (!fields)
        return false;
    head->fields = fields;
    field_add(fields, &head->field_count, SLICE("Vary"), SLICE("Accept-Encoding"));
    return true;
}

bool compress_head(struct bump *arena, struct response_head *head, enum encoding encoding)
{
    struct field *fields = fields_copy(arena, head);
    bool varies = varies_already(head);
    uint32_t count = head->field_count;
    if (!fields)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        if (etag_strong(&fields[i]) && !etag_weaken(arena, &fields[i]))
            return false;
        if (slice_is_nocase(fields[i].name, "Accept-Ranges"))
            fields[i].dropped = true;
    }
    field_add(fields, &count, SLICE("Content-Encoding"), encodings[encoding].name);
    if (!varies)
        field_add(fields, &count, SLICE("Vary"), SLICE("Accept-Encoding"));
    head->fields = fields;
    head->field_count = count;
    head->body = BODY_CLOSE;
    head->body_length = 0;
    return true;
}

/* Did the client ask with the weak form of this tag? */
static bool asked_weakly(const struct head *request, struct slice etag)
{
    const struct field *field = head_find(request, "If-None-Match");
    if (!field)
        return false;
    const char *at = field->value.bytes, *end = at + field->value.length;
    while ((at = memmem(at, (size_t)(end - at), etag.bytes, etag.length))) {
        if (at - field->value.bytes >= 2 && memcmp(at - 2, "W/", 2) == 0)
            return true;
        at++;
    }
    return false;
}

bool compress_not_modified(struct bump *arena, const struct head *request,
                           struct response_head *head)
{
    struct field *fields = fields_copy(arena, head);
    if (!fields)
        return false;
    for (uint32_t i = 0; i < head->field_count; i++)
        if (etag_strong(&fields[i]) && asked_weakly(request, fields[i].value) &&
            !etag_weaken(arena, &fields[i]))
            return false;
    head->fields = fields;
    return true;
}
