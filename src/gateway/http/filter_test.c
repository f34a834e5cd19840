/* The chain of filters between a handler and a codec, both made up here. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/http/filter.h"

/* ---- a client that takes `room` bytes, and a handler ---------------------------------------- */

static struct {
    struct exchange exchange;
    char heard[256];
    size_t heard_length;
    size_t room;
    int released, cuts, asked;
} scene;

static ssize_t take(const char *bytes, size_t length)
{
    size_t taken = length < scene.room ? length : scene.room;
    memcpy(scene.heard + scene.heard_length, bytes, taken);
    scene.heard_length += taken;
    scene.room -= taken;
    return (ssize_t)taken;
}

static ssize_t codec_respond(struct exchange *exchange, const struct response_head *head,
                             const char *bytes, size_t length, bool last)
{
    (void)exchange, (void)head, (void)last;
    return take(bytes, length);
}

static ssize_t codec_write(struct exchange *exchange, const char *bytes, size_t length, bool last)
{
    (void)exchange, (void)last;
    return take(bytes, length);
}

static void codec_cut(struct exchange *exchange)
{
    (void)exchange;
    scene.cuts++;
}

static bool codec_splices(struct exchange *exchange)
{
    (void)exchange;
    return true;
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
    .cut = codec_cut,
    .splices = codec_splices,
    .released = codec_released,
};

static void handler_room(struct exchange *exchange)
{
    (void)exchange;
    scene.asked++;
}

static const struct handler handler = {.name = "test", .response_room = handler_room};

static const struct response_head ok = {.status = 200, .body = BODY_CHUNKED};

static struct exchange *scene_begin(size_t room)
{
    memset(&scene, 0, sizeof scene);
    scene.room = room;
    scene.exchange.codec = &codec;
    scene.exchange.handler = &handler;
    return &scene.exchange;
}

/* The client has room again. */
static void scene_room(size_t room)
{
    scene.room = room;
    exchange_writable(&scene.exchange);
}

/* ---- filters -------------------------------------------------------------------------------- */

struct doubler { /* each byte twice; takes all it is given, and holds what cannot go on */
    struct filter filter;
    char kept[64];
    size_t length;
    bool last, takes_over, hides_cuts;
    int done;
};

static void doubler_pass(struct doubler *own, struct exchange *exchange)
{
    ssize_t taken = filter_write(&own->filter, exchange, own->kept, own->length, own->last);
    if (taken < 0)
        taken = (ssize_t)own->length;
    memmove(own->kept, own->kept + taken, own->length - (size_t)taken);
    own->length -= (size_t)taken;
    own->filter.holds = own->length > 0;
}

static void doubler_keep(struct doubler *own, const char *bytes, size_t length, bool last)
{
    for (size_t i = 0; i < length; i++) {
        own->kept[own->length++] = bytes[i];
        own->kept[own->length++] = bytes[i];
    }
    own->last |= last;
}

static ssize_t doubler_respond(struct filter *filter, struct exchange *exchange,
                               const struct response_head *head, const char *bytes, size_t length,
                               bool last)
{
    struct doubler *own = (struct doubler *)filter;
    filter_respond(filter, exchange, head, "", 0, false);
    doubler_keep(own, bytes, length, last);
    doubler_pass(own, exchange);
    return (ssize_t)length;
}

static ssize_t doubler_write(struct filter *filter, struct exchange *exchange, const char *bytes,
                             size_t length, bool last)
{
    struct doubler *own = (struct doubler *)filter;
    if (filter->holds)
        return 0;
    doubler_keep(own, bytes, length, last);
    doubler_pass(own, exchange);
    return (ssize_t)length;
}

static void doubler_room(struct filter *filter, struct exchange *exchange)
{
    doubler_pass((struct doubler *)filter, exchange);
}

static bool doubler_cut(struct filter *filter, struct exchange *exchange)
{
    (void)exchange;
    return ((struct doubler *)filter)->hides_cuts;
}

static bool doubler_released(struct filter *filter, struct exchange *exchange)
{
    struct doubler *own = (struct doubler *)filter;
    bool takes_over = own->takes_over;
    own->takes_over = false;
    if (takes_over)
        exchange->handler = &handler;
    return takes_over;
}

static void doubler_done(struct filter *filter, struct exchange *exchange)
{
    (void)exchange;
    ((struct doubler *)filter)->done++;
}

static const struct filter_kind doubler_kind = {
    .name = "doubler",
    .respond = doubler_respond,
    .write = doubler_write,
    .room = doubler_room,
    .cut = doubler_cut,
    .released = doubler_released,
    .done = doubler_done,
};

