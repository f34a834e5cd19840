/* A uwsgi request's head (the uwsgi protocol, as uWSGI's documentation has it): a packet with the
 * variables, sizes with the low byte first; the body follows as it is, and the response is one of
 * HTTP. The connection ends with it. */
#include <errno.h>

#include "gateway/http/cgi.h"

enum { HEADER_BYTES = 4, PACKET_BYTES_MAX = 65535, MODIFIER_WSGI = 0 };

static void put_size(struct text *text, uint32_t size)
{
    const char bytes[2] = {(char)size, (char)(size >> 8)};
    text->full |= size > PACKET_BYTES_MAX;
    put(text, bytes, sizeof bytes);
}

static void variable_begin(struct text *text, struct slice name, uint32_t value_length)
{
    put_size(text, name.length);
    put_slice(text, name);
    put_size(text, value_length);
}

int uwsgi_head_put(struct proxy *proxy, struct text *text)
{
    static const struct cgi_form form = {.begin = variable_begin};
    char header[HEADER_BYTES] = {MODIFIER_WSGI};
    put(text, header, sizeof header);
    int error = cgi_put(proxy, &form, text);
    if (error)
        return error;
    size_t length = text->length - HEADER_BYTES;
    if (text->full || length > PACKET_BYTES_MAX)
        return -E2BIG;
    text->bytes[1] = (char)length;
    text->bytes[2] = (char)(length >> 8);
    return 0;
}
