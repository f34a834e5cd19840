#include "gateway/http/h1_fields.h"
#include "gateway/http/h1_scan.h"

/* size [ext] CRLF data CRLF … 0 [ext] CRLF *trailer CRLF. What is between brackets is thrown away:
 * a chunk that is passed on is framed anew. */
enum chunk_state {
    CHUNK_SIZE,
    CHUNK_SPACE, /* white space before an extension */
    CHUNK_EXTENSION,
    CHUNK_SIZE_LF,
    CHUNK_DATA,
    CHUNK_DATA_CR,
    CHUNK_DATA_LF,
    CHUNK_LINE, /* a trailer line begins, or the last CRLF */
    CHUNK_TRAILER_NAME,
    CHUNK_TRAILER,
    CHUNK_TRAILER_LF,
    CHUNK_LAST_LF,
    CHUNK_OVER,
    CHUNK_BROKEN,
};

enum { CHUNK_DIGITS_MAX = 15 }; /* 60 bits: sums of them do not overflow */

void h1_chunks_init(struct h1_chunks *chunks)
{
    *chunks = (struct h1_chunks){.state = CHUNK_SIZE};
}

static uint8_t hex_value(char byte)
{
    return (uint8_t)(byte <= '9' ? byte - '0' : (byte | 0x20) - 'a' + 10);
}

static enum chunk_state size_step(struct h1_chunks *chunks, char byte)
{
    if (h1_byte(byte, BYTE_HEX)) {
        if (chunks->digits++ >= CHUNK_DIGITS_MAX)
            return CHUNK_BROKEN;
        chunks->left = chunks->left * 16 + hex_value(byte);
        return CHUNK_SIZE;
    }
    if (!chunks->digits)
        return CHUNK_BROKEN;
    if (byte == '\r')
        return CHUNK_SIZE_LF;
    if (byte == ';')
        return CHUNK_EXTENSION;
    return byte == ' ' || byte == '\t' ? CHUNK_SPACE : CHUNK_BROKEN;
}

static enum chunk_state extension_step(struct h1_chunks *chunks, char byte)
{
    if (++chunks->extension_bytes > CHUNK_EXTENSION_BYTES_MAX)
        return CHUNK_BROKEN;
    if (chunks->state == CHUNK_SPACE) {
        if (byte == ';')
            return CHUNK_EXTENSION;
        return byte == ' ' || byte == '\t' ? CHUNK_SPACE : CHUNK_BROKEN;
    }
    if (byte == '\r')
        return CHUNK_SIZE_LF;
    return h1_byte(byte, BYTE_VALUE) ? CHUNK_EXTENSION : CHUNK_BROKEN;
}

static enum chunk_state size_end(struct h1_chunks *chunks, char byte)
{
    if (byte != '\n')
        return CHUNK_BROKEN;
    chunks->digits = 0;
    chunks->extension_bytes = 0;
    return chunks->left ? CHUNK_DATA : CHUNK_LINE;
}

static enum chunk_state trailer_step(struct h1_chunks *chunks, char byte)
{
    if (chunks->state == CHUNK_TRAILER) {
        if (byte == '\r')
            return CHUNK_TRAILER_LF;
        return h1_byte(byte, BYTE_VALUE) ? CHUNK_TRAILER : CHUNK_BROKEN;
    }
    if (h1_byte(byte, BYTE_TOKEN))
        return CHUNK_TRAILER_NAME;
    if (chunks->state == CHUNK_LINE)
        return byte == '\r' ? CHUNK_LAST_LF : CHUNK_BROKEN;
    return byte == ':' ? CHUNK_TRAILER : CHUNK_BROKEN;
}