static void doubler_add(struct doubler *own, struct exchange *exchange)
{
    *own = (struct doubler){.filter = {.kind = &doubler_kind}};
    filter_append(exchange, &own->filter);
}

static void assert_heard(const char *text)
{
    assert_int_equal(scene.heard_length, strlen(text));
    assert_memory_equal(scene.heard, text, strlen(text));
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void without_filters_all_goes_straight(void **state)
{
    (void)state;
    struct exchange *exchange = scene_begin(3);
    assert_true(exchange_splices(exchange));
    assert_int_equal(exchange_respond(exchange, &ok, "abcd", 4, true), 3);
    assert_false(exchange->response_ended);
    scene_room(9);
    assert_int_equal(scene.asked, 1);
    assert_int_equal(exchange_write(exchange, "d", 1, true), 1);
    assert_true(exchange->response_ended);
    assert_int_equal(exchange->bytes_out, 4);
    exchange_release(exchange);
    assert_int_equal(scene.released, 1);
}

static void a_chain_is_passed_in_its_order(void **state)
{
    (void)state;
    struct doubler first, second;
    struct exchange *exchange = scene_begin(100);
    doubler_add(&first, exchange);
    doubler_add(&second, exchange);
    assert_false(exchange_splices(exchange));
    assert_int_equal(exchange_respond(exchange, &ok, "a", 1, false), 1);
    assert_int_equal(exchange_write(exchange, "b", 1, true), 1);
    assert_heard("aaaabbbb");
    assert_int_equal(exchange->bytes_out, 8);
    assert_true(exchange->response_ended);
    exchange_filters_done(exchange);
    assert_int_equal(first.done + second.done, 2);
}

static void what_is_held_goes_before_the_handler_is_asked(void **state)
{
    (void)state;
    struct doubler own;
    struct exchange *exchange = scene_begin(1);
    doubler_add(&own, exchange);
    assert_int_equal(exchange_respond(exchange, &ok, "ab", 2, false), 2);
    assert_heard("a");
    assert_int_equal(exchange_write(exchange, "c", 1, true), 0);
    scene_room(1);
    assert_heard("aa");
    assert_int_equal(scene.asked, 0);
    scene_room(10);
    assert_heard("aabb");
    assert_int_equal(scene.asked, 1);
}

static void it_ends_when_nothing_is_held_any_more(void **state)
{
    (void)state;
    struct doubler first, second;
    struct exchange *exchange = scene_begin(3);
    doubler_add(&first, exchange);
    doubler_add(&second, exchange);
    assert_int_equal(exchange_respond(exchange, &ok, "ab", 2, true), 2);
    exchange_release(exchange);
    assert_int_equal(scene.released, 0);
    assert_false(exchange->response_ended);
    scene_room(4);
    assert_int_equal(scene.released, 0);
    scene_room(4);
    assert_heard("aaaabbbb");
    assert_true(exchange->response_ended);
    assert_int_equal(scene.released, 1);
}

static void a_cut_loses_what_is_held(void **state)
{
    (void)state;
    struct doubler own;
    struct exchange *exchange = scene_begin(1);
    doubler_add(&own, exchange);
    exchange_respond(exchange, &ok, "ab", 2, false);
    exchange_cut(exchange, BLAME_UPSTREAM, "it broke");
    assert_int_equal(scene.cuts, 1);
    exchange_release(exchange);
    assert_int_equal(scene.released, 1);
}

static void a_filter_may_hide_a_cut_and_go_on_itself(void **state)
{
    (void)state;
    struct doubler own;
    struct exchange *exchange = scene_begin(100);
    doubler_add(&own, exchange);
    own.hides_cuts = own.takes_over = true;
    exchange_cut(exchange, BLAME_UPSTREAM, "it broke");
    assert_int_equal(scene.cuts, 0);
    exchange_release(exchange);
    assert_int_equal(scene.released, 0);
    assert_ptr_equal(exchange->handler, &handler);
    exchange_respond(exchange, &ok, "a", 1, true);
    exchange_release(exchange);
    assert_heard("aa");
    assert_int_equal(scene.released, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_filters_all_goes_straight),
        cmocka_unit_test(a_chain_is_passed_in_its_order),
        cmocka_unit_test(what_is_held_goes_before_the_handler_is_asked),
        cmocka_unit_test(it_ends_when_nothing_is_held_any_more),
        cmocka_unit_test(a_cut_loses_what_is_held),
        cmocka_unit_test(a_filter_may_hide_a_cut_and_go_on_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
