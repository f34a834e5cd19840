#include "gateway/http/compress.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "event/loop.h"
#include "gateway/http/bump.h"
#include "gateway/http/compress_choose.h"
#include "gateway/http/encoder.h"
#include "gateway/http/filter.h"
#include "gateway/http/http_worker.h"

enum {
    SPARES_MAX = 16,
    STREAMS_BYTES = 16 * 1024, /* so much in a turn is the middle of something */
    PAGE_BYTES_MAX = 4 * 1024, /* so little never waits for its turn */
    WHOLE_BYTES_MAX = 32 * 1024,
    GROWTH_BYTES_MAX = 1024, /* of what does not get smaller, by any coding */
};
_Static_assert(WHOLE_BYTES_MAX + GROWTH_BYTES_MAX <= COMPRESS_OUT_BYTES, "whole bodies find room");

TAILQ_HEAD(compressors, compressor);

struct compressor {
    struct filter filter; /* first */
    struct exchange *exchange;
    struct compress_worker *worker;
    struct encoder *encoder; /* NULL: it has said all */
    enum encoding encoding;
    unsigned level;
    TAILQ_ENTRY(compressor) next;
    struct compressors *line; /* it stands in; NULL: none */
    uint32_t from, to;        /* of `out`: not passed on yet */
    uint32_t turn_bytes;      /* that came in this turn */
    bool waits;               /* for the next turn, with more to compress */
    bool fed;                 /* since it last stood at the head of the line */
    bool unflushed;           /* it was given bytes that may not have come out */
    bool ending;              /* it was given the last */
    bool over;                /* all was passed on, or there is nobody */
    const struct field *trailers;
    uint32_t trailer_count;
    bool trails;
    char out[COMPRESS_OUT_BYTES];
};

struct compress_worker {
    struct loop *loop;
    struct deferred turn_end;
    struct compressors line;  /* those that have something to do when the turn ends */
    size_t turn_bytes;        /* that were compressed in this turn */
    size_t bytes;             /* of all encoders */
    struct compressor *spare; /* without an encoder */
    struct gzip_whole *whole; /* NULL: none yet */
    struct encoder *encoders[ENCODING_COUNT][SPARES_MAX];
    unsigned levels[ENCODING_COUNT][SPARES_MAX];
    unsigned encoder_count[ENCODING_COUNT];
};

/* ---- the worker's part ----------------------------------------------------------------------- */

static struct compress_worker *worker_of(struct exchange *exchange)
{
    struct http_worker *http = exchange->worker->http;
    if (http->compress)
        return http->compress;
    struct compress_worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return NULL;
    worker->loop = exchange->worker->loop;
    TAILQ_INIT(&worker->line);
    http->compress = worker;
    return worker;
}

void compress_worker_free(struct worker *worker, struct compress_worker *compress)
{
    if (!compress)
        return;
    deferred_stop(worker->loop, &compress->turn_end);
    for (size_t i = 0; i < ENCODING_COUNT; i++)
        while (compress->encoder_count[i])
            encoder_free(compress->encoders[i][--compress->encoder_count[i]]);
    gzip_whole_free(compress->whole);
    free(compress->spare);
    free(compress);
}

static void turn_ended(struct deferred *deferred);

static void line_join(struct compressor *own)
{
    struct compress_worker *worker = own->worker;
    if (!own->line) {
        own->line = &worker->line;
        TAILQ_INSERT_TAIL(own->line, own, next);
    }
    deferred_start(worker->loop, &worker->turn_end, turn_ended, worker);
}

static void line_leave(struct compressor *own)
{
    if (own->line)
        TAILQ_REMOVE(own->line, own, next);
    own->line = NULL;
}

static void turn_spend(struct compress_worker *worker, size_t bytes)
{
    worker->turn_bytes += bytes;
    deferred_start(worker->loop, &worker->turn_end, turn_ended, worker);
}

/* ---- encoders -------------------------------------------------------------------------------- */

/* One of that level, used before or new. NULL: no memory. */
static struct encoder *encoder_take(struct compress_worker *worker, enum encoding encoding,
                                    unsigned level)
{
    unsigned *count = &worker->encoder_count[encoding];
    for (unsigned i = *count; i-- > 0;) {
        if (worker->levels[encoding][i] != level)
            continue;
        struct encoder *encoder = worker->encoders[encoding][i];
        worker->encoders[encoding][i] = worker->encoders[encoding][--*count];
        worker->levels[encoding][i] = worker->levels[encoding][*count];
        return encoder;
    }
    return encoder_new(encoding, level);
}

