/* Which responses are compressed and how their heads change; and the filter, between a handler that
 * writes in any pieces and a client that takes as much as it likes, decoded by zlib. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "event/loop.h"
#include "gateway/http/compress.h"
#include "gateway/http/compress_choose.h"
#include "gateway/http/filter.h"
#include "gateway/http/http_worker.h"

static const char *const types[] = {"text/*", "application/json", "application/*+xml", NULL};
static const struct compression settings = {
    .codings = {CODING_BROTLI, CODING_ZSTD, CODING_GZIP},
    .coding_count = 3,
    .types = types,
    .bytes_min = 100,
    .level = 4,
};

static struct slice slice_of(const char *text)
{
    return (struct slice){text, (uint32_t)strlen(text)};
}

static struct field field_of(const char *name, const char *value)
{
    struct slice slice = slice_of(name);
    return (struct field){
        .name = slice, .value = slice_of(value), .id = (uint8_t)field_id_of(slice)};
}

/* ---- choosing -------------------------------------------------------------------------------- */

static bool fits(uint16_t status, const char *name, const char *value, const char *type)
{
    const struct field fields[] = {field_of("Content-Type", type), field_of(name, value)};
    const struct response_head head = {.status = status,
                                       .fields = fields,
                                       .field_count = *name ? 2 : 1,
                                       .body = BODY_LENGTH,
                                       .body_length = 5000};
    return compress_fits(&settings, &head, 0, false);
}

static void what_fits_is_compressed(void **state)
{
    (void)state;
    assert_true(fits(200, "", "", "text/html"));
    assert_true(fits(404, "", "", "Text/HTML; charset=utf-8"));
    assert_true(fits(200, "Cache-Control", "max-age=5", "application/json;x"));
    assert_true(fits(200, "", "", "application/rss+xml"));
    assert_false(fits(200, "", "", "application/xml"));
    assert_false(fits(200, "", "", "image/png"));
    assert_false(fits(200, "", "", "text"));
    assert_false(fits(200, "", "", ""));
    static const uint16_t bodiless[] = {204, 205, 206, 304};
    for (size_t i = 0; i < sizeof bodiless / sizeof bodiless[0]; i++)
        assert_false(fits(bodiless[i], "", "", "text/html"));
    assert_false(fits(200, "content-encoding", "identity", "text/html"));
    assert_false(fits(200, "Content-Range", "bytes 0-1/2", "text/html"));
    assert_false(fits(200, "Content-Digest", "sha-256=:x:", "text/html"));
    assert_false(fits(200, "Cache-Control", "public, No-Transform", "text/html"));
    assert_true(fits(200, "Cache-Control", "no-transformation", "text/html"));
}

static void size_counts_where_it_is_known(void **state)
{
    (void)state;
    const struct field field = field_of("Content-Type", "text/html");
    struct response_head head = {
        .status = 200, .fields = &field, .field_count = 1, .body = BODY_LENGTH, .body_length = 99};
    assert_false(compress_fits(&settings, &head, 0, false));
    head.body_length = 100;
    assert_true(compress_fits(&settings, &head, 0, false));
    head.body = BODY_CHUNKED;
    assert_true(compress_fits(&settings, &head, 0, false));
    assert_false(compress_fits(&settings, &head, 99, true));
    assert_true(compress_fits(&settings, &head, 100, true));
}

static void clients_say_what_they_like(void **state)
{
    (void)state;
    static const struct {
        const char *accept;
        enum encoding chosen;
    } cases[] = {
        {"gzip, deflate, br", ENCODING_BROTLI},
        {"gzip, zstd", ENCODING_ZSTD},
        {"gzip;q=0.9, br;q=0.8", ENCODING_GZIP},
        {"br;q=0, *", ENCODING_ZSTD},
        {"deflate", ENCODING_COUNT},
        {"gzip;q=0", ENCODING_COUNT},
        {"", ENCODING_COUNT},
        {"identity, gzip;q=0.5", ENCODING_COUNT},
        {"identity;q=0.5, GZIP", ENCODING_GZIP},
        {"x-gzip", ENCODING_GZIP},
    };
    struct field field;
    struct head request = {.fields = &field, .field_count = 1};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        field = field_of("accept-encoding", cases[i].accept);
        assert_int_equal(compress_choose(&settings, &request), cases[i].chosen);
    }
    request.field_count = 0;
    assert_int_equal(compress_choose(&settings, &request), ENCODING_COUNT);
}

