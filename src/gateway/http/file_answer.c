#include "gateway/http/file_answer.h"

#include <stdio.h>
#include <string.h>

#include "gateway/http/bump.h"
#include "gateway/http/file_range.h"
#include "gateway/http/file_send.h"
#include "gateway/http/files.h"
#include "gateway/http/follow.h"
#include "gateway/http/http_worker.h"

/* ---- refusals ----------------------------------------------------------------------------------
 */

void file_refuse(struct exchange *exchange, uint16_t status, enum exchange_blame blame,
                 const char *why)
{
    exchange_fail(exchange, status, blame, why);
    exchange_release(exchange);
}

void file_refuse_memory(struct exchange *exchange)
{
    file_refuse(exchange, 503, BLAME_ENGINX, "no memory to answer with a file");
}

/* ---- parts of an answer -------------------------------------------------------------------------
 */

struct file *files_find(struct exchange *exchange, const struct plan_directory *directory,
                        const char *name, size_t length)
{
    return file_find(exchange->worker->http->files->cache, directory,
                     (struct slice){name, (uint32_t)length}, loop_now(exchange->worker->loop));
}

void file_fields_put(struct file_fields *fields, struct slice name, struct slice value,
                     enum field_id id)
{
    fields->fields[fields->count++] =
        (struct field){.name = name, .value = value, .id = (uint8_t)id};
}

static struct slice text_of(const char *text)
{
    return (struct slice){text, (uint32_t)strlen(text)};
}

/* What 200, 206 and 304 have alike. `type`: of what was asked for, of which `file` may be a
 * compressed variant. */
static void answer_describe(struct file_fields *answer, const struct file *file, bool varies)
{
    file_fields_put(answer, SLICE("Last-Modified"), (struct slice){file->date, HTTP_DATE_BYTES - 1},
                    FIELD_OTHER);
    file_fields_put(answer, SLICE("ETag"), file_etag(file), FIELD_OTHER);
    if (varies)
        file_fields_put(answer, SLICE("Vary"), SLICE("Accept-Encoding"), FIELD_OTHER);
}

void file_bodiless(struct exchange *exchange, const struct file_fields *answer, uint16_t status,
                   enum body_kind body, struct file *file)
{
    const struct response_head head = {
        .status = status, .fields = answer->fields, .field_count = answer->count, .body = body};
    ssize_t taken = exchange_respond(exchange, &head, "", 0, true);
    file_unref(file);
    if (taken >= 0)
        exchange_release(exchange);
}

struct file_send *file_send_new(struct exchange *exchange, struct file *file, uint32_t pieces)
{
    struct file_send *send = bump_alloc(exchange->arena, sizeof *send);
    struct file_piece *all = bump_alloc(exchange->arena, pieces * sizeof *all);
    if (!send || !all) {
        file_unref(file);
        file_refuse_memory(exchange);
        return NULL;
    }
    *send = (struct file_send){.exchange = exchange, .file = file, .pieces = all, .count = pieces};
    memset(all, 0, pieces * sizeof *all);
    exchange->handler_own = send;
    return send;
}

/* ---- ranges ------------------------------------------------------------------------------------
 */

enum { PART_BYTES = 256, BOUNDARY_BYTES = 17 };

/* "bytes 0-9/100" in the arena; `bytes` NULL: no memory. */
static struct slice content_range(struct exchange *exchange, const struct range *range,
                                  uint64_t size)
{
    char text[80];
    int length = range ? snprintf(text, sizeof text, "bytes %llu-%llu/%llu",
                                  (unsigned long long)range->first,
                                  (unsigned long long)(range->first + range->length - 1),
                                  (unsigned long long)size)
                       : snprintf(text, sizeof text, "bytes */%llu", (unsigned long long)size);
    return (struct slice){bump_copy(exchange->arena, text, (size_t)length), (uint32_t)length};
}

