/* The handler of `-> files`: names, folders, conditions, ranges, variants; what goes out is
 * file_send.c's, what is known of files file_cache.c's. */
#include "gateway/http/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/http/bump.h"
#include "gateway/http/expand.h"
#include "gateway/http/file_condition.h"
#include "gateway/http/file_listing.h"
#include "gateway/http/file_path.h"
#include "gateway/http/file_range.h"
#include "gateway/http/file_send.h"
#include "gateway/http/http_worker.h"
#include "gateway/http/path.h"

/* ---- the worker's part -------------------------------------------------------------------------
 */

static int file_open(void *owner, int directory_fd, const char *name, int *ret_fd)
{
    struct files_worker *files = owner;
    return opener_open(&files->opener, directory_fd, name, ret_fd);
}

/* An eighth of the process' descriptors may be files that are kept open. */
static uint32_t files_max(const struct worker *worker)
{
    uint32_t threads = tally_sizes(worker->place.tally)->threads;
    return worker->descriptors_max ? worker->descriptors_max / 8 / threads : FILES_MAX;
}

struct files_worker *files_worker(struct worker *worker)
{
    struct http_worker *http = worker->http;
    if (http->files)
        return http->files;
    struct files_worker *files = calloc(1, sizeof *files);
    if (!files)
        return NULL;
    files->cache = file_cache_new(files_max(worker), file_open, files);
    if (!files->cache) {
        free(files);
        return NULL;
    }
    http->files = files;
    return files;
}

void files_worker_free(struct files_worker *files)
{
    if (!files)
        return;
    file_cache_free(files->cache);
    opener_done(&files->opener);
    free(files);
}

/* ---- refusals ----------------------------------------------------------------------------------
 */

static void refuse(struct exchange *exchange, uint16_t status, enum exchange_blame blame,
                   const char *why)
{
    exchange_fail(exchange, status, blame, why);
    exchange_release(exchange);
}

static void refuse_absent(struct exchange *exchange, int error)
{
    switch (-error) {
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
        refuse(exchange, 404, BLAME_CLIENT, "there is no such file");
        return;
    case EXDEV:
    case ELOOP:
        refuse(exchange, 404, BLAME_CLIENT, "a symbolic link leads out of the folder");
        return;
    case EACCES:
    case EPERM:
        refuse(exchange, 403, BLAME_ENGINX, "the gateway's user may not read the file");
        return;
    default:
        refuse(exchange, 503, BLAME_ENGINX, "the file cannot be opened");
    }
}

static void refuse_memory(struct exchange *exchange)
{
    refuse(exchange, 503, BLAME_ENGINX, "no memory to answer with a file");
}

/* ---- a request ----------------------------------------------------------------------------------
 */

struct asked { /* lives while the request is looked at */
    struct exchange *exchange;
    const struct route_files *files;
    const struct plan_directory *directory;
    struct file_cache *cache;
    char *name; /* room for the index behind it */
    size_t length;
};

static struct file *find(const struct asked *asked, const char *name, size_t length)
{
    return file_find(asked->cache, asked->directory, (struct slice){name, (uint32_t)length},
                     loop_now(asked->exchange->worker->loop));
}

/* The head's fields; as many as it may have. */
struct answer {
    struct field fields[8];
    uint32_t count;
};

static void answer_put(struct answer *answer, struct slice name, struct slice value,
                       enum field_id id)
{
    answer->fields[answer->count++] =
        (struct field){.name = name, .value = value, .id = (uint8_t)id};
}

static struct slice text_of(const char *text)
{
    return (struct slice){text, (uint32_t)strlen(text)};
}

/* What 200, 206 and 304 have alike. `type`: of what was asked for, of which `file` may be a
 * compressed variant. */
static void answer_describe(struct answer *answer, const struct file *file, bool varies)
{
    answer_put(answer, SLICE("Last-Modified"), (struct slice){file->date, HTTP_DATE_BYTES - 1},
               FIELD_OTHER);
    answer_put(answer, SLICE("ETag"), file_etag(file), FIELD_OTHER);
    if (varies)
        answer_put(answer, SLICE("Vary"), SLICE("Accept-Encoding"), FIELD_OTHER);
}

