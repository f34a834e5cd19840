#include "gateway/http/h1_fields.h"

#include "gateway/http/h1_scan.h"

enum { CONNECTION_NAMES_MAX = 32 };

static enum h1_result refuse(struct h1_refusal *refusal, uint16_t status, const char *why)
{
    *refusal = (struct h1_refusal){status, why};
    return H1_BAD;
}

/* ---- lines ---------------------------------------------------------------------------------- */

/* Those of which a second one could be read as the message's end, host or target by somebody. */
static bool field_single(enum field_id id)
{
    return id == FIELD_HOST || id == FIELD_CONTENT_LENGTH || id == FIELD_TRANSFER_ENCODING;
}

static enum h1_result name_refuse(const char *at, const char *end, struct h1_refusal *refusal)
{
    if (at < end && (*at == ' ' || *at == '\t'))
        return refuse(refusal, 400, "white space before a colon, or a folded line");
    return refuse(refusal, 400, "a field name with bytes that are none of a token");
}

static enum h1_result field_add(struct head *head, struct slice name, struct slice value,
                                struct h1_refusal *refusal)
{
    if (head->field_count >= head->fields_room)
        return refuse(refusal, 431, "too many fields");
    bool disguised;
    enum field_id id = field_id_find(name, &disguised);
    if (id != FIELD_OTHER && !head->first[id])
        head->first[id] = (uint16_t)(head->field_count + 1);
    else if (field_single(id))
        return refuse(refusal, 400, "a second Host, Content-Length or Transfer-Encoding");
    head->fields[head->field_count++] =
        (struct field){.name = name, .value = value, .id = (uint8_t)id, .dropped = disguised};
    return H1_DONE;
}

enum h1_result h1_fields_parse(const char *at, const char *end, struct head *head,
                               struct h1_refusal *ret_refusal)
{
    while (end - at > 2) {
        const char *name = at;
        const char *colon = h1_skip(at, end, BYTE_TOKEN);
        if (colon == name || colon == end || *colon != ':')
            return name_refuse(colon, end, ret_refusal);
        const char *value = colon + 1;
        while (value < end && (*value == ' ' || *value == '\t'))
            value++;
        const char *value_end = h1_value_end(value, end);
        if (end - value_end < 2 || value_end[0] != '\r' || value_end[1] != '\n')
            return refuse(ret_refusal, 400, "a control byte in a field");
        at = value_end + 2;
        while (value_end > value && (value_end[-1] == ' ' || value_end[-1] == '\t'))
            value_end--;
        enum h1_result result =
            field_add(head, (struct slice){name, (uint32_t)(colon - name)},
                      (struct slice){value, (uint32_t)(value_end - value)}, ret_refusal);
        if (result != H1_DONE)
            return result;
    }
    if (end - at != 2 || at[0] != '\r' || at[1] != '\n')
        return refuse(ret_refusal, 400, "no empty line after the fields");
    return H1_DONE;
}

/* ---- lists ---------------------------------------------------------------------------------- */

static struct slice trimmed(struct slice slice)
{
    while (slice.length && (*slice.bytes == ' ' || *slice.bytes == '\t')) {
        slice.bytes++;
        slice.length--;
    }
    while (slice.length &&
           (slice.bytes[slice.length - 1] == ' ' || slice.bytes[slice.length - 1] == '\t'))
        slice.length--;
    return slice;
}

bool h1_list_next(struct slice *list, struct slice *ret_member)
{
    while (list->length) {
        const char *comma = memchr(list->bytes, ',', list->length);
        uint32_t length = comma ? (uint32_t)(comma - list->bytes) : list->length;
        struct slice member = trimmed((struct slice){list->bytes, length});
        uint32_t used = comma ? length + 1 : length;
        list->bytes += used;
        list->length -= used;
        if (member.length) {
            *ret_member = member;
            return true;
        }
    }
    return false;
}

static void fields_drop(struct head *head, struct slice name)
{
    for (uint32_t i = 0; i < head->field_count; i++)
        if (slice_same_nocase(head->fields[i].name, name))
            head->fields[i].dropped = true;
}

struct connection_options {
    bool close, keep_alive, upgrade;
    unsigned names;
};

static void option_read(struct head *head, struct slice option, struct connection_options *options)
{
    if (slice_is_nocase(option, "close"))
        options->close = true;
    else if (slice_is_nocase(option, "keep-alive"))
        options->keep_alive = true;
    else if (slice_is_nocase(option, "upgrade"))
        options->upgrade = true;
    else if (!slice_is_nocase(option, "te") && ++options->names <= CONNECTION_NAMES_MAX)
        fields_drop(head, option);
}

static void te_read(struct head *head)
{
    for (uint32_t i = 0; i < head->field_count; i++) {
        if (head->fields[i].id != FIELD_TE)
            continue;
        struct slice list = head->fields[i].value;
        struct slice member;
        while (h1_list_next(&list, &member))
            head->te_trailers |= slice_is_nocase(member, "trailers");
    }
}

bool h1_connection_read(struct head *head)
{
    struct connection_options options = {0};
    for (uint32_t i = head->first[FIELD_CONNECTION]; i && i <= head->field_count; i++) {
        if (head->fields[i - 1].id != FIELD_CONNECTION)
            continue;
        struct slice list = head->fields[i - 1].value;
        struct slice option;
        while (h1_list_next(&list, &option))
            option_read(head, option, &options);
    }
    if (head->first[FIELD_TE])
        te_read(head);
    head->keep_alive = !options.close && (head->version_minor || options.keep_alive);
    head->upgrade = options.upgrade && head->version_minor && head->first[FIELD_UPGRADE];
    return options.names <= CONNECTION_NAMES_MAX;
}

/* ---- framing -------------------------------------------------------------------------------- */

bool h1_length_read(struct slice value, uint64_t *ret_length)
{
    uint64_t length = 0;
    if (!value.length || value.length > 18)
        return false;
    for (uint32_t i = 0; i < value.length; i++) {
        if (value.bytes[i] < '0' || value.bytes[i] > '9')
            return false;
        length = length * 10 + (uint64_t)(value.bytes[i] - '0');
    }
    *ret_length = length;
    return true;
}

static bool coding_known(struct slice name)
{
    return slice_is_nocase(name, "gzip") || slice_is_nocase(name, "x-gzip") ||
           slice_is_nocase(name, "deflate") || slice_is_nocase(name, "compress") ||
           slice_is_nocase(name, "x-compress");
}

static bool is_token(struct slice text)
{
    return h1_skip(text.bytes, text.bytes + text.length, BYTE_TOKEN) == text.bytes + text.length;
}

enum h1_coding h1_coding_read(struct slice value)
{
    if (slice_is_nocase(value, "chunked"))
        return CODING_CHUNKED;
    bool chunked = false, known = true, any = false;
    struct slice coding;
    while (h1_list_next(&value, &coding)) {
        if (chunked || !is_token(coding))
            return CODING_BROKEN;
        any = true;
        chunked = slice_is_nocase(coding, "chunked");
        known &= chunked || coding_known(coding);
    }
    if (!any)
        return CODING_BROKEN;
    return known && !chunked ? CODING_OPEN : CODING_UNKNOWN;
}
