#include "gateway/http/encoder.h"

#include <assert.h>
#include <brotli/encode.h>
#include <libdeflate.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

enum {
    GZIP_WINDOW = 15, /* 2^n bytes */
    GZIP_FRAMED = 16, /* added to the window: with gzip's head and checksum */
    GZIP_MEMORY = 8,
    BROTLI_WINDOW = 16,
    ZSTD_WINDOW = 17,
    ZSTD_TABLES = 16,
};

struct encoder {
    enum encoding encoding;
    union {
        z_stream gzip;
        BrotliEncoderState *brotli;
        ZSTD_CCtx *zstd;
    };
};

/* Measured, rounded up (encoder_test.c holds them to it). */
size_t encoder_bytes(enum encoding encoding)
{
    static const size_t bytes[ENCODING_COUNT] = {
        [ENCODING_GZIP] = 288 * 1024,
        [ENCODING_BROTLI] = 3 * 1024 * 1024,
        [ENCODING_ZSTD] = 2 * 1024 * 1024,
    };
    return bytes[encoding];
}

/* ---- gzip ------------------------------------------------------------------------------------ */

static bool gzip_init(struct encoder *encoder, unsigned level)
{
    encoder->gzip = (z_stream){0};
    return deflateInit2(&encoder->gzip, (int)level, Z_DEFLATED, GZIP_WINDOW + GZIP_FRAMED,
                        GZIP_MEMORY, Z_DEFAULT_STRATEGY) == Z_OK;
}

static unsigned clamp(size_t length)
{
    return length > UINT_MAX ? UINT_MAX : (unsigned)length;
}

static int gzip_step(struct encoder *encoder, enum encoder_step step, struct encoder_run *run)
{
    static const int flushes[] = {
        [ENCODER_MORE] = Z_NO_FLUSH, [ENCODER_FLUSH] = Z_SYNC_FLUSH, [ENCODER_END] = Z_FINISH};
    z_stream *z = &encoder->gzip;
    z->next_in = (Bytef *)(uintptr_t)run->in;
    z->avail_in = clamp(run->in_left);
    z->next_out = (Bytef *)run->out;
    z->avail_out = clamp(run->room);
    int result = deflate(z, flushes[step]);
    run->in_left -= (size_t)((const char *)z->next_in - run->in);
    run->in = (const char *)z->next_in;
    run->room -= (size_t)((char *)z->next_out - run->out);
    run->out = (char *)z->next_out;
    if (result == Z_STREAM_END)
        return 1;
    if (result != Z_OK && result != Z_BUF_ERROR)
        return -1;
    return step != ENCODER_END && !run->in_left && run->room;
}

/* ---- Brotli ---------------------------------------------------------------------------------- */

/* Its quality 4 takes twice the memory of those on either side. */
static const uint32_t brotli_qualities[ENCODER_LEVEL_MAX + 1] = {1, 1, 2, 3, 3, 5, 6, 7, 8, 9};

static bool brotli_init(struct encoder *encoder, unsigned level)
{
    encoder->brotli = BrotliEncoderCreateInstance(NULL, NULL, NULL);
    return encoder->brotli &&
           BrotliEncoderSetParameter(encoder->brotli, BROTLI_PARAM_QUALITY,
                                     brotli_qualities[level]) &&
           BrotliEncoderSetParameter(encoder->brotli, BROTLI_PARAM_LGWIN, BROTLI_WINDOW);
}

static int brotli_step(struct encoder *encoder, enum encoder_step step, struct encoder_run *run)
{
    static const BrotliEncoderOperation operations[] = {[ENCODER_MORE] = BROTLI_OPERATION_PROCESS,
                                                        [ENCODER_FLUSH] = BROTLI_OPERATION_FLUSH,
                                                        [ENCODER_END] = BROTLI_OPERATION_FINISH};
    const uint8_t *in = (const uint8_t *)run->in;
    uint8_t *out = (uint8_t *)run->out;
    if (!BrotliEncoderCompressStream(encoder->brotli, operations[step], &run->in_left, &in,
                                     &run->room, &out, NULL))
        return -1;
    run->in = (const char *)in;
    run->out = (char *)out;
    if (step == ENCODER_END)
        return BrotliEncoderIsFinished(encoder->brotli) ? 1 : 0;
    return !run->in_left && !BrotliEncoderHasMoreOutput(encoder->brotli);
}

/* ---- Zstandard ------------------------------------------------------------------------------- */

