/* Content codings of bodies (RFC 9110 §8.4): gzip by zlib (RFC 1952), Brotli (RFC 7932), Zstandard
 * (RFC 8878) behind one face: bytes in, bytes out, as streams. Windows are small, so that one costs
 * at most ENCODER_BYTES of its coding, whatever goes through it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "gateway/http/file_condition.h"

enum { ENCODER_LEVEL_MAX = 9 };

struct encoder;

enum encoder_step {
    ENCODER_MORE,  /* takes bytes, and keeps them if it likes */
    ENCODER_FLUSH, /* what was taken so far is to come out, so that it can be decoded */
    ENCODER_END,   /* these bytes are the last */
};

struct encoder_run {
    const char *in; /* advanced over what was taken */
    size_t in_left;
    char *out; /* advanced over what came out */
    size_t room;
};

/* `level`: 1 (fast) … ENCODER_LEVEL_MAX (small). NULL: no memory. */
struct encoder *encoder_new(enum encoding encoding, unsigned level);
void encoder_free(struct encoder *encoder); /* accepts NULL */
/* Ready for another body, at the same level. False: this coding cannot; free it. */
bool encoder_reset(struct encoder *encoder);

/* 1: the step is done (for ENCODER_MORE: all bytes were taken); 0: out of room, call again with
 * more; -1: no memory, or a broken stream: nothing good comes of it any more. */
int encoder_step(struct encoder *encoder, enum encoder_step step, struct encoder_run *run);

/* What it may take, whatever happens. */
size_t encoder_bytes(enum encoding encoding);

/* gzip of a body that is there whole: by libdeflate, which takes two thirds of zlib's time. */
struct gzip_whole;
struct gzip_whole *gzip_whole_new(unsigned level); /* NULL: no memory */
void gzip_whole_free(struct gzip_whole *gzip);     /* accepts NULL */
unsigned gzip_whole_level(const struct gzip_whole *gzip);
/* How many bytes came out; 0: they found no room. */
size_t gzip_whole_encode(struct gzip_whole *gzip, const char *in, size_t length, char *out,
                         size_t room);
