#include "gateway/http/h1_output.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/http/fcgi_record.h"

enum { CHUNK_LINE_BYTES = 20 };

void h1_output_init(struct h1_output *output, bool chunked)
{
    *output = (struct h1_output){.chunked = chunked};
}

void h1_output_done(struct h1_output *output)
{
    free(output->pending);
    output->pending = NULL;
    output->pending_length = 0;
}

int h1_output_keep(struct h1_output *output, const char *bytes, size_t length)
{
    if (!length)
        return 0;
    char *pending = realloc(output->pending, output->pending_length + length);
    if (!pending)
        return -ENOMEM;
    memcpy(pending + output->pending_length, bytes, length);
    output->pending = pending;
    output->pending_length += (uint32_t)length;
    return 0;
}

int h1_output_flush(struct h1_output *output, struct stream *stream)
{
    if (!output->pending)
        return 0;
    ssize_t sent = stream_write(stream, output->pending, output->pending_length, false);
    if (sent < 0)
        return (int)sent;
    output->pending_length -= (uint32_t)sent;
    if (output->pending_length) {
        memmove(output->pending, output->pending + sent, output->pending_length);
        return -EAGAIN;
    }
    h1_output_done(output);
    return 0;
}

/* What goes out at once: framing, a run of the body, framing. */
struct parts {
    char *prefix;
    size_t prefix_length;
    size_t prefix_room;
    const char *run;
    size_t run_length;
    const char *suffix;
    size_t suffix_length;
    bool more;
};

static ssize_t parts_send(const struct parts *parts, struct stream *stream)
{
    size_t length = parts->prefix_length + parts->run_length + parts->suffix_length;
    if (parts->run_length <= OUTPUT_COPIED_MAX && length <= parts->prefix_room) {
        char *at = parts->prefix + parts->prefix_length;
        if (parts->run_length)
            memcpy(at, parts->run, parts->run_length);
        memcpy(at + parts->run_length, parts->suffix, parts->suffix_length);
        return stream_write(stream, parts->prefix, length, parts->more);
    }
    if (parts->run_length == length)
        return stream_write(stream, parts->run, length, parts->more);
    const struct iovec pieces[] = {
        {parts->prefix, parts->prefix_length},
        {(void *)(uintptr_t)parts->run, parts->run_length},
        {(void *)(uintptr_t)parts->suffix, parts->suffix_length},
    };
    return stream_writev(stream, pieces, 3, parts->more);
}

/* Keeps what was not sent of these parts but for the run, which stays the caller's. */
static ssize_t parts_keep(struct h1_output *output, const struct parts *parts, size_t sent,
                          bool whole)
{
    size_t taken = parts->run_length;
    int error = 0;
    if (sent < parts->prefix_length) {
        error = h1_output_keep(output, parts->prefix + sent, parts->prefix_length - sent);
        sent = parts->prefix_length;
    }
    size_t of_run = sent - parts->prefix_length;
    if (of_run < parts->run_length) {
        if (whole && !error)
            error = h1_output_keep(output, parts->run + of_run, parts->run_length - of_run);
        else if (!whole)
            taken = of_run;
        of_run = parts->run_length;
        if (!whole)
            return error ? error : (ssize_t)taken;
    }
    size_t of_suffix = sent > parts->prefix_length + parts->run_length
                           ? sent - parts->prefix_length - parts->run_length
                           : 0;
    if (!error)
        error = h1_output_keep(output, parts->suffix + of_suffix, parts->suffix_length - of_suffix);
    return error ? error : (ssize_t)taken;
}

static ssize_t parts_emit(struct h1_output *output, struct stream *stream,
                          const struct parts *parts)
{
    size_t length = parts->prefix_length + parts->run_length + parts->suffix_length;
    if (!length)
        return 0;
    ssize_t sent = parts_send(parts, stream);
    if (sent < 0 && sent != -EAGAIN)
        return sent;
    if (sent < 0)
        sent = 0;
    if ((size_t)sent == length)
        return (ssize_t)parts->run_length;
    return parts_keep(output, parts, (size_t)sent, stream->tls != NULL);
}