static enum chunk_state step(struct h1_chunks *chunks, char byte)
{
    switch ((enum chunk_state)chunks->state) {
    case CHUNK_SIZE:
        return size_step(chunks, byte);
    case CHUNK_SPACE:
    case CHUNK_EXTENSION:
        return extension_step(chunks, byte);
    case CHUNK_SIZE_LF:
        return size_end(chunks, byte);
    case CHUNK_DATA_CR:
        return byte == '\r' ? CHUNK_DATA_LF : CHUNK_BROKEN;
    case CHUNK_DATA_LF:
        return byte == '\n' ? CHUNK_SIZE : CHUNK_BROKEN;
    case CHUNK_LINE:
    case CHUNK_TRAILER_NAME:
    case CHUNK_TRAILER:
        return trailer_step(chunks, byte);
    case CHUNK_TRAILER_LF:
        return byte == '\n' ? CHUNK_LINE : CHUNK_BROKEN;
    case CHUNK_LAST_LF:
        return byte == '\n' ? CHUNK_OVER : CHUNK_BROKEN;
    case CHUNK_DATA:
    case CHUNK_OVER:
    case CHUNK_BROKEN:
        break;
    }
    return CHUNK_BROKEN;
}

static bool in_trailer(const struct h1_chunks *chunks)
{
    return chunks->state >= CHUNK_LINE && chunks->state <= CHUNK_LAST_LF;
}

static enum chunk_state trailer_keep(struct h1_chunks *chunks, char byte)
{
    if (chunks->trailer_bytes >= CHUNK_TRAILER_BYTES_MAX)
        return CHUNK_BROKEN;
    if (chunks->trailer)
        chunks->trailer[chunks->trailer_bytes] = byte;
    chunks->trailer_bytes++;
    return step(chunks, byte);
}

enum h1_result h1_chunks_next(struct h1_chunks *chunks, const char *bytes, size_t length,
                              size_t *ret_used, size_t *ret_data)
{
    size_t used = 0;
    *ret_data = 0;
    if (chunks->state == CHUNK_DATA && !chunks->left)
        chunks->state = CHUNK_DATA_CR;
    while (used < length && chunks->state < CHUNK_OVER && chunks->state != CHUNK_DATA) {
        char byte = bytes[used++];
        chunks->state =
            (uint8_t)(in_trailer(chunks) ? trailer_keep(chunks, byte) : step(chunks, byte));
    }
    *ret_used = used;
    if (chunks->state == CHUNK_BROKEN)
        return H1_BAD;
    if (chunks->state == CHUNK_OVER)
        return H1_DONE;
    if (chunks->state == CHUNK_DATA)
        *ret_data = length - used < chunks->left ? length - used : (size_t)chunks->left;
    return H1_MORE;
}

enum h1_result h1_chunks_decode(struct h1_chunks *chunks, char *bytes, size_t length,
                                size_t *ret_used, char **ret_data, size_t *ret_length)
{
    size_t at = 0;
    char *data = bytes;
    size_t data_length = 0;
    for (;;) {
        size_t used, run;
        enum h1_result result = h1_chunks_next(chunks, bytes + at, length - at, &used, &run);
        at += used;
        if (run && !data_length)
            data = bytes + at;
        else if (run)
            memmove(data + data_length, bytes + at, run);
        data_length += run;
        at += run;
        h1_chunks_data(chunks, run);
        if (result == H1_MORE && at < length)
            continue;
        *ret_used = at;
        *ret_data = data;
        *ret_length = data_length;
        return result;
    }
}

uint32_t h1_trailers_parse(const struct h1_chunks *chunks, struct field *fields, uint32_t room)
{
    struct head head = {.fields = fields, .fields_room = room};
    struct h1_refusal refusal;
    if (!chunks->trailer ||
        h1_fields_parse(chunks->trailer, chunks->trailer + chunks->trailer_bytes, &head,
                        &refusal) != H1_DONE)
        return 0;
    uint32_t count = 0;
    for (uint32_t i = 0; i < head.field_count; i++)
        if (field_trails(&fields[i]))
            fields[count++] = fields[i];
    return count;
}