static void encoder_give(struct compressor *own)
{
    struct compress_worker *worker = own->worker;
    struct encoder *encoder = own->encoder;
    unsigned *count = &worker->encoder_count[own->encoding];
    if (!encoder)
        return;
    own->encoder = NULL;
    worker->bytes -= encoder_bytes(own->encoding);
    if (*count == SPARES_MAX || !encoder_reset(encoder)) {
        encoder_free(encoder);
        return;
    }
    worker->encoders[own->encoding][*count] = encoder;
    worker->levels[own->encoding][(*count)++] = own->level;
}

/* ---- compressors ----------------------------------------------------------------------------- */

static const struct filter_kind compress_kind;

/* A part is gzip's alone, which makes do with a tenth. */
static bool memory_left(const struct compress_worker *worker, enum encoding encoding)
{
    size_t most = encoding == ENCODING_GZIP ? COMPRESS_BYTES_MAX : COMPRESS_BYTES_MAX / 4 * 3;
    return worker->bytes + encoder_bytes(encoding) <= most;
}

/* `brief`: the encoder is given back before anything else happens. NULL: no memory. */
static struct compressor *compressor_new(struct exchange *exchange, enum encoding encoding,
                                         bool brief)
{
    struct compress_worker *worker = exchange->worker->http->compress;
    if (!brief && !memory_left(worker, encoding))
        return NULL;
    struct compressor *own = worker->spare;
    worker->spare = NULL;
    if (!own)
        own = malloc(sizeof *own);
    if (!own)
        return NULL;
    memset(own, 0, offsetof(struct compressor, out));
    own->filter.kind = &compress_kind;
    own->exchange = exchange;
    own->worker = worker;
    own->encoding = encoding;
    own->level = exchange->route->compression->level;
    if (brief && encoding == ENCODING_GZIP)
        return own;
    own->encoder = encoder_take(worker, encoding, own->level);
    if (own->encoder) {
        worker->bytes += encoder_bytes(encoding);
        return own;
    }
    free(own);
    return NULL;
}

static void compressor_free(struct compressor *own)
{
    struct compress_worker *worker = own->worker;
    line_leave(own);
    encoder_give(own);
    if (worker->spare)
        free(own);
    else
        worker->spare = own;
}

/* Nothing more comes of it: what is written from now on goes nowhere. */
static void compressor_stop(struct compressor *own)
{
    line_leave(own);
    own->over = true;
    own->filter.holds = false;
    own->from = own->to = 0;
    encoder_give(own);
}

static void broken(struct compressor *own)
{
    compressor_stop(own);
    exchange_cut(own->exchange, BLAME_ENGINX, "no memory to compress it");
}

/* ---- to the client --------------------------------------------------------------------------- */

/* Passes on what came out. False: the client takes no more now, or is gone. */
static bool out_pass(struct compressor *own)
{
    bool said_all = own->ending && !own->encoder;
    if (own->from == own->to && !said_all)
        return true;
    ssize_t taken = filter_write(&own->filter, own->exchange, own->out + own->from,
                                 own->to - own->from, said_all && !own->trails);
    if (taken < 0) { /* abort follows */
        compressor_stop(own);
        return false;
    }
    own->from += (uint32_t)taken;
    own->filter.holds = own->from < own->to;
    if (own->filter.holds)
        return false;
    own->from = own->to = 0;
    if (!said_all)
        return true;
    compressor_stop(own);
    if (own->trails)
        filter_end(&own->filter, own->exchange, own->trailers, own->trailer_count);
    return true;
}

/* Takes the step until it is done. False: it is not, for lack of room or for good. */
static bool step_take(struct compressor *own, enum encoder_step step, struct encoder_run *run)
{
    for (;;) {
        run->out = own->out + own->to;
        run->room = COMPRESS_OUT_BYTES - own->to;
        int done = encoder_step(own->encoder, step, run);
        own->to = (uint32_t)(run->out - own->out);
        if (done < 0) {
            broken(own);
            return false;
        }
        if (done > 0)
            return true;
        if (!out_pass(own))
            return false;
    }
}

/* The last bytes are in it: what is left comes out. */
static void end_take(struct compressor *own)
{
    struct encoder_run run = {.in = ""};
    if (own->encoder && !step_take(own, ENCODER_END, &run))
        return;
    encoder_give(own);
    out_pass(own);
}

static void flush(struct compressor *own)
{
    struct encoder_run run = {.in = ""};
    if (!step_take(own, ENCODER_FLUSH, &run))
        return;
    own->unflushed = false;
    out_pass(own);
}

/* ---- the end of a turn ----------------------------------------------------------------------- */

/* Where much came, more is likely to: then it is flushed when a turn brought nothing. */
static bool flows(struct compressor *own)
{
    bool much = own->fed && own->turn_bytes >= STREAMS_BYTES;
    own->fed = false;
    own->turn_bytes = 0;
    return much;
}

