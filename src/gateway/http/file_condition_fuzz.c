/* Fuzz target: any bytes are an Accept-Encoding, an If-None-Match and a date, or are none; what is
 * chosen among several codings is chosen alone, too, and a date that was read is the one that is
 * printed. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/http/file_condition.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ALL = (1u << ENCODING_COUNT) - 1 };

static void verify(bool holds)
{
    if (!holds)
        abort();
}

static void encodings_verify(struct slice accept)
{
    for (unsigned there = 0; there <= ALL; there++) {
        enum encoding chosen = encoding_choose(accept, there);
        verify(chosen == ENCODING_COUNT || there & 1u << chosen);
        if (chosen != ENCODING_COUNT)
            verify(encoding_choose(accept, 1u << chosen) == chosen);
        for (enum encoding i = 0; chosen == ENCODING_COUNT && i < ENCODING_COUNT; i++)
            verify(!(there & 1u << i) || encoding_choose(accept, 1u << i) == ENCODING_COUNT);
    }
}

static void conditions_verify(struct slice text)
{
    const struct wishes none_match = {.if_none_match = text}, match = {.if_match = text};
    const struct slice etag = SLICE("\"a-1\"");
    enum verdict weak = wishes_judge(&none_match, etag, 5);
    enum verdict strong = wishes_judge(&match, etag, 5);
    verify(weak != VERDICT_FAILED && strong != VERDICT_NOT_MODIFIED);
    /* What is the same strongly is so weakly. */
    verify(strong != VERDICT_SEND || weak == VERDICT_NOT_MODIFIED);
}

static void date_verify(struct slice text)
{
    char printed[HTTP_DATE_BYTES];
    time_t seconds = http_date_parse(text);
    if (seconds < 0)
        return;
    http_date_print(seconds, printed);
    verify(http_date_parse((struct slice){printed, HTTP_DATE_BYTES - 1}) == seconds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1); /* that a byte too many is noticed */
    memcpy(text, data, size);
    struct slice slice = {text, (uint32_t)size};
    encodings_verify(slice);
    conditions_verify(slice);
    date_verify(slice);
    free(text);
    return 0;
}
