#include "gateway/http/h2_server.h"

#include <errno.h>
#include <stdlib.h>

#include "gateway/http/h2_client.h"
#include "gateway/http/h2_connection.h"

enum { SPARE_STREAMS_MAX = 512 };

/* ---- recycled memory ------------------------------------------------------------------------ */

struct h2_stream *h2_spare_take(struct h2_worker *h2)
{
    struct h2_stream *own = h2->spares;
    if (!own)
        return malloc(sizeof *own);
    h2->spares = LIST_NEXT(own, next);
    h2->spare_count--;
    return own;
}

void h2_spare_give(struct h2_worker *h2, struct h2_stream *own)
{
#ifndef __SANITIZE_ADDRESS__
    if (h2->spare_count < SPARE_STREAMS_MAX) {
        own->next.le_next = h2->spares;
        h2->spares = own;
        h2->spare_count++;
        return;
    }
#else
    (void)h2;
#endif
    free(own);
}

/* ---- the worker's part ---------------------------------------------------------------------- */

/* Windows are opened by hand (h2_body.c), closed streams are not remembered, and resets are counted
 * here (h2_frames.c): libnghttp2's own limit would end the connection by another error. */
static int library_prepare(struct h2_worker *h2)
{
    if (nghttp2_session_callbacks_new(&h2->callbacks) != 0 ||
        nghttp2_option_new(&h2->option) != 0 || h2_callbacks_set(h2->callbacks) != 0)
        return -ENOMEM;
    nghttp2_option_set_no_auto_window_update(h2->option, 1);
    nghttp2_option_set_no_closed_streams(h2->option, 1);
    h2_extensions_tell(h2->option);
    nghttp2_option_set_max_outbound_ack(h2->option, H2_ACKS_MAX);
    nghttp2_option_set_stream_reset_rate_limit(h2->option, 1000000, 1000000);
    return 0;
}

int h2_worker_init(struct worker *worker)
{
    struct h2_worker *h2 = calloc(1, sizeof *h2);
    if (!h2)
        return -ENOMEM;
    worker->http->h2 = h2;
    LIST_INIT(&h2->connections);
    h2->resume_last = &h2->resume_first;
    int error = h2_links_init(h2);
    return error ? error : library_prepare(h2);
}

void h2_worker_done(struct worker *worker)
{
    struct h2_worker *h2 = worker->http->h2;
    if (!h2)
        return;
    struct h2_connection *connection;
    while ((connection = LIST_FIRST(&h2->connections)))
        h2_close(connection, false, "the gateway ends");
    h2_links_done(h2);
    h2_resume_all(h2);
    h2_couriers_free(h2);
    deferred_stop(worker->loop, &h2->resume);
    while (h2->spares)
        free(h2_spare_take(h2));
    h2_output_done(&h2->output);
    nghttp2_session_callbacks_del(h2->callbacks);
    nghttp2_option_del(h2->option);
    free(h2);
    worker->http->h2 = NULL;
}

size_t h2_tunnels_reset(struct worker *worker, const struct handler *handler,
                        bool (*chosen)(const void *owner))
{
    size_t count = 0;
    struct h2_connection *connection;
    LIST_FOREACH (connection, &worker->http->h2->connections, next) {
        struct h2_stream *own;
        LIST_FOREACH (own, &connection->streams, next) {
            if (!own->tunnel || own->exchange.handler != handler ||
                !chosen(own->exchange.handler_own))
                continue;
            h2_stream_reset(own, NGHTTP2_CANCEL); /* at the end of the turn; then it is aborted */
            count++;
        }
    }
    return count;
}

void h2_worker_drain(struct worker *worker)
{
    struct h2_connection *connection;
    LIST_FOREACH (connection, &worker->http->h2->connections, next) {
        h2_goaway(connection);
    }
}