static void compressor_attend(struct compressor *own)
{
    struct exchange *exchange = own->exchange;
    if (own->waits) {
        own->waits = false;
        exchange_writable(exchange);
        return;
    }
    if (own->filter.holds || own->ending || !own->unflushed)
        return;
    if (flows(own))
        line_join(own);
    else
        flush(own);
}

static void turn_ended(struct deferred *deferred)
{
    struct compress_worker *worker = deferred->owner;
    struct compressors now = TAILQ_HEAD_INITIALIZER(now);
    struct compressor *own;
    worker->turn_bytes = 0;
    TAILQ_CONCAT(&now, &worker->line, next);
    TAILQ_FOREACH (own, &now, next)
        own->line = &now;
    while ((own = TAILQ_FIRST(&now))) {
        line_leave(own);
        compressor_attend(own);
    }
}

/* ---- the filter ------------------------------------------------------------------------------ */

/* Bytes of the body. How many were taken. */
static size_t feed(struct compressor *own, const char *bytes, size_t length, bool last)
{
    struct compress_worker *worker = own->worker;
    size_t left =
        worker->turn_bytes < COMPRESS_TURN_BYTES ? COMPRESS_TURN_BYTES - worker->turn_bytes : 0;
    size_t some = length < left ? length : left;
    struct encoder_run run = {.in = bytes, .in_left = some};
    bool done = !some || step_take(own, ENCODER_MORE, &run);
    size_t taken = some - run.in_left;
    if (own->over)
        return length;
    turn_spend(worker, taken);
    own->turn_bytes += (uint32_t)taken;
    own->fed = own->unflushed = true;
    own->ending = last && taken == length;
    if (done && some < length) { /* others have their turn */
        own->waits = own->filter.holds = true;
        line_join(own);
    } else if (done && last) {
        end_take(own);
    } else if (done) {
        line_join(own);
    }
    return taken;
}

static ssize_t compress_write(struct filter *filter, struct exchange *exchange, const char *bytes,
                              size_t length, bool last)
{
    struct compressor *own = (struct compressor *)filter;
    (void)exchange;
    if (own->over)
        return (ssize_t)length;
    if (filter->holds)
        return 0;
    return (ssize_t)feed(own, bytes, length, last);
}

static void compress_end(struct filter *filter, struct exchange *exchange,
                         const struct field *trailers, uint32_t count)
{
    struct compressor *own = (struct compressor *)filter;
    struct field *copies = bump_alloc(exchange->arena, (count + 1) * sizeof *copies);
    if (own->over)
        return;
    for (uint32_t i = 0; copies && i < count; i++) {
        struct field copy = trailers[i];
        copy.name.bytes = bump_copy(exchange->arena, copy.name.bytes, copy.name.length);
        copy.value.bytes = bump_copy(exchange->arena, copy.value.bytes, copy.value.length);
        if (copy.name.bytes && copy.value.bytes)
            copies[own->trailer_count++] = copy;
    }
    own->trailers = copies;
    own->trails = own->ending = true;
    end_take(own);
}

static void compress_room(struct filter *filter, struct exchange *exchange)
{
    struct compressor *own = (struct compressor *)filter;
    (void)exchange;
    if (own->waits) /* for its turn, not for room */
        return;
    filter->holds = false;
    if (!out_pass(own) || own->over)
        return;
    if (own->ending)
        end_take(own);
    else if (own->unflushed)
        line_join(own);
}

static bool compress_cut(struct filter *filter, struct exchange *exchange)
{
    (void)exchange;
    compressor_stop((struct compressor *)filter);
    return false;
}

static void compress_done(struct filter *filter, struct exchange *exchange)
{
    (void)exchange;
    compressor_free((struct compressor *)filter);
}

static ssize_t compress_never(struct filter *filter, struct exchange *exchange,
                              const struct response_head *head, const char *bytes, size_t length,
                              bool last)
{
    (void)filter, (void)exchange, (void)head, (void)bytes, (void)last;
    return (ssize_t)length; /* it came when the head had passed */
}

static const struct filter_kind compress_kind = {
    .name = "compress",
    .respond = compress_never,
    .write = compress_write,
    .end = compress_end,
    .room = compress_room,
    .cut = compress_cut,
    .done = compress_done,
};

/* ---- its beginning --------------------------------------------------------------------------- */

static uint32_t gzip_encode(struct compressor *own, const char *bytes, size_t length)
{
    struct compress_worker *worker = own->worker;
    if (worker->whole && gzip_whole_level(worker->whole) != own->level) {
        gzip_whole_free(worker->whole);
        worker->whole = NULL;
    }
    if (!worker->whole)
        worker->whole = gzip_whole_new(own->level);
    return worker->whole ? (uint32_t)gzip_whole_encode(worker->whole, bytes, length, own->out,
                                                       COMPRESS_OUT_BYTES)
                         : 0;
}

