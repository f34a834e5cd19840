#include "gateway/http/fcgi_record.h"

#include <assert.h>
#include <string.h>

enum { VERSION = 1, REQUEST = 1, ROLE_RESPONDER = 1, FLAG_KEEP = 1, END_STATUS = 4 };
/* Places in a header. */
enum { AT_VERSION, AT_TYPE, AT_REQUEST, AT_CONTENT = 4, AT_PADDING = 6 };

/* ---- writing -------------------------------------------------------------------------------- */

void fcgi_header_write(char out[FCGI_HEADER_BYTES], enum fcgi_type type, size_t length)
{
    assert(length <= FCGI_CONTENT_BYTES_MAX);
    memset(out, 0, FCGI_HEADER_BYTES);
    out[AT_VERSION] = VERSION;
    out[AT_TYPE] = (char)type;
    out[AT_REQUEST + 1] = REQUEST;
    out[AT_CONTENT] = (char)(length >> 8);
    out[AT_CONTENT + 1] = (char)length;
}

void fcgi_begin_write(char out[FCGI_BEGIN_BYTES], bool keeps)
{
    memset(out, 0, FCGI_BEGIN_BYTES);
    fcgi_header_write(out, FCGI_TYPE_BEGIN, FCGI_BEGIN_BYTES - FCGI_HEADER_BYTES);
    out[FCGI_HEADER_BYTES + 1] = ROLE_RESPONDER;
    out[FCGI_HEADER_BYTES + 2] = keeps ? FLAG_KEEP : 0;
}

size_t fcgi_length_write(char out[4], uint32_t length)
{
    if (length < 128) {
        out[0] = (char)length;
        return 1;
    }
    out[0] = (char)(length >> 24 | 128);
    out[1] = (char)(length >> 16);
    out[2] = (char)(length >> 8);
    out[3] = (char)length;
    return 4;
}

/* ---- reading -------------------------------------------------------------------------------- */

static size_t smaller(size_t one, size_t other)
{
    return one < other ? one : other;
}

/* The header is complete. False: it may not stand here. */
static bool header_read(struct fcgi_reader *reader)
{
    const uint8_t *header = reader->header;
    uint8_t type = header[AT_TYPE];
    reader->content_left = (uint16_t)(header[AT_CONTENT] << 8 | header[AT_CONTENT + 1]);
    reader->padding_left = header[AT_PADDING];
    if (header[AT_VERSION] != VERSION || header[AT_REQUEST] || header[AT_REQUEST + 1] != REQUEST)
        return false;
    if (type == FCGI_TYPE_END)
        return reader->content_left == sizeof reader->end;
    return type == FCGI_TYPE_STDOUT || type == FCGI_TYPE_STDERR;
}

/* Bytes of the content of END_REQUEST. */
static void end_read(struct fcgi_reader *reader, const char *bytes, size_t count)
{
    memcpy(reader->end + sizeof reader->end - reader->content_left, bytes, count);
    reader->content_left = (uint16_t)(reader->content_left - count);
}

enum fcgi_event fcgi_next(struct fcgi_reader *reader, const char *bytes, size_t length,
                          size_t *ret_used, size_t *ret_length)
{
    size_t used = 0;
    *ret_length = 0;
    for (;;) {
        size_t missing = FCGI_HEADER_BYTES - (size_t)reader->header_length;
        size_t count = smaller(missing, length - used);
        if (count) {
            memcpy(reader->header + reader->header_length, bytes + used, count);
            reader->header_length = (uint8_t)(reader->header_length + count);
            used += count;
            if (count == missing && !header_read(reader)) {
                *ret_used = used;
                return FCGI_BAD;
            }
        }
        if (reader->header_length < FCGI_HEADER_BYTES)
            break;
        bool ends = reader->header[AT_TYPE] == FCGI_TYPE_END;
        count = smaller(reader->content_left, length - used);
        if (count && !ends) {
            reader->content_left = (uint16_t)(reader->content_left - count);
            *ret_used = used + count;
            *ret_length = count;
            return reader->header[AT_TYPE] == FCGI_TYPE_STDOUT ? FCGI_STDOUT : FCGI_STDERR;
        }
        if (count)
            end_read(reader, bytes + used, count);
        used += count;
        if (reader->content_left)
            break;
        count = smaller(reader->padding_left, length - used);
        reader->padding_left = (uint8_t)(reader->padding_left - count);
        used += count;
        if (reader->padding_left)
            break;
        reader->header_length = 0;
        if (ends) {
            *ret_used = used;
            return reader->end[END_STATUS] ? FCGI_REFUSED : FCGI_END;
        }
    }
    *ret_used = used;
    return FCGI_MORE;
}
