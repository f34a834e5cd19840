/* The handler of `-> files`: names and folders; what is answered with a file is file_answer.c's,
 * what goes out file_send.c's, what is known of files file_cache.c's. */
#include "gateway/http/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/http/bump.h"
#include "gateway/http/expand.h"
#include "gateway/http/file_answer.h"
#include "gateway/http/file_listing.h"
#include "gateway/http/file_path.h"
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

static void refuse_absent(struct exchange *exchange, int error)
{
    switch (-error) {
    case ENOENT:
    case ENOTDIR:
    case ENAMETOOLONG:
        file_refuse(exchange, 404, BLAME_CLIENT, "there is no such file");
        return;
    case EXDEV:
    case ELOOP:
        file_refuse(exchange, 404, BLAME_CLIENT, "a symbolic link leads out of the folder");
        return;
    case EACCES:
    case EPERM:
        file_refuse(exchange, 403, BLAME_ENGINX, "the gateway's user may not read the file");
        return;
    default:
        file_refuse(exchange, 503, BLAME_ENGINX, "the file cannot be opened");
    }
}

/* ---- a request ----------------------------------------------------------------------------------
 */

struct asked { /* lives while the request is looked at */
    struct exchange *exchange;
    const struct route_files *files; /* NULL: a service named the file */
    const struct plan_directory *directory;
    char *name; /* room for the index behind it */
    size_t length;
};

static struct file *find(const struct asked *asked, const char *name, size_t length)
{
    return files_find(asked->exchange, asked->directory, name, length);
}

/* ---- what is no file ---------------------------------------------------------------------------
 */

/* The fallback, or a refusal for this reason. */
static void absent_serve(const struct asked *asked, int error)
{
    const char *fallback = asked->files ? asked->files->fallback : NULL;
    bool missing = error != -EACCES && error != -EPERM && error != -EMFILE && error != -ENFILE &&
                   error != -ETIMEDOUT;
    struct file *file =
        fallback && missing ? find(asked, fallback + 1, strlen(fallback + 1)) : NULL;
    if (file && file->state == FILE_REGULAR) {
        file_answer(asked->exchange, asked->directory, file);
        return;
    }
    file_unref(file);
    refuse_absent(asked->exchange, error);
}

static void listing_send(const struct asked *asked, char *page, size_t length)
{
    struct exchange *exchange = asked->exchange;
    struct file_send *send = file_send_new(exchange, NULL, 1);
    if (!send) {
        free(page);
        return;
    }
    struct file_fields answer = {0};
    file_fields_put(&answer, SLICE("Content-Type"), SLICE("text/html; charset=utf-8"),
                    FIELD_CONTENT_TYPE);
    file_fields_put(&answer, SLICE("Cache-Control"), SLICE("no-cache"), FIELD_OTHER);
    send->owned = page;
    send->pieces[0] = (struct file_piece){.bytes = page, .length = length};
    struct response_head head = {
        .status = 200, .fields = answer.fields, .field_count = answer.count};
    file_send_start(send, &head);
}

/* What the client asked for, where a rewrite made another name of it. */
static const char *listing_title(const struct asked *asked)
{
    struct exchange *exchange = asked->exchange;
    struct slice path = exchange->request.path;
    char *title =
        exchange->route->rewrite_count ? bump_alloc(exchange->arena, file_path_room(path)) : NULL;
    ssize_t length = title ? file_path_make(path, title, file_path_room(path)) : -1;
    if (length < 0)
        return asked->name;
    while (length && title[length - 1] == '/')
        length--;
    title[length] = 0;
    return title;
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
        found = file_listing_make(fd, listing_title(asked), length != 0, &page, &page_length);
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
        file_refuse_memory(exchange);
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
    struct file_fields answer = {0};
    file_fields_put(&answer, SLICE("Location"), (struct slice){location, (uint32_t)at},
                    FIELD_OTHER);
    file_bodiless(exchange, &answer, 301, BODY_LENGTH, NULL);
}

/* The index of the folder that was asked for. */
static void folder_serve(struct asked *asked)
{
    const char *index = asked->files->index;
    memcpy(asked->name + asked->length, index, strlen(index) + 1);
    struct file *file = find(asked, asked->name, asked->length + strlen(index));
    asked->name[asked->length] = 0;
    if (!file) {
        file_refuse_memory(asked->exchange);
        return;
    }
    if (file->state == FILE_REGULAR) {
        file_answer(asked->exchange, asked->directory, file);
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
        file_refuse_memory(asked->exchange);
        return;
    }
    if (file->state == FILE_REGULAR) {
        file_answer(asked->exchange, asked->directory, file);
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
        file_refuse_memory(exchange);
        return false;
    }
    ssize_t length = path.bytes ? file_path_make(path, name, room) : -EINVAL;
    *ret_asked = (struct asked){
        .exchange = exchange,
        .files = files,
        .directory = &exchange->use->generation->directories[files->directory],
        .name = name,
        .length = length < 0 ? 0 : (size_t)length,
    };
    if (length == -EINVAL)
        file_refuse(exchange, 400, BLAME_CLIENT, "not the path of a file");
    else if (length < 0)
        absent_serve(ret_asked, (int)length);
    return length >= 0;
}

static void files_start(struct exchange *exchange)
{
    struct asked asked;
    if (exchange->request.method != METHOD_GET && exchange->request.method != METHOD_HEAD) {
        exchange->allow = SLICE("GET, HEAD");
        file_refuse(exchange, 405, BLAME_CLIENT, "files are only read");
        return;
    }
    if (!asked_make(exchange, &asked))
        return;
    if (!asked.length || asked.name[asked.length - 1] == '/')
        folder_serve(&asked);
    else
        name_serve(&asked);
}

void files_serve(struct exchange *exchange, uint32_t directory, const char *name)
{
    const struct asked asked = {
        .exchange = exchange,
        .directory = &exchange->use->generation->directories[directory],
    };
    exchange->handler = &handler_files;
    exchange->handler_own = NULL;
    if (!files_worker(exchange->worker)) {
        file_refuse_memory(exchange);
        return;
    }
    struct file *file = find(&asked, name, strlen(name));
    if (!file) {
        file_refuse_memory(exchange);
    } else if (file->state == FILE_REGULAR) {
        file_answer(exchange, asked.directory, file);
    } else {
        int error = file->state == FILE_ABSENT ? file->error : -ENOENT;
        file_unref(file);
        absent_serve(&asked, error);
    }
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