/* An answer without a body; `file` is let go. */
static void bodiless(struct exchange *exchange, const struct answer *answer, uint16_t status,
                     enum body_kind body, struct file *file)
{
    const struct response_head head = {
        .status = status, .fields = answer->fields, .field_count = answer->count, .body = body};
    ssize_t taken = exchange_respond(exchange, &head, "", 0, true);
    file_unref(file);
    if (taken >= 0)
        exchange_release(exchange);
}

/* NULL: no memory; the file is let go then. */
static struct file_send *send_new(struct exchange *exchange, struct file *file, uint32_t pieces)
{
    struct file_send *send = bump_alloc(exchange->arena, sizeof *send);
    struct file_piece *all = bump_alloc(exchange->arena, pieces * sizeof *all);
    if (!send || !all) {
        file_unref(file);
        refuse_memory(exchange);
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

static void send_range(struct exchange *exchange, struct answer *answer, struct file *file,
                       struct slice type, const struct range *range)
{
    struct file_send *send = send_new(exchange, file, 1);
    if (!send)
        return;
    struct slice place = content_range(exchange, range, file->size);
    answer_put(answer, SLICE("Content-Type"), type, FIELD_CONTENT_TYPE);
    answer_put(answer, SLICE("Content-Range"), place.bytes ? place : SLICE("bytes"), FIELD_OTHER);
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
static void send_ranges(struct exchange *exchange, struct answer *answer, struct file *file,
                        struct slice type, const struct range *ranges, uint32_t count)
{
    char boundary[BOUNDARY_BYTES];
    snprintf(boundary, sizeof boundary, "%016llx",
             (unsigned long long)random_next(&exchange->worker->random));
    struct file_send *send = send_new(exchange, file, 2 * count + 1);
    if (!send)
        return;
    char *text = bump_alloc(exchange->arena, PART_BYTES);
    if (!text || !parts_make(send, type, ranges, count, boundary)) {
        file_send_abort(send);
        refuse_memory(exchange);
        return;
    }
    snprintf(text, PART_BYTES, "multipart/byteranges; boundary=%s", boundary);
    answer_put(answer, SLICE("Content-Type"), text_of(text), FIELD_CONTENT_TYPE);
    struct response_head head = {
        .status = 206, .fields = answer->fields, .field_count = answer->count};
    file_send_start(send, &head);
}

static void send_outside(struct exchange *exchange, struct file *file)
{
    struct answer answer = {0};
    struct slice place = content_range(exchange, NULL, file->size);
    if (place.bytes)
        answer_put(&answer, SLICE("Content-Range"), place, FIELD_OTHER);
    exchange->blame = BLAME_CLIENT;
    exchange->why = "no part of the file was asked for";
    bodiless(exchange, &answer, 416, BODY_LENGTH, file);
}

/* ---- the file ----------------------------------------------------------------------------------
 */

static void send_whole(struct exchange *exchange, struct answer *answer, struct file *file,
                       struct slice type)
{
    struct file_send *send = send_new(exchange, file, 1);
    if (!send)
        return;
    answer_put(answer, SLICE("Content-Type"), type, FIELD_CONTENT_TYPE);
    answer_put(answer, SLICE("Accept-Ranges"), SLICE("bytes"), FIELD_OTHER);
    send->pieces[0] = (struct file_piece){.length = file->size};
    struct response_head head = {
        .status = 200, .fields = answer->fields, .field_count = answer->count};
    file_send_start(send, &head);
}

static void send_wished(struct exchange *exchange, const struct wishes *wishes,
                        struct answer *answer, struct file *file, struct slice type)
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

/* The best variant for the client, in place of the file, if there is one; *ret_encoding: which. */
static struct file *variant_choose(const struct asked *asked, const struct wishes *wishes,
                                   struct file *file, enum encoding *ret_encoding)
{
    *ret_encoding = encoding_choose(wishes->accept_encoding, file->variants);
    if (*ret_encoding == ENCODING_COUNT)
        return file;
    struct slice suffix = encodings[*ret_encoding].suffix;
    char *name = bump_alloc(asked->exchange->arena, file->name_length + suffix.length + 1);
    struct file *variant = NULL;
    if (name) {
        memcpy(name, file->name, file->name_length);
        memcpy(name + file->name_length, suffix.bytes, suffix.length + 1);
        variant = find(asked, name, file->name_length + suffix.length);
    }
    if (variant && variant->state == FILE_REGULAR) {
        file_unref(file);
        return variant;
    }
    file_unref(variant);
    *ret_encoding = ENCODING_COUNT;
    return file;
}

/* Takes the reference over. */
static void file_serve(const struct asked *asked, struct file *file)
{
    struct exchange *exchange = asked->exchange;
    struct slice type = file->type.type; /* of a table that stays */
    bool varies = file->variants != 0;
    struct wishes wishes;
    struct answer answer = {0};
    enum encoding encoding;
    wishes_read(&exchange->request, &wishes);
    file = variant_choose(asked, &wishes, file, &encoding);
    answer_describe(&answer, file, varies);
    switch (wishes_judge(&wishes, file_etag(file), file->modified.tv_sec)) {
    case VERDICT_NOT_MODIFIED:
        bodiless(exchange, &answer, 304, BODY_NONE, file);
        return;
    case VERDICT_FAILED:
        file_unref(file);
        refuse(exchange, 412, BLAME_CLIENT, "the file is another than the request is for");
        return;
    case VERDICT_SEND:
        break;
    }
    if (encoding != ENCODING_COUNT)
        answer_put(&answer, SLICE("Content-Encoding"), encodings[encoding].name, FIELD_OTHER);
    send_wished(exchange, &wishes, &answer, file, type);
}

/* ---- what is no file ---------------------------------------------------------------------------
 */

/* The fallback, or a refusal for this reason. */
static void absent_serve(const struct asked *asked, int error)
{
    const char *fallback = asked->files->fallback;
    bool missing = error != -EACCES && error != -EPERM && error != -EMFILE && error != -ENFILE &&
                   error != -ETIMEDOUT;
    struct file *file =
        fallback && missing ? find(asked, fallback + 1, strlen(fallback + 1)) : NULL;
    if (file && file->state == FILE_REGULAR) {
        file_serve(asked, file);
        return;
    }
    file_unref(file);
    refuse_absent(asked->exchange, error);
}

static void listing_send(const struct asked *asked, char *page, size_t length)
{
    struct exchange *exchange = asked->exchange;
    struct file_send *send = send_new(exchange, NULL, 1);
    if (!send) {
        free(page);
        return;
    }
    struct answer answer = {0};
    answer_put(&answer, SLICE("Content-Type"), SLICE("text/html; charset=utf-8"),
               FIELD_CONTENT_TYPE);
    answer_put(&answer, SLICE("Cache-Control"), SLICE("no-cache"), FIELD_OTHER);
    send->owned = page;
    send->pieces[0] = (struct file_piece){.bytes = page, .length = length};
    struct response_head head = {
        .status = 200, .fields = answer.fields, .field_count = answer.count};
    file_send_start(send, &head);
}

/* The folder without an index, whose name ends with a slash or is empty. */
static void listing_serve(const struct asked *asked, int error)
{
    struct files_worker *files = asked->exchange->worker->http->files;
    char *page;
    size_t length = asked->length, page_length;
    int fd = -1;
    while (length && asked->name[length - 1] == '/')
        length--;
    asked->name[length] = 0;
    int found = opener_open(&files->opener, asked->directory->fd, asked->name, &fd);
    if (!found)
        found = file_listing_make(fd, asked->name, &page, &page_length);
    if (!found)
        listing_send(asked, page, page_length);
    else /* a file in the place of a folder is no folder: ENOTDIR */
        absent_serve(asked, found == -ENOTDIR ? error : found);
}

/* A folder is asked for with a slash at the end, so that links on its pages work. */
static void folder_redirect(struct exchange *exchange)
{
    struct slice path = exchange->request.path, query = exchange->request.query;
    while (path.length && path.bytes[0] == '/') /* `//name` would be another host */
        path.bytes++, path.length--;
    char *location =
        bump_alloc(exchange->arena, ((size_t)path.length + query.length) * PATH_GROWTH_MAX + 4);
    if (!location) {
        refuse_memory(exchange);
        return;
    }
    size_t at = 0;
    location[at++] = '/';
    at += path_encode(path, PATH_PART_PATH, location + at);
    location[at++] = '/';
    if (exchange->request.has_query) {
        location[at++] = '?';
        at += path_encode(query, PATH_PART_QUERY, location + at);
    }
    struct answer answer = {0};
    answer_put(&answer, SLICE("Location"), (struct slice){location, (uint32_t)at}, FIELD_OTHER);
    bodiless(exchange, &answer, 301, BODY_LENGTH, NULL);
}

/* The index of the folder that was asked for. */
static void folder_serve(struct asked *asked)
{
    const char *index = asked->files->index;
    memcpy(asked->name + asked->length, index, strlen(index) + 1);
    struct file *file = find(asked, asked->name, asked->length + strlen(index));
    asked->name[asked->length] = 0;
    if (!file) {
        refuse_memory(asked->exchange);
        return;
    }
    if (file->state == FILE_REGULAR) {
        file_serve(asked, file);
        return;
    }
    int error = file->state == FILE_ABSENT ? file->error : -ENOENT;
    file_unref(file);
    if (asked->files->listing && error == -ENOENT)
        listing_serve(asked, error);
    else
        absent_serve(asked, error);
}

static void name_serve(struct asked *asked)
{
    struct file *file = find(asked, asked->name, asked->length);
    if (!file) {
        refuse_memory(asked->exchange);
        return;
    }
    if (file->state == FILE_REGULAR) {
        file_serve(asked, file);
        return;
    }
    int error = file->error;
    bool folder = file->state == FILE_FOLDER;
    file_unref(file);
    if (folder)
        folder_redirect(asked->exchange);
    else
        absent_serve(asked, error);
}

/* ---- the handler -------------------------------------------------------------------------------
 */

/* The path that the name is made of, after the route's rewrites; `bytes` NULL: there is none. */
static struct slice path_of(struct exchange *exchange)
{
    struct slice path = exchange->request.path;
    if (exchange->route->rewrite_count) {
        path = expand_target(exchange);
        const char *query = path.bytes ? memchr(path.bytes, '?', path.length) : NULL;
        if (query)
            path.length = (uint32_t)(query - path.bytes);
    }
    return path.bytes && !path.length ? SLICE("/") : path;
}

/* False: it was answered. */
static bool asked_make(struct exchange *exchange, struct asked *ret_asked)
{
    const struct route_files *files = exchange->route->files;
    struct files_worker *worker = files_worker(exchange->worker);
    struct slice path = path_of(exchange);
    size_t room = path.bytes ? file_path_room(path) : 1;
    char *name = bump_alloc(exchange->arena, room + strlen(files->index) + 1);
    if (!worker || !name) {
        refuse_memory(exchange);
        return false;
    }
    ssize_t length = path.bytes ? file_path_make(path, name, room) : -EINVAL;
    *ret_asked = (struct asked){
        .exchange = exchange,
        .files = files,
        .directory = &exchange->use->generation->directories[files->directory],
        .cache = worker->cache,
        .name = name,
        .length = length < 0 ? 0 : (size_t)length,
    };
    if (length == -EINVAL)
        refuse(exchange, 400, BLAME_CLIENT, "not the path of a file");
    else if (length < 0)
        absent_serve(ret_asked, (int)length);
    return length >= 0;
}

static void files_start(struct exchange *exchange)
{
    struct asked asked;
    if (exchange->request.method != METHOD_GET && exchange->request.method != METHOD_HEAD) {
        exchange->allow = SLICE("GET, HEAD");
        refuse(exchange, 405, BLAME_CLIENT, "files are only read");
        return;
    }
    if (!asked_make(exchange, &asked))
        return;
    if (!asked.length || asked.name[asked.length - 1] == '/')
        folder_serve(&asked);
    else
        name_serve(&asked);
}

/* What the client still sends is of no interest. */
static size_t files_body(struct exchange *exchange, const char *bytes, size_t length, bool last)
{
    (void)exchange, (void)bytes, (void)last;
    return length;
}

static void files_room(struct exchange *exchange)
{
    file_send_room(exchange->handler_own);
}

static void files_abort(struct exchange *exchange)
{
    if (exchange->handler_own)
        file_send_abort(exchange->handler_own);
}

const struct handler handler_files = {
    .name = "files",
    .start = files_start,
    .request_body = files_body,
    .response_room = files_room,
    .abort = files_abort,
};
