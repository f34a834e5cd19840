#include "gateway/http/cache_record.h"

#include <stdlib.h>

static const char magic[8] = {'e', 'n', 'g', 'x', 'c', 'a', '0', '1'};

enum { FIELD_HEAD_BYTES = 2 * sizeof(uint32_t) }; /* lengths of name and value */

/* ---- sums ----------------------------------------------------------------------------------- */

/* Against broken disks and torn writes, not against people. */
static uint64_t sum_add(uint64_t sum, const char *bytes, size_t length)
{
    for (size_t at = 0; at < length; at += sizeof(uint64_t)) {
        uint64_t part = 0;
        size_t left = length - at;
        if (left >= sizeof part)
            memcpy(&part, bytes + at, sizeof part);
        else
            memcpy(&part, bytes + at, left);
        sum = (sum ^ part) * 0x9e3779b97f4a7c15ull;
        sum ^= sum >> 29;
    }
    return sum ^ length;
}

static uint64_t head_sum(const struct record *record)
{
    size_t skip = offsetof(struct record, sum);
    return sum_add(1, (const char *)record + skip, sizeof *record - skip);
}

bool record_head_good(const struct record *record)
{
    return memcmp(record->magic, magic, sizeof magic) == 0 &&
           record->head_sum == head_sum(record) && record->bytes >= sizeof *record;
}

bool record_good(const struct record *record, const char *rest)
{
    if (record->bytes - sizeof *record < record->texts_bytes ||
        record->bytes - sizeof *record - record->texts_bytes != record->body_bytes)
        return false;
    uint64_t sum = sum_add(2, rest, (size_t)record->texts_bytes);
    return record->sum == sum_add(sum, rest + record->texts_bytes, (size_t)record->body_bytes);
}

/* ---- writing -------------------------------------------------------------------------------- */

static char *slice_put(char *at, struct slice text)
{
    if (text.length)
        memcpy(at, text.bytes, text.length);
    return at + text.length;
}

static char *field_put(char *at, const struct field *field)
{
    uint32_t lengths[2] = {field->name.length, field->value.length};
    memcpy(at, lengths, sizeof lengths);
    at = slice_put(at + sizeof lengths, field->name);
    return slice_put(at, field->value);
}

static size_t texts_bytes(const struct cache_object *object)
{
    size_t bytes = object->key.length + object->vary_names.length + object->vary_values.length +
                   object->reason.length;
    for (uint32_t i = 0; i < object->field_count; i++)
        bytes += FIELD_HEAD_BYTES + object->fields[i].name.length + object->fields[i].value.length;
    return bytes;
}

static void record_finish(struct record *record, const char *texts, struct slice body)
{
    memcpy(record->magic, magic, sizeof magic);
    record->bytes = sizeof *record + record->texts_bytes + body.length;
    record->body_bytes = body.length;
    uint64_t sum = sum_add(2, texts, (size_t)record->texts_bytes);
    record->sum = sum_add(sum, body.bytes, body.length);
    record->head_sum = head_sum(record);
}

char *record_write(const struct cache_object *object, uint64_t sequence, size_t *ret_length)
{
    size_t texts = texts_bytes(object);
    struct record *record = texts <= RECORD_TEXTS_BYTES_MAX ? malloc(sizeof *record + texts) : NULL;
    if (!record)
        return NULL;
    *record = (struct record){.sequence = sequence,
                              .kind = RECORD_ANSWER,
                              .status = object->status,
                              .hash = object->key.hash,
                              .key_length = object->key.length,
                              .key_url = object->key.url,
                              .vary_names = object->vary_names.length,
                              .vary_values = object->vary_values.length,
                              .reason = object->reason.length,
                              .field_count = object->field_count,
                              .stored_ms = object->life.stored_ms,
                              .age_ms = object->life.age_ms,
                              .lifetime_ms = object->life.lifetime_ms,
                              .refresh_ms = object->life.refresh_ms,
                              .stale_ms = object->life.stale_ms,
                              .strict = object->life.strict,
                              .texts_bytes = texts};
    char *start = (char *)(record + 1);
    char *at = slice_put(start, (struct slice){object->key.bytes, object->key.length});
    at = slice_put(at, object->vary_names);
    at = slice_put(at, object->vary_values);
    at = slice_put(at, object->reason);
    for (uint32_t i = 0; i < object->field_count; i++)
        at = field_put(at, &object->fields[i]);
    const struct cache_body *body = object->body;
    record_finish(record, start, (struct slice){body->bytes, (uint32_t)body->length});
    *ret_length = sizeof *record + texts;
    return (char *)record;
}