/* "Name: value, " of all that is not dropped. */
static const char *head_text(const struct response_head *head)
{
    static char text[1024];
    size_t at = 0;
    text[0] = 0;
    for (uint32_t i = 0; i < head->field_count; i++)
        if (!head->fields[i].dropped)
            at += (size_t)snprintf(text + at, sizeof text - at, "%.*s: %.*s; ",
                                   (int)head->fields[i].name.length, head->fields[i].name.bytes,
                                   (int)head->fields[i].value.length, head->fields[i].value.bytes);
    return text;
}

static void heads_say_what_was_done(void **state)
{
    (void)state;
    struct bump_store *store = bump_store_new(4);
    struct bump *arena = bump_new(store, 65536);
    const struct field fields[] = {field_of("ETag", "\"a\""), field_of("Accept-Ranges", "bytes"),
                                   field_of("Vary", "Cookie")};
    const struct response_head plain = {
        .status = 200, .fields = fields, .field_count = 3, .body = BODY_LENGTH, .body_length = 9};
    struct response_head head = plain;
    assert_true(compress_head(arena, &head, ENCODING_ZSTD));
    assert_string_equal(head_text(&head), "ETag: W/\"a\"; Vary: Cookie; Content-Encoding: zstd; "
                                          "Vary: Accept-Encoding; ");
    assert_int_equal(head.body, BODY_CLOSE);
    assert_true(compress_head(arena, &head, ENCODING_GZIP)); /* both are said already */
    assert_string_equal(head_text(&head), "ETag: W/\"a\"; Vary: Cookie; Content-Encoding: zstd; "
                                          "Vary: Accept-Encoding; Content-Encoding: gzip; ");
    head = plain;
    assert_true(compress_vary(arena, &head) && compress_vary(arena, &head));
    assert_string_equal(head_text(&head),
                        "ETag: \"a\"; Accept-Ranges: bytes; Vary: Cookie; Vary: Accept-Encoding; ");
    assert_int_equal(head.body_length, 9);
    struct field asked = field_of("If-None-Match", "\"b\", W/\"a\"");
    struct head request = {.fields = &asked, .field_count = 1};
    head = plain;
    assert_true(compress_not_modified(arena, &request, &head));
    assert_memory_equal(head_text(&head), "ETag: W/\"a\"", 11);
    asked = field_of("If-None-Match", "\"a\"");
    head = plain;
    assert_true(compress_not_modified(arena, &request, &head));
    assert_memory_equal(head_text(&head), "ETag: \"a\"", 9);
    bump_free(arena);
    bump_store_free(store);
}

/* ---- the filter: a client, a handler --------------------------------------------------------- */

enum { BODY_BYTES = 3 * 1024 * 1024 };

static struct {
    struct exchange exchange;
    struct worker worker;
    struct http_worker http;
    struct bump_store *store;
    struct field accept;
    struct route route;
    char head[512];
    enum body_kind body;
    uint64_t length;
    char *heard; /* BODY_BYTES */
    size_t heard_length, room;
    bool last, room_wanted;
    int cuts, released, ends;
    /* the handler */
    const char *rest;
    size_t rest_length, piece;
    bool handler_done;
} scene;

static char body[BODY_BYTES];

static ssize_t take(const char *bytes, size_t length, bool last)
{
    size_t taken = length < scene.room ? length : scene.room;
    if (taken)
        memcpy(scene.heard + scene.heard_length, bytes, taken);
    scene.heard_length += taken;
    scene.room -= taken;
    scene.room_wanted = taken < length;
    assert_false(scene.last);
    scene.last = last && taken == length;
    return (ssize_t)taken;
}

static ssize_t codec_respond(struct exchange *exchange, const struct response_head *head,
                             const char *bytes, size_t length, bool last)
{
    (void)exchange;
    snprintf(scene.head, sizeof scene.head, "%s", head_text(head));
    scene.body = head->body;
    scene.length = head->body_length;
    return take(bytes, length, last);
}

static ssize_t codec_write(struct exchange *exchange, const char *bytes, size_t length, bool last)
{
    (void)exchange;
    return take(bytes, length, last);
}