static void send_range(struct exchange *exchange, struct file_fields *answer, struct file *file,
                       struct slice type, const struct range *range)
{
    struct file_send *send = file_send_new(exchange, file, 1);
    if (!send)
        return;
    struct slice place = content_range(exchange, range, file->size);
    file_fields_put(answer, SLICE("Content-Type"), type, FIELD_CONTENT_TYPE);
    file_fields_put(answer, SLICE("Content-Range"), place.bytes ? place : SLICE("bytes"),
                    FIELD_OTHER);
    send->pieces[0] = (struct file_piece){.offset = range->first, .length = range->length};
    struct response_head head = {
        .status = 206, .fields = answer->fields, .field_count = answer->count};
    file_send_start(send, &head);
}

/* The lines in front of a part. False: no memory. */
static bool part_head(struct exchange *exchange, const char *boundary, struct slice type,
                      const struct range *range, uint64_t size, struct file_piece *ret_piece)
{
    char *text = bump_alloc(exchange->arena, PART_BYTES + type.length);
    if (!text)
        return false;
    int length =
        snprintf(text, PART_BYTES + type.length,
                 "\r\n--%s\r\nContent-Type: %.*s\r\nContent-Range: bytes "
                 "%llu-%llu/%llu\r\n\r\n",
                 boundary, (int)type.length, type.bytes, (unsigned long long)range->first,
                 (unsigned long long)(range->first + range->length - 1), (unsigned long long)size);
    *ret_piece = (struct file_piece){.bytes = text, .length = (uint64_t)length};
    return true;
}

static bool parts_make(struct file_send *send, struct slice type, const struct range *ranges,
                       uint32_t count, const char *boundary)
{
    struct exchange *exchange = send->exchange;
    for (uint32_t i = 0; i < count; i++) {
        if (!part_head(exchange, boundary, type, &ranges[i], send->file->size,
                       &send->pieces[2 * i]))
            return false;
        send->pieces[2 * i + 1] =
            (struct file_piece){.offset = ranges[i].first, .length = ranges[i].length};
    }
    char *text = bump_alloc(exchange->arena, PART_BYTES);
    if (!text)
        return false;
    int length = snprintf(text, PART_BYTES, "\r\n--%s--\r\n", boundary);
    send->pieces[2 * count] = (struct file_piece){.bytes = text, .length = (uint64_t)length};
    return true;
}

/* multipart/byteranges (RFC 9110 §14.6). */
static void send_ranges(struct exchange *exchange, struct file_fields *answer, struct file *file,
                        struct slice type, const struct range *ranges, uint32_t count)
{
    char boundary[BOUNDARY_BYTES];
    snprintf(boundary, sizeof boundary, "%016llx",
             (unsigned long long)random_next(&exchange->worker->random));
    struct file_send *send = file_send_new(exchange, file, 2 * count + 1);
    if (!send)
        return;
    char *text = bump_alloc(exchange->arena, PART_BYTES);
    if (!text || !parts_make(send, type, ranges, count, boundary)) {
        file_send_abort(send);
        file_refuse_memory(exchange);
        return;
    }
    snprintf(text, PART_BYTES, "multipart/byteranges; boundary=%s", boundary);
    file_fields_put(answer, SLICE("Content-Type"), text_of(text), FIELD_CONTENT_TYPE);
    struct response_head head = {
        .status = 206, .fields = answer->fields, .field_count = answer->count};
    file_send_start(send, &head);
}

static void send_outside(struct exchange *exchange, struct file *file)
{
    struct file_fields answer = {0};
    struct slice place = content_range(exchange, NULL, file->size);
    if (place.bytes)
        file_fields_put(&answer, SLICE("Content-Range"), place, FIELD_OTHER);
    exchange->blame = BLAME_CLIENT;
    exchange->why = "no part of the file was asked for";
    file_bodiless(exchange, &answer, 416, BODY_LENGTH, file);
}

/* ---- the file ----------------------------------------------------------------------------------
 */

