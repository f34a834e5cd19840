/* An SCGI request's head (python.ca/scgi/protocol.txt): the variables, each name and value ended by
 * a NUL, in a netstring; the body follows as it is, and the response is one of CGI. The connection
 * ends with it. */
#include <errno.h>

#include "gateway/http/cgi.h"

enum { LENGTH_BYTES_MAX = 8 }; /* "123456:" */

static void variable_begin(struct text *text, struct slice name, uint32_t value_length)
{
    (void)value_length;
    put_slice(text, name);
    PUT(text, "\0");
}

static void variable_end(struct text *text)
{
    PUT(text, "\0");
}

/* The netstring's length in front of what was written. */
static void length_put(struct text *text)
{
    char digits[LENGTH_BYTES_MAX + 1];
    struct text length = {.bytes = digits};
    put_number(&length, text->length);
    PUT(&length, ":");
    memmove(text->bytes + length.length, text->bytes, text->length);
    memcpy(text->bytes, digits, length.length);
    text->length += length.length;
    PUT(text, ",");
}

int scgi_head_put(struct proxy *proxy, struct text *text)
{
    static const struct cgi_form form = {.begin = variable_begin, .end = variable_end};
    int error = cgi_put(proxy, &form, text);
    if (error)
        return error;
    put_slice(text, SLICE("SCGI\0001\0"));
    if (text->length + LENGTH_BYTES_MAX > TEXT_BYTES_MAX)
        text->full = true;
    if (!text->full)
        length_put(text);
    return text->full ? -E2BIG : 0;
}