static void codec_end(struct exchange *exchange, const struct field *trailers, uint32_t count)
{
    (void)exchange, (void)trailers;
    assert_false(scene.last);
    scene.last = true;
    scene.ends += (int)count;
}

static void codec_cut(struct exchange *exchange)
{
    (void)exchange;
    scene.cuts++;
}

static void codec_released(struct exchange *exchange)
{
    (void)exchange;
    scene.released++;
}

static const struct codec codec = {
    .name = "test",
    .respond = codec_respond,
    .write = codec_write,
    .end = codec_end,
    .cut = codec_cut,
    .released = codec_released,
};

static void handler_took(size_t taken)
{
    scene.rest += taken;
    scene.rest_length -= taken;
    if (scene.rest_length || scene.handler_done)
        return;
    scene.handler_done = true;
    exchange_release(&scene.exchange);
}

/* Pieces, until one was not taken whole. */
static void handler_room(struct exchange *exchange)
{
    while (scene.rest_length) {
        size_t length = scene.rest_length < scene.piece ? scene.rest_length : scene.piece;
        ssize_t taken = exchange_write(exchange, scene.rest, length, length == scene.rest_length);
        assert_true(taken >= 0);
        handler_took((size_t)taken);
        if ((size_t)taken < length)
            return;
    }
}

static const struct handler handler = {.name = "test", .response_room = handler_room};

static struct exchange *scene_begin(const char *accept, size_t room)
{
    memset(&scene, 0, sizeof scene);
    scene.heard = malloc(BODY_BYTES);
    scene.room = room;
    scene.store = bump_store_new(4);
    scene.worker.loop = loop_new();
    scene.worker.http = &scene.http;
    scene.accept = field_of("Accept-Encoding", accept);
    scene.route.compression = &settings;
    scene.exchange = (struct exchange){
        .codec = &codec,
        .handler = &handler,
        .worker = &scene.worker,
        .route = &scene.route,
        .arena = bump_new(scene.store, 65536),
        .request = {.method = METHOD_GET, .fields = &scene.accept, .field_count = 1}};
    return &scene.exchange;
}

static void scene_end(void)
{
    exchange_filters_done(&scene.exchange);
    compress_worker_free(&scene.worker, scene.http.compress);
    bump_free(scene.exchange.arena);
    bump_store_free(scene.store);
    loop_free(scene.worker.loop);
    free(scene.heard);
}

static void turn(void)
{
    assert_int_equal(loop_turn(scene.worker.loop, 0), 0);
}

/* The head, with the first piece. */
static void handler_begin(size_t length, size_t piece, bool known)
{
    const struct field type = field_of("Content-Type", "text/plain");
    const struct response_head head = {.status = 200,
                                       .fields = &type,
                                       .field_count = 1,
                                       .body = known ? BODY_LENGTH : BODY_CHUNKED,
                                       .body_length = known ? length : 0};
    scene.rest = body;
    scene.rest_length = length;
    scene.piece = piece;
    size_t first = length < piece ? length : piece;
    ssize_t taken = exchange_respond(&scene.exchange, &head, body, first, first == length);
    assert_true(taken >= 0);
    handler_took((size_t)taken);
    if ((size_t)taken == first)
        handler_room(&scene.exchange);
}

static void assert_heard(size_t length, bool whole)
{
    static char out[BODY_BYTES + 1];
    z_stream z = {.next_in = (Bytef *)scene.heard,
                  .avail_in = (unsigned)scene.heard_length,
                  .next_out = (Bytef *)out,
                  .avail_out = sizeof out};
    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
    int result = inflate(&z, Z_SYNC_FLUSH);
    assert_int_equal(result, whole ? Z_STREAM_END : Z_OK);
    assert_int_equal(z.avail_in, 0);
    assert_int_equal(z.total_out, length);
    assert_memory_equal(out, body, length);
    inflateEnd(&z);
}

static int body_make(void **state)
{
    (void)state;
    for (size_t i = 0; i < BODY_BYTES; i++)
        body[i] = (char)("etaoin shrdlu"[i * i % 13] + (i % 7919 < 5 ? (char)(i >> 8) : 0));
    return 0;
}

/* ---- tests of it ----------------------------------------------------------------------------- */

