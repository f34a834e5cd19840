/* What one write takes: in order, from where it lies, and nothing of it overwritten before. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/http/h2_output.h"

enum { HEAD_BYTES = 9, LARGE = 16 * 1024 };

static const uint8_t head[HEAD_BYTES] = "123456789";
static char large[LARGE];

static int begin(void **state)
{
    struct h2_output *output = calloc(1, sizeof *output);
    h2_output_written(output);
    memset(large, 'x', sizeof large);
    *state = output;
    return 0;
}

static int end(void **state)
{
    h2_output_done(*state);
    free(*state);
    return 0;
}

static void put(struct h2_output *output, struct h2_block *block, const char *bytes, size_t length)
{
    assert_int_equal(h2_block_put(block, output, bytes, length, H2_BLOCK_BYTES), length);
}

static void send_data(struct h2_output *output, struct h2_block *block, size_t length)
{
    assert_true(h2_output_data(output, head, block, length, true));
    h2_block_took(block, length);
}

static void frames_go_out_in_order(void **state)
{
    struct h2_output *output = *state;
    struct h2_block block = {0};
    static char rest[HEAD_BYTES * 3 + LARGE + 16];
    put(output, &block, large, LARGE);
    put(output, &block, "small", 5);
    h2_output_frame(output, (const uint8_t *)"SETTINGS", 8);
    send_data(output, &block, LARGE);
    assert_ptr_equal(output->parts[1].iov_base, block.bytes); /* not copied */
    send_data(output, &block, 5);
    h2_output_frame(output, (const uint8_t *)"PING", 4);
    assert_int_equal(output->part_count, 3);
    assert_int_equal(output->total, 8 + HEAD_BYTES + LARGE + HEAD_BYTES + 5 + 4);
    h2_output_rest(output, 0, rest);
    assert_memory_equal(rest, "SETTINGS123456789xxx", 20);
    assert_memory_equal(rest + 8 + HEAD_BYTES + LARGE - 1, "x123456789smallPING", 19);
    h2_output_rest(output, output->total - 7, rest);
    assert_memory_equal(rest, "allPING", 7);
    h2_output_written(output);
    assert_int_equal(output->total, 0);
    h2_block_drop(&block, output);
}

static void what_is_lent_is_not_overwritten(void **state)
{
    struct h2_output *output = *state;
    struct h2_block block = {0};
    char *room;
    put(output, &block, large, LARGE);
    send_data(output, &block, LARGE);
    assert_int_equal(h2_block_room(&block, output, H2_BLOCK_BYTES, &room), H2_BLOCK_BYTES - LARGE);
    assert_ptr_equal(room, block.bytes + LARGE);
    put(output, &block, "behind", 6);
    assert_memory_equal(output->parts[1].iov_base, "xxxxxx", 6);
    h2_output_written(output);
    send_data(output, &block, 6); /* copied: the block is free at once */
    assert_int_equal(h2_block_room(&block, output, H2_BLOCK_BYTES, &room), H2_BLOCK_BYTES);
    assert_ptr_equal(room, block.bytes);
    h2_block_drop(&block, output);
}

static void a_block_that_was_given_back_waits_for_the_write(void **state)
{
    struct h2_output *output = *state;
    struct h2_block block = {0}, other = {0};
    put(output, &block, large, LARGE);
    char *bytes = block.bytes;
    send_data(output, &block, LARGE);
    h2_block_drop(&block, output);
    assert_null(block.bytes);
    put(output, &other, "other", 5);
    assert_ptr_not_equal(other.bytes, bytes);
    assert_memory_equal(output->parts[1].iov_base, "xxxxx", 5);
    h2_output_written(output);
    h2_block_drop(&other, output);
}

static void a_full_block_has_room_when_it_was_written(void **state)
{
    struct h2_output *output = *state;
    struct h2_block block = {0};
    for (size_t i = 0; i < H2_BLOCK_BYTES; i += LARGE)
        put(output, &block, large, LARGE);
    assert_true(h2_block_full(&block, output));
    for (size_t i = 0; i < H2_BLOCK_BYTES; i += LARGE)
        send_data(output, &block, LARGE);
    assert_true(h2_block_full(&block, output));
    h2_output_written(output);
    assert_false(h2_block_full(&block, output));
    h2_block_drop(&block, output);
}

/* As many frames as come: bounded by their bytes, by their number, and by what is copied. */
static void a_write_is_bounded(void **state)
{
    static const size_t lengths[] = {LARGE, H2_LENT_BYTES_MIN, H2_LENT_BYTES_MIN - 1};
    struct h2_output *output = *state;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (unsigned lends = 0; lends < 2; lends++) {
            struct h2_block block = {0};
            put(output, &block, large, LARGE);
            while (h2_output_data(output, head, &block, lengths[i], lends))
                assert_true(output->total < H2_GATHER_BYTES + LARGE + HEAD_BYTES);
            assert_true(h2_output_full(output));
            assert_true(output->part_count <= H2_PARTS_MAX);
            assert_true(output->length <= H2_OUTPUT_BYTES);
            assert_true(output->total > 64 * 1024);
            h2_output_written(output);
            h2_block_drop(&block, output);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(frames_go_out_in_order, begin, end),
        cmocka_unit_test_setup_teardown(what_is_lent_is_not_overwritten, begin, end),
        cmocka_unit_test_setup_teardown(a_block_that_was_given_back_waits_for_the_write, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_full_block_has_room_when_it_was_written, begin, end),
        cmocka_unit_test_setup_teardown(a_write_is_bounded, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