/* False: no memory. */
static bool whole_encode(struct compressor *own, const char *bytes, size_t length)
{
    struct encoder_run run = {
        .in = bytes, .in_left = length, .out = own->out, .room = COMPRESS_OUT_BYTES};
    turn_spend(own->worker, length);
    if (own->encoding == ENCODING_GZIP)
        own->to = gzip_encode(own, bytes, length);
    else if (encoder_step(own->encoder, ENCODER_END, &run) > 0)
        own->to = (uint32_t)(run.out - own->out);
    own->ending = true;
    encoder_give(own);
    return own->to > 0;
}

/* One send, with its length. */
static ssize_t whole_respond(struct compressor *own, struct response_head *head, size_t length)
{
    struct exchange *exchange = own->exchange;
    head->body = BODY_LENGTH;
    head->body_length = own->to;
    ssize_t taken = filter_respond_last(exchange, head, own->out, own->to, true);
    if (taken < 0 || (uint32_t)taken == own->to) {
        compressor_free(own);
        return taken < 0 ? taken : (ssize_t)length;
    }
    own->from = (uint32_t)taken;
    own->filter.holds = true;
    filter_append(exchange, &own->filter);
    return (ssize_t)length;
}

static ssize_t stream_respond(struct compressor *own, const struct response_head *head,
                              const char *bytes, size_t length, bool last)
{
    struct exchange *exchange = own->exchange;
    ssize_t sent = filter_respond_last(exchange, head, "", 0, false);
    if (sent < 0) {
        compressor_free(own);
        return sent;
    }
    filter_append(exchange, &own->filter);
    return length || last ? (ssize_t)feed(own, bytes, length, last) : 0;
}

/* With the coding that the client likes best, or the next where there is too much at work. */
static struct compressor *compressor_choose(struct exchange *exchange, bool brief)
{
    struct compression left = *exchange->route->compression;
    while (left.coding_count) {
        enum encoding encoding = compress_choose(&left, &exchange->request);
        struct compressor *own =
            encoding == ENCODING_COUNT ? NULL : compressor_new(exchange, encoding, brief);
        if (own || encoding == ENCODING_COUNT)
            return own;
        size_t kept = 0;
        for (size_t i = 0; i < left.coding_count; i++)
            if ((enum encoding)left.codings[i] != encoding)
                left.codings[kept++] = left.codings[i];
        left.coding_count = kept;
    }
    return NULL;
}

/* Is all of the body here, and so little that what comes out finds room? Those are the cheapest, so
 * that a turn has more for them. */
static bool whole(const struct compress_worker *worker, size_t length, bool last)
{
    return last && length <= WHOLE_BYTES_MAX &&
           (worker->turn_bytes < COMPRESS_TURN_BYTES_MAX || length <= PAGE_BYTES_MAX);
}

/* A HEAD is answered as the GET would be. */
static void bodiless_head(struct exchange *exchange, struct response_head *head)
{
    enum encoding encoding = compress_choose(exchange->route->compression, &exchange->request);
    /* Without a length nobody knows whether it would be large enough. */
    if (encoding != ENCODING_COUNT && head->body == BODY_LENGTH)
        compress_head(exchange->arena, head, encoding);
    else
        compress_vary(exchange->arena, head);
}

ssize_t compress_respond(struct exchange *exchange, const struct response_head *head,
                         const char *bytes, size_t length, bool last)
{
    const struct compression *compression = exchange->route->compression;
    struct response_head changed = *head;
    struct compressor *own = NULL;
    if (head->status == 304)
        compress_not_modified(exchange->arena, &exchange->request, &changed);
    struct compress_worker *worker = worker_of(exchange);
    bool bodiless = exchange->request.method == METHOD_HEAD; /* that it has no more says nothing */
    if (!worker || exchange->internal || exchange->request.connect ||
        !compress_fits(compression, head, length, last && !bodiless))
        return filter_respond_last(exchange, &changed, bytes, length, last);
    bool brief = whole(worker, length, last);
    if (bodiless)
        bodiless_head(exchange, &changed);
    else
        own = compressor_choose(exchange, brief);
    if (own && !compress_head(exchange->arena, &changed, own->encoding)) {
        compressor_free(own);
        own = NULL;
    }
    if (!own) {
        if (!bodiless)
            compress_vary(exchange->arena, &changed);
        return filter_respond_last(exchange, &changed, bytes, length, last);
    }
    if (brief) {
        if (whole_encode(own, bytes, length))
            return whole_respond(own, &changed, length);
        compressor_free(own);
        return filter_respond_last(exchange, head, bytes, length, last);
    }
    return stream_respond(own, &changed, bytes, length, last);
}