static size_t chunk_line(char *out, uint64_t size)
{
    static const char digits[] = "0123456789abcdef";
    int nibbles = (67 - __builtin_clzll(size | 1)) / 4;
    for (int i = nibbles - 1; i >= 0; i--, size >>= 4)
        out[i] = digits[size & 15];
    out[nibbles] = '\r';
    out[nibbles + 1] = '\n';
    return (size_t)nibbles + 2;
}

/* The empty STDIN record that ends a body. */
static const char record_end[FCGI_HEADER_BYTES] = {1, FCGI_TYPE_STDIN, 0, 1};

static ssize_t chunk_emitted(struct h1_output *output, struct stream *stream,
                             const struct parts *parts, uint64_t chunk)
{
    ssize_t taken = parts_emit(output, stream, parts);
    if (taken >= 0)
        output->chunk_left = chunk - (uint64_t)taken;
    return taken;
}

/* Sends a run that fills a chunk: one that was announced, or a new one. */
static ssize_t chunk_emit(struct h1_output *output, struct stream *stream, struct parts *parts,
                          bool last)
{
    static const char ends[] = "\r\n0\r\n\r\n";
    uint64_t chunk = output->chunk_left;
    if (chunk && chunk < parts->run_length) {
        parts->run_length = chunk;
        last = false;
    }
    if (!chunk && parts->run_length) {
        chunk = parts->run_length;
        parts->prefix_length += chunk_line(parts->prefix + parts->prefix_length, chunk);
    }
    bool full = chunk && chunk == parts->run_length;
    parts->suffix = full ? ends : ends + 2;
    parts->suffix_length = (full ? 2u : 0u) + (last && (full || !chunk) ? 5u : 0u);
    return chunk_emitted(output, stream, parts, chunk);
}

/* The same with a record, which has nothing behind it, and is of bounded size. */
static ssize_t record_emit(struct h1_output *output, struct stream *stream, struct parts *parts,
                           bool last)
{
    uint64_t record = output->chunk_left;
    uint64_t room = record ? record : FCGI_CONTENT_BYTES_MAX;
    if (parts->run_length > room) {
        parts->run_length = room;
        last = false;
    }
    if (!record && parts->run_length) {
        record = parts->run_length;
        fcgi_header_write(parts->prefix + parts->prefix_length, FCGI_TYPE_STDIN, record);
        parts->prefix_length += FCGI_HEADER_BYTES;
    }
    parts->suffix = record_end;
    parts->suffix_length = last && record == parts->run_length ? sizeof record_end : 0;
    return chunk_emitted(output, stream, parts, record);
}

static ssize_t piece_emit(struct h1_output *output, struct stream *stream,
                          const struct h1_piece *piece)
{
    char line[CHUNK_LINE_BYTES];
    struct parts parts = {
        .prefix = piece->head ? piece->head : line,
        .prefix_length = piece->head_length,
        .prefix_room = piece->head ? piece->head_room : 0,
        .run = piece->body,
        .run_length = piece->body_length,
        .suffix = "",
        .more = piece->more,
    };
    if (output->records && output->chunked)
        return record_emit(output, stream, &parts, piece->last);
    return output->chunked ? chunk_emit(output, stream, &parts, piece->last)
                           : parts_emit(output, stream, &parts);
}

/* There is no room at all: what is not the body goes behind what waits already. */
static ssize_t piece_put_off(struct h1_output *output, const struct h1_piece *piece)
{
    int error = h1_output_keep(output, piece->head, piece->head_length);
    if (!error && output->chunked && piece->last && !piece->body_length)
        error = output->records ? h1_output_keep(output, record_end, sizeof record_end)
                                : h1_output_keep(output, "0\r\n\r\n", 5);
    return error;
}

ssize_t h1_output_write(struct h1_output *output, struct stream *stream,
                        const struct h1_piece *piece)
{
    int flushed = h1_output_flush(output, stream);
    if (flushed)
        return flushed == -EAGAIN ? piece_put_off(output, piece) : flushed;
    struct h1_piece rest = *piece;
    ssize_t taken = 0;
    do {
        ssize_t some = piece_emit(output, stream, &rest);
        if (some < 0)
            return some;
        taken += some;
        rest.body = some ? rest.body + some : rest.body;
        rest.body_length -= (size_t)some;
        rest.head = NULL;
        rest.head_length = rest.head_room = 0;
    } while (rest.body_length && !output->pending && !stream->write_blocked);
    return taken;
}