static bool zstd_init(struct encoder *encoder, unsigned level)
{
    const struct {
        ZSTD_cParameter parameter;
        int value;
    } settings[] = {
        {ZSTD_c_compressionLevel, (int)level},
        {ZSTD_c_windowLog, ZSTD_WINDOW},
        {ZSTD_c_hashLog, ZSTD_TABLES},
        {ZSTD_c_chainLog, ZSTD_TABLES},
    };
    encoder->zstd = ZSTD_createCCtx();
    bool good = encoder->zstd != NULL;
    for (size_t i = 0; good && i < sizeof settings / sizeof settings[0]; i++)
        good = !ZSTD_isError(
            ZSTD_CCtx_setParameter(encoder->zstd, settings[i].parameter, settings[i].value));
    return good;
}

static int zstd_step(struct encoder *encoder, enum encoder_step step, struct encoder_run *run)
{
    static const ZSTD_EndDirective directives[] = {[ENCODER_MORE] = ZSTD_e_continue,
                                                   [ENCODER_FLUSH] = ZSTD_e_flush,
                                                   [ENCODER_END] = ZSTD_e_end};
    ZSTD_inBuffer in = {run->in, run->in_left, 0};
    ZSTD_outBuffer out = {run->out, run->room, 0};
    size_t left = ZSTD_compressStream2(encoder->zstd, &out, &in, directives[step]);
    if (ZSTD_isError(left))
        return -1;
    run->in += in.pos;
    run->in_left -= in.pos;
    run->out += out.pos;
    run->room -= out.pos;
    return step == ENCODER_MORE ? !run->in_left : !left;
}

/* ---- one of them ----------------------------------------------------------------------------- */

struct encoder *encoder_new(enum encoding encoding, unsigned level)
{
    static bool (*const inits[ENCODING_COUNT])(struct encoder *, unsigned) = {
        [ENCODING_GZIP] = gzip_init, [ENCODING_BROTLI] = brotli_init, [ENCODING_ZSTD] = zstd_init};
    assert(level >= 1 && level <= ENCODER_LEVEL_MAX);
    struct encoder *encoder = calloc(1, sizeof *encoder);
    if (!encoder)
        return NULL;
    encoder->encoding = encoding;
    if (inits[encoding](encoder, level))
        return encoder;
    encoder_free(encoder);
    return NULL;
}

void encoder_free(struct encoder *encoder)
{
    if (!encoder)
        return;
    switch (encoder->encoding) {
    case ENCODING_GZIP:
        deflateEnd(&encoder->gzip);
        break;
    case ENCODING_BROTLI:
        if (encoder->brotli)
            BrotliEncoderDestroyInstance(encoder->brotli);
        break;
    case ENCODING_ZSTD:
        ZSTD_freeCCtx(encoder->zstd);
        break;
    case ENCODING_COUNT:
        break;
    }
    free(encoder);
}

bool encoder_reset(struct encoder *encoder)
{
    if (encoder->encoding == ENCODING_GZIP)
        return deflateReset(&encoder->gzip) == Z_OK;
    if (encoder->encoding == ENCODING_ZSTD)
        return !ZSTD_isError(ZSTD_CCtx_reset(encoder->zstd, ZSTD_reset_session_only));
    return false;
}

int encoder_step(struct encoder *encoder, enum encoder_step step, struct encoder_run *run)
{
    static int (*const steps[ENCODING_COUNT])(struct encoder *, enum encoder_step,
                                              struct encoder_run *) = {
        [ENCODING_GZIP] = gzip_step, [ENCODING_BROTLI] = brotli_step, [ENCODING_ZSTD] = zstd_step};
    return steps[encoder->encoding](encoder, step, run);
}

/* ---- gzip of what is there whole ------------------------------------------------------------- */

struct gzip_whole {
    unsigned level;
    struct libdeflate_compressor *compressor;
};

struct gzip_whole *gzip_whole_new(unsigned level)
{
    struct gzip_whole *gzip = calloc(1, sizeof *gzip);
    if (!gzip)
        return NULL;
    gzip->level = level;
    gzip->compressor = libdeflate_alloc_compressor((int)level);
    if (gzip->compressor)
        return gzip;
    free(gzip);
    return NULL;
}

void gzip_whole_free(struct gzip_whole *gzip)
{
    if (!gzip)
        return;
    libdeflate_free_compressor(gzip->compressor);
    free(gzip);
}

unsigned gzip_whole_level(const struct gzip_whole *gzip)
{
    return gzip->level;
}

size_t gzip_whole_encode(struct gzip_whole *gzip, const char *in, size_t length, char *out,
                         size_t room)
{
    return libdeflate_gzip_compress(gzip->compressor, in, length, out, room);
}
