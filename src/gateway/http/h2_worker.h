/* What HTTP/2 needs once per worker, for both its sides; for its own files. */
#pragma once

#include <sys/queue.h>

#include "event/loop.h"
#include "gateway/http/h2_wire.h"
#include "gateway/http/head.h"
#include "gateway/http/http_worker.h"

struct h2_connection;
struct h2_stream;
struct h2_link;
struct h2_courier;

struct h2_worker {
    nghttp2_session_callbacks *callbacks; /* with clients */
    nghttp2_option *option;
    LIST_HEAD(, h2_connection) connections;
    struct h2_wire *resume_first; /* what waits for the end of the turn */
    struct h2_wire **resume_last;
    struct deferred resume;
    nghttp2_session_callbacks *link_callbacks; /* with endpoints */
    LIST_HEAD(, h2_link) links;
    struct h2_courier *spare_couriers;
    unsigned spare_courier_count;
    struct h2_stream *spares;
    unsigned spare_count;
    nghttp2_nv fields[HEAD_FIELDS_MAX + 16];
    struct h2_output output;
};

static inline struct h2_worker *h2_of_wire(const struct h2_wire *wire)
{
    return wire->worker->http->h2;
}
/* Those that wait for the end of the turn, now. */
void h2_resume_all(struct h2_worker *h2);
static inline nghttp2_nv h2_nv(struct slice name, struct slice value)
{
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name.bytes,
                        .value = (uint8_t *)(uintptr_t)value.bytes,
                        .namelen = name.length,
                        .valuelen = value.length};
}