char *record_write_text(enum record_kind kind, uint64_t hash, uint64_t sequence, const char *text,
                        size_t length, size_t *ret_length)
{
    struct record *record = malloc(sizeof *record + length);
    if (!record)
        return NULL;
    *record =
        (struct record){.sequence = sequence, .kind = kind, .hash = hash, .texts_bytes = length};
    if (length)
        memcpy(record + 1, text, length);
    record_finish(record, (const char *)(record + 1), SLICE(""));
    *ret_length = sizeof *record + length;
    return (char *)record;
}

/* ---- reading -------------------------------------------------------------------------------- */

struct reader {
    const char *at;
    size_t left;
    bool bad;
};

static struct slice take(struct reader *reader, uint64_t length)
{
    if (length > reader->left) {
        reader->bad = true;
        return SLICE("");
    }
    struct slice text = {reader->at, (uint32_t)length};
    reader->at += length;
    reader->left -= (size_t)length;
    return text;
}

static void field_take(struct reader *reader, struct field *field)
{
    uint32_t lengths[2] = {0, 0};
    struct slice head = take(reader, sizeof lengths);
    if (!reader->bad)
        memcpy(lengths, head.bytes, sizeof lengths);
    *field = (struct field){.name = take(reader, lengths[0])};
    field->value = take(reader, lengths[1]);
    field->id = (uint8_t)field_id_of(field->name);
}

bool record_read(const struct record *record, const char *rest, struct record_answer *ret_answer)
{
    struct record_answer *answer = ret_answer;
    if (record->kind != RECORD_ANSWER || record->field_count > RECORD_FIELDS_MAX ||
        record->texts_bytes > RECORD_TEXTS_BYTES_MAX || record->body_bytes > UINT32_MAX ||
        record->key_length > CACHE_KEY_BYTES_MAX || record->key_url > record->key_length ||
        record->vary_names > VARY_BYTES_MAX || record->vary_values > VARY_BYTES_MAX ||
        record->status < 200 || record->status > 999 || !record_good(record, rest))
        return false;
    struct reader reader = {.at = rest, .left = (size_t)record->texts_bytes};
    struct slice key = take(&reader, record->key_length);
    answer->key = (struct cache_key){record->hash, key.bytes, key.length, record->key_url};
    answer->setup = (struct cache_object_setup){.key = &answer->key,
                                                .vary_names = take(&reader, record->vary_names),
                                                .vary_values = take(&reader, record->vary_values),
                                                .status = (uint16_t)record->status,
                                                .reason = take(&reader, record->reason),
                                                .fields = answer->fields,
                                                .field_count = record->field_count};
    for (uint32_t i = 0; i < record->field_count; i++)
        field_take(&reader, &answer->fields[i]);
    answer->setup.life = (struct cache_life){.stored_ms = record->stored_ms,
                                             .age_ms = record->age_ms,
                                             .lifetime_ms = record->lifetime_ms,
                                             .refresh_ms = record->refresh_ms,
                                             .stale_ms = record->stale_ms,
                                             .strict = record->strict != 0};
    answer->body = (struct slice){rest + record->texts_bytes, (uint32_t)record->body_bytes};
    return !reader.bad && !reader.left;
}