static void send_whole(struct exchange *exchange, struct file_fields *answer, struct file *file,
                       struct slice type)
{
    struct file_send *send = file_send_new(exchange, file, 1);
    if (!send)
        return;
    file_fields_put(answer, SLICE("Content-Type"), type, FIELD_CONTENT_TYPE);
    file_fields_put(answer, SLICE("Accept-Ranges"), SLICE("bytes"), FIELD_OTHER);
    send->pieces[0] = (struct file_piece){.length = file->size};
    struct response_head head = {
        .status = 200, .fields = answer->fields, .field_count = answer->count};
    file_send_start(send, &head);
}

static void send_wished(struct exchange *exchange, const struct wishes *wishes,
                        struct file_fields *answer, struct file *file, struct slice type)
{
    struct range ranges[RANGES_MAX];
    uint32_t count = 0;
    enum ranges what = RANGES_IGNORED;
    if (wishes->range.bytes && exchange->request.method == METHOD_GET &&
        wishes_range_holds(wishes, file_etag(file), file->modified.tv_sec))
        what = ranges_parse(wishes->range, file->size, ranges, &count);
    if (what == RANGES_OUTSIDE)
        send_outside(exchange, file);
    else if (what == RANGES_IGNORED)
        send_whole(exchange, answer, file, type);
    else if (count == 1)
        send_range(exchange, answer, file, type, &ranges[0]);
    else
        send_ranges(exchange, answer, file, type, ranges, count);
}

/* What the file is, by its name, whose table stays; or what the service said that led to it. */
static struct slice type_of(const struct exchange *exchange, const struct file *file)
{
    bool said = exchange->follow && exchange->follow->type.length;
    return said ? exchange->follow->type : file->type.type;
}

/* The best variant for the client, in place of the file, if there is one; *ret_encoding: which. */
static struct file *variant_choose(struct exchange *exchange,
                                   const struct plan_directory *directory,
                                   const struct wishes *wishes, struct file *file,
                                   enum encoding *ret_encoding)
{
    *ret_encoding = encoding_choose(wishes->accept_encoding, file->variants);
    if (*ret_encoding == ENCODING_COUNT)
        return file;
    struct slice suffix = encodings[*ret_encoding].suffix;
    char *name = bump_alloc(exchange->arena, file->name_length + suffix.length + 1);
    struct file *variant = NULL;
    if (name) {
        memcpy(name, file->name, file->name_length);
        memcpy(name + file->name_length, suffix.bytes, suffix.length + 1);
        variant = files_find(exchange, directory, name, file->name_length + suffix.length);
    }
    if (variant && variant->state == FILE_REGULAR) {
        file_unref(file);
        return variant;
    }
    file_unref(variant);
    *ret_encoding = ENCODING_COUNT;
    return file;
}

void file_answer(struct exchange *exchange, const struct plan_directory *directory,
                 struct file *file)
{
    struct slice type = type_of(exchange, file);
    bool varies = file->variants != 0;
    struct wishes wishes;
    struct file_fields answer = {0};
    enum encoding encoding;
    wishes_read(&exchange->request, &wishes);
    file = variant_choose(exchange, directory, &wishes, file, &encoding);
    answer_describe(&answer, file, varies);
    switch (wishes_judge(&wishes, file_etag(file), file->modified.tv_sec)) {
    case VERDICT_NOT_MODIFIED:
        file_bodiless(exchange, &answer, 304, BODY_NONE, file);
        return;
    case VERDICT_FAILED:
        file_unref(file);
        file_refuse(exchange, 412, BLAME_CLIENT, "the file is another than the request is for");
        return;
    case VERDICT_SEND:
        break;
    }
    if (encoding != ENCODING_COUNT)
        file_fields_put(&answer, SLICE("Content-Encoding"), encodings[encoding].name, FIELD_OTHER);
    send_wished(exchange, &wishes, &answer, file, type);
}