static void a_small_body_goes_in_one_with_its_length(void **state)
{
    (void)state;
    struct exchange *exchange = scene_begin("gzip", SIZE_MAX);
    handler_begin(20000, 20000, true);
    assert_string_equal(scene.head, "Content-Type: text/plain; Content-Encoding: gzip; "
                                    "Vary: Accept-Encoding; ");
    assert_int_equal(scene.body, BODY_LENGTH);
    assert_int_equal(scene.length, scene.heard_length);
    assert_true(scene.last && scene.released == 1 && exchange->response_ended);
    assert_int_equal(exchange->bytes_out, scene.heard_length);
    assert_null(exchange->filters);
    assert_heard(20000, true);
    scene_end();
}

static void others_get_it_as_it_is(void **state)
{
    (void)state;
    scene_begin("deflate", SIZE_MAX);
    handler_begin(20000, 20000, true);
    assert_string_equal(scene.head, "Content-Type: text/plain; Vary: Accept-Encoding; ");
    assert_int_equal(scene.heard_length, 20000);
    assert_memory_equal(scene.heard, body, 20000);
    scene_end();
    scene_begin("gzip", SIZE_MAX);
    scene.exchange.internal = true; /* a subrequest, whose answer somebody keeps */
    handler_begin(20000, 20000, true);
    assert_string_equal(scene.head, "Content-Type: text/plain; ");
    assert_int_equal(scene.heard_length, 20000);
    scene_end();
}

static void a_head_is_that_of_the_get(void **state)
{
    (void)state;
    struct exchange *exchange = scene_begin("gzip", SIZE_MAX);
    const struct field type = field_of("Content-Type", "text/plain");
    const struct response_head head = {
        .status = 200, .fields = &type, .field_count = 1, .body = BODY_LENGTH, .body_length = 5000};
    exchange->request.method = METHOD_HEAD;
    assert_int_equal(exchange_respond(exchange, &head, "", 0, true), 0);
    assert_string_equal(scene.head, "Content-Type: text/plain; Content-Encoding: gzip; "
                                    "Vary: Accept-Encoding; ");
    assert_int_equal(scene.body, BODY_CLOSE);
    assert_null(exchange->filters);
    scene_end();
}

static void any_pieces_come_out_whole(void **state)
{
    static const size_t lengths[] = {150, 40000, 700000}, pieces[] = {1, 999, 65536, BODY_BYTES};
    static const size_t rooms[] = {1, 777, 100000};
    (void)state;
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < 4; j++)
            for (size_t k = 0; k < 3; k++) {
                if (lengths[i] > 1000 && (pieces[j] == 1 || rooms[k] == 1))
                    continue;
                struct exchange *exchange = scene_begin("gzip", rooms[k]);
                handler_begin(lengths[i], pieces[j], k % 2);
                for (int turns = 0; scene.released == 0; turns++) {
                    assert_true(turns < 100000);
                    turn();
                    scene.room = rooms[k];
                    if (scene.room_wanted)
                        exchange_writable(exchange);
                }
                assert_true(scene.last && exchange->response_ended && scene.released == 1);
                assert_heard(lengths[i], true);
                scene_end();
            }
}

static void a_pause_is_a_flush(void **state)
{
    (void)state;
    struct exchange *exchange = scene_begin("gzip", SIZE_MAX);
    const struct field type = field_of("Content-Type", "text/event-stream");
    const struct response_head head = {
        .status = 200, .fields = &type, .field_count = 1, .body = BODY_CHUNKED};
    assert_int_equal(exchange_respond(exchange, &head, "", 0, false), 0);
    for (size_t at = 0; at < 500; at += 50) {
        assert_int_equal(exchange_write(exchange, body + at, 50, false), 50);
        turn();
        assert_heard(at + 50, false);
    }
    size_t heard = scene.heard_length;
    turn();
    turn();
    assert_int_equal(scene.heard_length, heard);
    exchange_end(exchange, &type, 1);
    assert_int_equal(scene.ends, 1);
    assert_heard(500, true);
    scene_end();
}

static void what_flows_is_flushed_when_it_stops(void **state)
{
    (void)state;
    struct exchange *exchange = scene_begin("gzip", SIZE_MAX);
    handler_begin(BODY_BYTES, 20000, false);
    scene_end();
    exchange = scene_begin("gzip", SIZE_MAX);
    const struct field type = field_of("Content-Type", "text/plain");
    const struct response_head head = {
        .status = 200, .fields = &type, .field_count = 1, .body = BODY_CHUNKED};
    exchange_respond(exchange, &head, body, 20000, false);
    turn();
    size_t before = scene.heard_length;
    turn();
    assert_true(scene.heard_length > before);
    assert_heard(20000, false);
    scene_end();
}

