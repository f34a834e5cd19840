#include <string.h>

#include "base/log.h"
#include "gateway/http/cgi_response.h"
#include "gateway/http/h1_client_private.h"
#include "gateway/http/http_worker.h"

enum { STDERR_TEXT_BYTES = 512, STDERR_LINE_BYTES = 1200, STDERR_LINES_MAX = 20, SECOND_MS = 1000 };

/* What the program complains about, a few lines a second. */
static void stderr_log(struct h1_client *client, const char *bytes, size_t length)
{
    struct http_worker *http = client->worker->http;
    uint64_t now_ms = loop_now(client->worker->loop);
    char text[STDERR_TEXT_BYTES], line[STDERR_LINE_BYTES];
    while (length && (bytes[length - 1] == '\n' || bytes[length - 1] == '\r'))
        length--;
    if (!length)
        return;
    if (now_ms >= http->stderr_until_ms) {
        http->stderr_until_ms = now_ms + SECOND_MS;
        http->stderr_lines = 0;
    }
    if (http->stderr_lines++ >= STDERR_LINES_MAX)
        return;
    if (length >= sizeof text)
        length = sizeof text - 1;
    memcpy(text, bytes, length);
    text[length] = 0;
    for (char *at = text; (at = memchr(at, 0, length - (size_t)(at - text)));)
        *at = ' ';
    log_warn("fastcgi-stderr", "instance=%s text=%s", client->endpoint->name,
             log_text(text, line, sizeof line));
}

bool fcgi_client_decode(struct h1_client *client, char *bytes, size_t *length)
{
    size_t at = 0, data = 0;
    while (at < *length) {
        size_t used, run;
        if (client->records_over) { /* what is behind the end answers nothing */
            client->private = true;
            break;
        }
        enum fcgi_event event = fcgi_next(&client->reader, bytes + at, *length - at, &used, &run);
        at += used;
        switch (event) {
        case FCGI_STDOUT:
            memmove(bytes + data, bytes + at - run, run);
            data += run;
            break;
        case FCGI_STDERR:
            stderr_log(client, bytes + at - run, run);
            break;
        case FCGI_END:
            client->records_over = true;
            break;
        case FCGI_MORE:
            break;
        case FCGI_REFUSED:
            client_fail(client, false, "the program refused the request: overloaded, or no role");
            return false;
        case FCGI_BAD:
            client_fail(client, false, "a broken FastCGI record");
            return false;
        }
    }
    *length = data;
    return true;
}
