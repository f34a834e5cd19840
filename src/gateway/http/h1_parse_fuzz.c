/* Fuzz target: any bytes are a request, a response or a chunked body, or are refused. The first
 * byte chooses which; the second, in what pieces they come. What is taken must not depend on the
 * pieces, and must hold nothing that another implementation could read as an end of a line. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/http/h1_parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIELDS_ROOM = 32 };

static void verify(bool holds)
{
    if (!holds)
        abort();
}

static void slice_verify(struct slice slice, const char *bytes, size_t length)
{
    for (uint32_t i = 0; i < slice.length; i++)
        verify(slice.bytes[i] != '\r' && slice.bytes[i] != '\n' && slice.bytes[i]);
    bool inside = slice.bytes >= bytes && slice.bytes + slice.length <= bytes + length;
    verify(inside || slice.length <= 1); /* "/" and "*" may be ours */
}

static void head_verify(const struct head *head, const char *bytes, size_t length)
{
    verify(head->field_count <= FIELDS_ROOM);
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct field *field = &head->fields[i];
        slice_verify(field->name, bytes, length);
        slice_verify(field->value, bytes, length);
        verify(field->name.length > 0 && field->id < FIELD_COUNT);
        verify(field->id == FIELD_OTHER || head->first[field->id] <= i + 1);
    }
    verify(!(head->first[FIELD_CONTENT_LENGTH] && head->first[FIELD_TRANSFER_ENCODING]));
}

/* The end must be found at the same place byte by byte as at once. */
static enum h1_result head_end(const char *bytes, size_t length, size_t step, size_t *ret_length)
{
    size_t scanned = 0, once_length = 0;
    enum h1_result once = h1_head_end(bytes, length, &scanned, &once_length);
    scanned = 0;
    for (size_t have = 0;; have += step) {
        if (have > length)
            have = length;
        enum h1_result result = h1_head_end(bytes, have, &scanned, ret_length);
        if (result == H1_MORE && have < length)
            continue;
        verify(result == once && (result != H1_DONE || *ret_length == once_length));
        return result;
    }
}

static void request(const char *bytes, size_t length)
{
    struct field fields[FIELDS_ROOM];
    struct head head = {.fields = fields, .fields_room = FIELDS_ROOM};
    struct h1_refusal refusal = {0};
    if (h1_request_parse(bytes, length, &head, &refusal) != H1_DONE) {
        verify(refusal.status >= 400 && refusal.status <= 505 && refusal.why);
        return;
    }
    head_verify(&head, bytes, length);
    slice_verify(head.target, bytes, length);
    slice_verify(head.authority, bytes, length);
    verify(head.target.length && head.path.length && head.body != BODY_CLOSE);
    verify(head.host.length || !head.version_minor);
}

static void response(const char *bytes, size_t length, enum http_method method)
{
    struct field fields[FIELDS_ROOM];
    struct head head = {.fields = fields, .fields_room = FIELDS_ROOM};
    const char *why = NULL;
    if (h1_response_parse(bytes, length, method, &head, &why) != H1_DONE) {
        verify(why != NULL);
        return;
    }
    head_verify(&head, bytes, length);
    verify(head.status >= 100 && head.status <= 599);
    verify(method != METHOD_HEAD || head.body == BODY_NONE);
}

struct decoded {
    enum h1_result result;
    size_t used, length;
    char *data;
};

static struct decoded chunks_decode(const char *bytes, size_t length, size_t step)
{
    struct decoded decoded = {.result = H1_MORE, .data = malloc(length + 1)};
    struct h1_chunks chunks;
    h1_chunks_init(&chunks);
    static char trailer[CHUNK_TRAILER_BYTES_MAX];
    chunks.trailer = trailer;
    char *piece = malloc(length + 1);
    while (decoded.used < length && decoded.result == H1_MORE) {
        size_t left = length - decoded.used;
        size_t size = left < step ? left : step;
        memcpy(piece, bytes + decoded.used, size);
        char *data = NULL;
        size_t used = 0, run = 0;
        decoded.result = h1_chunks_decode(&chunks, piece, size, &used, &data, &run);
        verify(used <= size && run <= used);
        if (run)
            memcpy(decoded.data + decoded.length, data, run);
        decoded.length += run;
        decoded.used += used;
    }
    free(piece);
    struct field fields[FIELDS_ROOM];
    if (decoded.result == H1_DONE)
        verify(h1_trailers_parse(&chunks, fields, FIELDS_ROOM) <= FIELDS_ROOM);
    return decoded;
}

static void chunks(const char *bytes, size_t length, size_t step)
{
    struct decoded once = chunks_decode(bytes, length, length ? length : 1);
    struct decoded pieces = chunks_decode(bytes, length, step);
    verify(once.result == pieces.result);
    if (once.result != H1_BAD)
        verify(once.used == pieces.used && once.length == pieces.length &&
               !memcmp(once.data, pieces.data, once.length));
    free(once.data);
    free(pieces.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const char *bytes = (const char *)data + 2;
    size_t length = size - 2;
    size_t step = data[1] % 16 + 1u;
    if (data[0] % 4 == 3) {
        chunks(bytes, length, step);
        return 0;
    }
    size_t blank = h1_blank(bytes, length);
    bytes += blank;
    length -= blank;
    size_t head_length;
    if (head_end(bytes, length, step, &head_length) == H1_DONE)
        length = head_length;
    if (data[0] % 4 == 0)
        request(bytes, length);
    else
        response(bytes, length, data[0] % 4 == 1 ? METHOD_GET : METHOD_HEAD);
    return 0;
}
