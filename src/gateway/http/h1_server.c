#include "gateway/http/h1_server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "gateway/http/cache.h"
#include "gateway/http/codec.h"
#include "gateway/http/compress.h"
#include "gateway/http/files.h"
#include "gateway/http/guarded.h"
#include "gateway/http/h1_connection.h"
#include "gateway/http/h2_server.h"

/* ---- the worker's part ---------------------------------------------------------------------- */

/* Those that were put in line before now; what they put there themselves waits for the next turn.
 */
static void resume_all(struct deferred *deferred)
{
    struct http_worker *http = deferred->owner;
    struct h1_connection *connection = http->resume_first;
    http->resume_first = NULL;
    http->resume_last = &http->resume_first;
    while (connection) {
        struct h1_connection *next = connection->resume_next;
        connection->queued = false;
        if (connection->dead) {
            h1_free_if_dead(connection);
        } else {
            h1_enter(connection);
            if (connection->broken)
                h1_close(connection, true, "the client went away");
            else
                h1_intake(connection);
            h1_leave(connection);
        }
        connection = next;
    }
}

void h1_resume(struct h1_connection *connection)
{
    struct http_worker *http = connection->base.worker->http;
    if (connection->queued || connection->dead)
        return;
    connection->queued = true;
    connection->resume_next = NULL;
    *http->resume_last = connection;
    http->resume_last = &connection->resume_next;
    deferred_start(connection->base.worker->loop, &http->resume, resume_all, http);
}

int http_worker_init(struct worker *worker)
{
    struct http_worker *http = calloc(1, sizeof *http);
    if (!http)
        return -ENOMEM;
    http->arenas = bump_store_new(ARENA_CHUNKS_KEPT);
    if (!http->arenas) {
        free(http);
        return -ENOMEM;
    }
    LIST_INIT(&http->connections);
    http->resume_last = &http->resume_first;
    worker->http = http;
    int error = h2_worker_init(worker);
    if (error)
        http_worker_done(worker);
    return error;
}

void http_worker_done(struct worker *worker)
{
    struct http_worker *http = worker->http;
    if (!http)
        return;
    h2_worker_done(worker);
    struct h1_connection *connection;
    while ((connection = LIST_FIRST(&http->connections)))
        h1_close(connection, false, "the gateway ends");
    resume_all(&(struct deferred){.owner = http});
    deferred_stop(worker->loop, &http->resume);
    while (http->spares) {
        struct h1_exchange *own = http->spares;
        http->spares = own->next_spare;
        free(own);
    }
    guards_worker_done(worker);
    bump_store_free(http->arenas);
    files_worker_free(http->files);
    cache_worker_free(worker, http->cache_mailbox);
    compress_worker_free(worker, http->compress);
    free(http);
    worker->http = NULL;
}

void http_worker_drain(struct worker *worker)
{
    struct http_worker *http = worker->http;
    http->draining = true;
    h2_worker_drain(worker);
}

struct slice http_date(struct worker *worker)
{
    struct http_worker *http = worker->http;
    uint64_t now_ms = loop_now(worker->loop);
    if (!http->date_ms || now_ms - http->date_ms >= 100) {
        time_t seconds = (time_t)(clock_wall_ms() / 1000);
        struct tm parts;
        gmtime_r(&seconds, &parts);
        static const char days[] = "SunMonTueWedThuFriSat";
        static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
        char text[64];
        snprintf(text, sizeof text, "%.3s, %02d %.3s %d %02d:%02d:%02d GMT",
                 days + 3 * parts.tm_wday, parts.tm_mday, months + 3 * parts.tm_mon,
                 parts.tm_year + 1900, parts.tm_hour, parts.tm_min, parts.tm_sec);
        memcpy(http->date, text, DATE_BYTES);
        http->date_ms = now_ms;
    }
    return (struct slice){http->date, DATE_BYTES - 1};
}

/* ---- exchanges ------------------------------------------------------------------------------ */

static struct h1_exchange *spare_take(struct http_worker *http)
{
    struct h1_exchange *own = http->spares;
    if (!own)
        return malloc(sizeof *own);
    http->spares = own->next_spare;
    http->spare_count--;
    return own;
}

static void spare_give(struct http_worker *http, struct h1_exchange *own)
{
#ifndef __SANITIZE_ADDRESS__
    if (http->spare_count < SPARE_EXCHANGES_MAX) {
        own->next_spare = http->spares;
        http->spares = own;
        http->spare_count++;
        return;
    }
#else
    (void)http;
#endif
    free(own);
}

struct h1_exchange *h1_exchange_new(struct h1_connection *connection)
{
    struct worker *worker = connection->base.worker;
    struct bump *arena = bump_new(worker->http->arenas, EXCHANGE_ARENA_BYTES_MAX);
    struct h1_exchange *own = arena ? spare_take(worker->http) : NULL;
    if (!own) {
        bump_free(arena);
        return NULL;
    }
    *own = (struct h1_exchange){.connection = connection, .body_wanted = true};
    codec_exchange_begin(&own->exchange, &h1_codec, &connection->base, &connection->stream, arena);
    connection->exchange = own;
    connection->state = H1_EXCHANGE;
    connection->deadline_ms = UINT64_MAX;
    if (!connection->stream.watch.active)
        h1_deadline(connection, WATCH_CLIENT_MS);
    return own;
}

void h1_exchange_free(struct h1_exchange *own)
{
    struct http_worker *http = own->exchange.worker->http;
    h1_output_done(&own->output);
    spare_give(http, own);
}
