/* Each coding, there and back by its library's own decoder, in whatever pieces; what a flush lets
 * be decoded; what one costs in memory. */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <brotli/decode.h>
#include <cmocka.h>
#include <zlib.h>
#include <zstd.h>

#include "base/random.h"
#include "gateway/http/encoder.h"

enum { TEXT_BYTES = 200000, CODED_BYTES = 2 * TEXT_BYTES };

static char text[TEXT_BYTES], coded[CODED_BYTES], decoded[TEXT_BYTES + 1];

/* ---- decoding -------------------------------------------------------------------------------- */

static size_t gunzip(size_t length)
{
    z_stream z = {.next_in = (Bytef *)coded,
                  .avail_in = (unsigned)length,
                  .next_out = (Bytef *)decoded,
                  .avail_out = sizeof decoded};
    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK);
    int result = inflate(&z, Z_SYNC_FLUSH);
    assert_true(result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR);
    size_t made = z.total_out;
    inflateEnd(&z);
    return made;
}

static size_t unbrotli(size_t length)
{
    BrotliDecoderState *state = BrotliDecoderCreateInstance(NULL, NULL, NULL);
    const uint8_t *in = (const uint8_t *)coded;
    uint8_t *out = (uint8_t *)decoded;
    size_t room = sizeof decoded, made = 0;
    BrotliDecoderResult result =
        BrotliDecoderDecompressStream(state, &length, &in, &room, &out, &made);
    assert_int_not_equal(result, BROTLI_DECODER_RESULT_ERROR);
    BrotliDecoderDestroyInstance(state);
    return made;
}

static size_t unzstd(size_t length)
{
    ZSTD_DCtx *context = ZSTD_createDCtx();
    ZSTD_inBuffer in = {coded, length, 0};
    ZSTD_outBuffer out = {decoded, sizeof decoded, 0};
    size_t before;
    do {
        before = out.pos;
        assert_false(ZSTD_isError(ZSTD_decompressStream(context, &out, &in)));
    } while (in.pos < in.size || out.pos > before);
    ZSTD_freeDCtx(context);
    return out.pos;
}

static size_t decode(enum encoding encoding, size_t length)
{
    return encoding == ENCODING_GZIP     ? gunzip(length)
           : encoding == ENCODING_BROTLI ? unbrotli(length)
                                         : unzstd(length);
}

/* ---- encoding -------------------------------------------------------------------------------- */

/* Words, so that there is something to gain, and noise between them. */
static int text_make(void **state)
{
    static const char *const words[] = {"enginx ", "serves ", "<div class=\"row\">", "\n", "0x"};
    struct random_state random;
    (void)state;
    random_seed(&random, 7);
    for (size_t at = 0; at < TEXT_BYTES;) {
        const char *word = words[random_below(&random, 5)];
        for (; *word && at < TEXT_BYTES; word++)
            text[at++] = *word;
        if (at < TEXT_BYTES)
            text[at++] = (char)random_below(&random, 256);
    }
    return 0;
}

/* All of `from`, in pieces, into rooms of these sizes. What of `coded` is used. */
static size_t run_all(struct encoder *encoder, enum encoder_step step, struct encoder_run *run,
                      size_t used, size_t room)
{
    int done;
    do {
        run->out = coded + used;
        run->room = room < CODED_BYTES - used ? room : CODED_BYTES - used;
        assert_true(run->room > 0);
        done = encoder_step(encoder, step, run);
        assert_true(done >= 0);
        used = (size_t)(run->out - coded);
    } while (!done);
    return used;
}

static size_t encode(struct encoder *encoder, size_t length, size_t piece, size_t room)
{
    size_t used = 0;
    for (size_t at = 0; at < length; at += piece) {
        struct encoder_run run = {.in = text + at,
                                  .in_left = length - at < piece ? length - at : piece};
        used = run_all(encoder, ENCODER_MORE, &run, used, room);
        assert_int_equal(run.in_left, 0);
    }
    struct encoder_run run = {.in = ""};
    return run_all(encoder, ENCODER_END, &run, used, room);
}

static void assert_decoded(enum encoding encoding, size_t coded_length, size_t length)
{
    assert_int_equal(decode(encoding, coded_length), length);
    assert_memory_equal(decoded, text, length);
}

