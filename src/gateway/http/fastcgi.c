/* A FastCGI request's head: BEGIN_REQUEST and PARAMS. */
#include <errno.h>

#include "gateway/http/cgi.h"
#include "gateway/http/fcgi_record.h"

static void variable_begin(struct text *text, struct slice name, uint32_t value_length)
{
    char bytes[8];
    size_t length = fcgi_length_write(bytes, name.length);
    length += fcgi_length_write(bytes + length, value_length);
    put(text, bytes, length);
    put_slice(text, name);
}

/* PARAMS records of what stands behind the first one's header, and the empty one. */
static void params_close(struct text *text)
{
    size_t at = FCGI_BEGIN_BYTES;
    for (;;) {
        size_t length = text->length - at - FCGI_HEADER_BYTES;
        char *header = text->bytes + at;
        if (length <= FCGI_CONTENT_BYTES_MAX) {
            fcgi_header_write(header, FCGI_TYPE_PARAMS, length);
            break;
        }
        fcgi_header_write(header, FCGI_TYPE_PARAMS, FCGI_CONTENT_BYTES_MAX);
        at += FCGI_HEADER_BYTES + FCGI_CONTENT_BYTES_MAX;
        char gap[FCGI_HEADER_BYTES] = {0};
        size_t behind = text->length - at;
        put(text, gap, sizeof gap);
        if (text->full)
            return;
        memmove(text->bytes + at + FCGI_HEADER_BYTES, text->bytes + at, behind);
    }
    char empty[FCGI_HEADER_BYTES];
    fcgi_header_write(empty, FCGI_TYPE_PARAMS, 0);
    put(text, empty, sizeof empty);
}

int fastcgi_head_put(struct proxy *proxy, struct text *text)
{
    static const struct cgi_form form = {.begin = variable_begin};
    char first[FCGI_BEGIN_BYTES + FCGI_HEADER_BYTES] = {0};
    fcgi_begin_write(first, proxy_service(proxy)->gateway.idle_max > 0);
    put(text, first, sizeof first);
    int error = cgi_put(proxy, &form, text);
    if (error)
        return error;
    if (!text->full)
        params_close(text);
    return text->full ? -E2BIG : 0;
}
