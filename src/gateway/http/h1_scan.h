/* Looking for bytes, 16 at a time where the machine can (SSE2, which every x86-64 has), one at a
 * time elsewhere. Pure; never looks behind `end`. Heads are some hundred bytes, so wider vectors
 * would win nothing that their set-up does not cost. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* RFC 9110 §5.6.2: the bytes of a token; §5.5: of a field's value; RFC 9112 §3.2: what a target may
 * hold (visible ASCII but `#`: no client sends a fragment). */
enum { BYTE_TOKEN = 1, BYTE_VALUE = 2, BYTE_TARGET = 4, BYTE_HOST = 8, BYTE_HEX = 16 };
extern const uint8_t h1_bytes[256];

static inline bool h1_byte(char byte, unsigned kinds)
{
    return h1_bytes[(unsigned char)byte] & kinds;
}

/* The first byte that is not of the kind, or `end`. */
static inline const char *h1_skip(const char *at, const char *end, unsigned kind)
{
    while (at < end && h1_byte(*at, kind))
        at++;
    return at;
}

#ifdef __SSE2__
/* A bit for each byte of 16 that no field value may hold. */
static inline unsigned h1_not_value(__m128i bytes)
{
    const __m128i low = _mm_set1_epi8(0x1f);
    __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, low), bytes);
    __m128i tab = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\t'));
    __m128i del = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_andnot_si128(tab, control), del));
}
/* A bit for each byte of 16 that is CR, LF or NUL. */
static inline unsigned h1_line_bytes(__m128i bytes)
{
    __m128i carriage = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\r'));
    __m128i feed = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\n'));
    __m128i nul = _mm_cmpeq_epi8(bytes, _mm_setzero_si128());
    return (unsigned)_mm_movemask_epi8(_mm_or_si128(_mm_or_si128(carriage, feed), nul));
}
#endif

/* The end of a field's value: the first byte that may not stand in it, or `end`. */
static inline const char *h1_value_end(const char *at, const char *end)
{
#ifdef __SSE2__
    for (; end - at >= 16; at += 16) {
        unsigned found = h1_not_value(_mm_loadu_si128((const __m128i *)(const void *)at));
        if (found)
            return at + __builtin_ctz(found);
    }
#endif
    return h1_skip(at, end, BYTE_VALUE);
}

/* The first CR, LF or NUL, or `end`. */
static inline const char *h1_line_byte(const char *at, const char *end)
{
#ifdef __SSE2__
    for (; end - at >= 16; at += 16) {
        unsigned found = h1_line_bytes(_mm_loadu_si128((const __m128i *)(const void *)at));
        if (found)
            return at + __builtin_ctz(found);
    }
#endif
    while (at < end && *at != '\r' && *at != '\n' && *at)
        at++;
    return at;
}