static void a_turn_has_its_measure(void **state)
{
    (void)state;
    scene_begin("gzip", SIZE_MAX);
    handler_begin(BODY_BYTES, BODY_BYTES, false);
    for (size_t turns = 1; turns < BODY_BYTES / COMPRESS_TURN_BYTES; turns++) {
        assert_int_equal(BODY_BYTES - scene.rest_length, turns * COMPRESS_TURN_BYTES);
        assert_int_equal(scene.released, 0);
        turn();
    }
    assert_int_equal(scene.rest_length, 0);
    assert_heard(BODY_BYTES, true);
    scene_end();
}

static void a_cut_loses_it(void **state)
{
    (void)state;
    struct exchange *exchange = scene_begin("gzip", 10);
    handler_begin(100000, 5000, false);
    turn();
    assert_true(exchange->filters->holds);
    exchange_cut(exchange, BLAME_UPSTREAM, "it broke");
    size_t heard = scene.heard_length;
    scene.room = SIZE_MAX;
    assert_int_equal(exchange_write(exchange, body, 1000, true), 1000);
    exchange_release(exchange);
    turn();
    assert_true(scene.cuts == 1 && scene.released == 1 && scene.heard_length == heard);
    scene_end();
}

/* One that waits for its turn may end in any way. */
static void who_stands_in_line_may_leave(void **state)
{
    (void)state;
    struct exchange *exchange = scene_begin("gzip", SIZE_MAX);
    handler_begin(BODY_BYTES, BODY_BYTES, false);
    exchange_filters_done(exchange);
    turn();
    assert_int_equal(scene.released, 0);
    scene_end();
}

/* The encoders' memory is used up by those that wait for their clients: a cheaper coding, then
 * none. */
static void memory_is_bounded(void **state)
{
    (void)state;
    enum { MANY = 400 };
    static struct exchange others[MANY];
    struct exchange *exchange = scene_begin("br, gzip", SIZE_MAX);
    const struct field type = field_of("Content-Type", "text/plain");
    const struct response_head head = {
        .status = 200, .fields = &type, .field_count = 1, .body = BODY_CHUNKED};
    unsigned brotli = 0, gzip = 0, plain = 0;
    for (size_t i = 0; i < MANY; i++) {
        others[i] = *exchange;
        others[i].arena = bump_new(scene.store, 65536);
        exchange_respond(&others[i], &head, "", 0, false);
        brotli += strstr(scene.head, "Content-Encoding: br") != NULL;
        gzip += strstr(scene.head, "Content-Encoding: gzip") != NULL;
        plain += !strstr(scene.head, "Content-Encoding") && strstr(scene.head, "Vary");
    }
    assert_true(brotli && gzip && plain && brotli + gzip + plain == MANY);
    /* What is over at once finds room. */
    exchange_respond(exchange, &head, body, 20000, true);
    scene.last = false;
    assert_non_null(strstr(scene.head, "Content-Encoding: br"));
    for (size_t i = 0; i < MANY; i++) {
        exchange_filters_done(&others[i]);
        bump_free(others[i].arena);
    }
    exchange_respond(exchange, &head, "", 0, false); /* it was given back */
    assert_non_null(strstr(scene.head, "Content-Encoding: br"));
    scene_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_fits_is_compressed),
        cmocka_unit_test(size_counts_where_it_is_known),
        cmocka_unit_test(clients_say_what_they_like),
        cmocka_unit_test(heads_say_what_was_done),
        cmocka_unit_test(a_small_body_goes_in_one_with_its_length),
        cmocka_unit_test(others_get_it_as_it_is),
        cmocka_unit_test(a_head_is_that_of_the_get),
        cmocka_unit_test(any_pieces_come_out_whole),
        cmocka_unit_test(a_pause_is_a_flush),
        cmocka_unit_test(what_flows_is_flushed_when_it_stops),
        cmocka_unit_test(a_turn_has_its_measure),
        cmocka_unit_test(a_cut_loses_it),
        cmocka_unit_test(who_stands_in_line_may_leave),
        cmocka_unit_test(memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, body_make, NULL);
}