static void there_and_back_in_any_pieces(void **state)
{
    static const size_t lengths[] = {0, 1, 100, 4096, 70000, TEXT_BYTES};
    static const size_t pieces[] = {1, 7, 4096, TEXT_BYTES}, rooms[] = {1, 13, 4096, CODED_BYTES};
    (void)state;
    for (enum encoding encoding = 0; encoding < ENCODING_COUNT; encoding++)
        for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
            for (size_t j = 0; j < 4; j++) {
                if (lengths[i] > 4096 && (pieces[j] == 1 || rooms[j] == 1))
                    continue; /* nothing new, and slow */
                struct encoder *encoder = encoder_new(encoding, 1 + (unsigned)i % 9);
                assert_non_null(encoder);
                size_t length = encode(encoder, lengths[i], pieces[j], rooms[3 - j]);
                assert_decoded(encoding, length, lengths[i]);
                encoder_free(encoder);
            }
}

static void every_level_makes_it_smaller(void **state)
{
    (void)state;
    for (enum encoding encoding = 0; encoding < ENCODING_COUNT; encoding++)
        for (unsigned level = 1; level <= ENCODER_LEVEL_MAX; level++) {
            struct encoder *encoder = encoder_new(encoding, level);
            size_t length = encode(encoder, TEXT_BYTES, 16384, 16384);
            assert_true(length < TEXT_BYTES / 2);
            assert_decoded(encoding, length, TEXT_BYTES);
            encoder_free(encoder);
        }
}

static void what_was_flushed_can_be_decoded(void **state)
{
    (void)state;
    for (enum encoding encoding = 0; encoding < ENCODING_COUNT; encoding++) {
        struct encoder *encoder = encoder_new(encoding, 4);
        size_t used = 0;
        for (size_t at = 0; at < 5000; at += 1000) {
            struct encoder_run run = {.in = text + at, .in_left = 1000};
            used = run_all(encoder, ENCODER_MORE, &run, used, 64);
            run.in = "";
            used = run_all(encoder, ENCODER_FLUSH, &run, used, 64);
            assert_decoded(encoding, used, at + 1000);
        }
        encoder_free(encoder);
    }
}

static void one_serves_several_bodies(void **state)
{
    (void)state;
    for (enum encoding encoding = 0; encoding < ENCODING_COUNT; encoding++) {
        struct encoder *encoder = encoder_new(encoding, 4);
        struct encoder_run run = {.in = text, .in_left = 5000}; /* which is left in the middle */
        run_all(encoder, ENCODER_MORE, &run, 0, 4096);
        if (encoder_reset(encoder)) {
            size_t length = encode(encoder, 70000, 4096, 4096);
            assert_decoded(encoding, length, 70000);
        } else {
            assert_int_equal(encoding, ENCODING_BROTLI);
        }
        encoder_free(encoder);
    }
}

/* Only what it allocates counts: what came from the system, less what was given back. */
static void its_memory_is_bounded(void **state)
{
    (void)state;
#ifndef __SANITIZE_ADDRESS__
    for (enum encoding encoding = 0; encoding < ENCODING_COUNT; encoding++)
        for (unsigned level = 1; level <= ENCODER_LEVEL_MAX; level++) {
            struct mallinfo2 before = mallinfo2();
            struct encoder *encoder = encoder_new(encoding, level);
            for (int round = 0; round < 2; round++) {
                struct encoder_run run = {.in = text, .in_left = TEXT_BYTES};
                run_all(encoder, ENCODER_MORE, &run, 0, CODED_BYTES);
            }
            struct mallinfo2 after = mallinfo2();
            size_t bytes = after.uordblks + after.hblkhd - before.uordblks - before.hblkhd;
            if (bytes > encoder_bytes(encoding))
                print_message("%s at level %u: %zu bytes\n", encodings[encoding].name.bytes, level,
                              bytes);
            assert_true(bytes <= encoder_bytes(encoding));
            encoder_free(encoder);
        }
#endif
}

static void what_is_there_whole_goes_at_once(void **state)
{
    (void)state;
    for (unsigned level = 1; level <= ENCODER_LEVEL_MAX; level++) {
        struct gzip_whole *gzip = gzip_whole_new(level);
        assert_int_equal(gzip_whole_level(gzip), level);
        assert_int_equal(gzip_whole_encode(gzip, text, 32768, coded, 100), 0);
        size_t length = gzip_whole_encode(gzip, text, 32768, coded, CODED_BYTES);
        assert_true(length > 0 && length < 32768);
        assert_decoded(ENCODING_GZIP, length, 32768);
        gzip_whole_free(gzip);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back_in_any_pieces),
        cmocka_unit_test(every_level_makes_it_smaller),
        cmocka_unit_test(what_was_flushed_can_be_decoded),
        cmocka_unit_test(one_serves_several_bodies),
        cmocka_unit_test(what_is_there_whole_goes_at_once),
        cmocka_unit_test(its_memory_is_bounded),
    };
    return cmocka_run_group_tests(tests, text_make, NULL);
}
