/* Reading the answer to `check http`: the status, and, when the body must hold a text, the body as
 * it is without its framing (RFC 9112 §6, §7). Interim answers are passed over. */
#include <ctype.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "upstream/checker.h"

enum { STATUS_LINE_BYTES = 13, STATUS_AT = 9 }; /* "HTTP/1.1 200" and what follows it */

struct answer { /* what is left to read */
    const char *at;
    const char *end;
    bool closed; /* nothing more comes */
    char *why;
};

__attribute__((format(printf, 2, 3))) static enum check_verdict ill(const struct answer *answer,
                                                                    const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(answer->why, CHECK_WHY_BYTES, format, arguments);
    va_end(arguments);
    return CHECK_ILL;
}

static size_t left(const struct answer *answer)
{
    return (size_t)(answer->end - answer->at);
}

/* ---- the head ------------------------------------------------------------------------------- */

static bool digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

/* Does it go on as a status line as far as it is there? */
static bool status_line_begins(const struct answer *answer)
{
    static const char form[] = "HTTP/1.d ddd";
    size_t length = left(answer) < sizeof form - 1 ? left(answer) : sizeof form - 1;
    for (size_t i = 0; i < length; i++)
        if (form[i] == 'd' ? !digit(answer->at[i]) : form[i] != answer->at[i])
            return false;
    return true;
}

static enum check_verdict status_read(const struct answer *answer, int *ret_status)
{
    if (!status_line_begins(answer))
        return ill(answer, "it does not speak HTTP");
    if (left(answer) < STATUS_LINE_BYTES) {
        if (!answer->closed)
            return CHECK_MORE;
        return ill(answer, left(answer) ? "its answer is cut off" : "it closed without an answer");
    }
    char after = answer->at[STATUS_LINE_BYTES - 1];
    if (after != ' ' && after != '\r' && after != '\n')
        return ill(answer, "it does not speak HTTP");
    const char *digits = answer->at + STATUS_AT;
    *ret_status = (digits[0] - '0') * 100 + (digits[1] - '0') * 10 + (digits[2] - '0');
    return CHECK_WELL;
}

/* The byte after the empty line; NULL: it has not come. */
static const char *head_end(const struct answer *answer)
{
    for (const char *at = answer->at; at < answer->end; at++) {
        at = memchr(at, '\n', (size_t)(answer->end - at));
        if (!at)
            break;
        const char *next = at + 1;
        if (next < answer->end && *next == '\r')
            next++;
        if (next < answer->end && *next == '\n')
            return next + 1;
    }
    return NULL;
}

/* The value of a field, up to its line's end; NULL: there is none. */
static const char *field_find(const struct answer *answer, const char *head_ends, const char *name,
                              size_t *ret_length)
{
    size_t name_length = strlen(name);
    for (const char *line = answer->at; line && line < head_ends;) {
        const char *line_ends = memchr(line, '\n', (size_t)(head_ends - line));
        size_t length = (size_t)((line_ends ? line_ends : head_ends) - line);
        if (length > name_length && line[name_length] == ':' &&
            strncasecmp(line, name, name_length) == 0) {
            *ret_length = length - name_length - 1;
            return line + name_length + 1;
        }
        line = line_ends ? line_ends + 1 : NULL;
    }
    return NULL;
}

/* UINT64_MAX: none is said, or it is no number. */
static uint64_t content_length(const struct answer *answer, const char *head_ends)
{
    size_t length = 0;
    const char *value = field_find(answer, head_ends, "content-length", &length);
    uint64_t number = 0;
    size_t i = 0;
    while (value && i < length && (value[i] == ' ' || value[i] == '\t'))
        i++;
    if (!value || i == length || !digit(value[i]))
        return UINT64_MAX;
    for (; i < length && digit(value[i]); i++) {
        if (number > UINT32_MAX)
            return UINT64_MAX; /* more than is ever read */
        number = number * 10 + (uint64_t)(value[i] - '0');
    }
    return number;
}

static bool is_chunked(const struct answer *answer, const char *head_ends)
{
    size_t length = 0;
    const char *value = field_find(answer, head_ends, "transfer-encoding", &length);
    for (size_t i = 0; value && i + 7 <= length; i++)
        if (strncasecmp(value + i, "chunked", 7) == 0)
            return true;
    return false;
}

/* ---- the body ------------------------------------------------------------------------------- */

struct body {
    char bytes[CHECK_ANSWER_BYTES_MAX];
    size_t length;
    bool complete;
};

static void body_add(struct body *body, const char *bytes, size_t length)
{
    size_t room = sizeof body->bytes - body->length;
    if (length > room)
        length = room;
    memcpy(body->bytes + body->length, bytes, length);
    body->length += length;
}

static int hex_value(char byte)
{
    if (digit(byte))
        return byte - '0';
    int lower = tolower((unsigned char)byte);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* The size that a chunk's line begins with; false: it is none. */
static bool chunk_size(const char *line, const char *line_ends, size_t *ret_size)
{
    size_t size = 0;
    const char *at = line;
    for (; at < line_ends && hex_value(*at) >= 0; at++) {
        if (size > CHECK_ANSWER_BYTES_MAX)
            break; /* larger than all that is read: the rest of its digits does not matter */
        size = size * 16 + (size_t)hex_value(*at);
    }
    *ret_size = size;
    return at > line;
}

/* False: what is there are no chunks. */
static bool chunks_read(const char *at, const char *end, struct body *body)
{
    while (at < end) {
        const char *line_ends = memchr(at, '\n', (size_t)(end - at));
        size_t size = 0;
        if (!line_ends)
            return hex_value(*at) >= 0;
        if (!chunk_size(at, line_ends, &size))
            return false;
        at = line_ends + 1;
        if (size == 0) {
            body->complete = true;
            return true;
        }
        size_t here = (size_t)(end - at) < size ? (size_t)(end - at) : size;
        body_add(body, at, here);
        at += here;
        if (at < end && *at == '\r')
            at++;
        if (at < end && *at++ != '\n')
            return false;
    }
    return true;
}

static enum check_verdict body_read(const struct answer *answer, const char *head_ends,
                                    const char *match)
{
    static struct body body; /* of the one thread that checks */
    body.length = 0;
    body.complete = answer->closed;
    bool framed = true;
    uint64_t length = content_length(answer, head_ends);
    if (is_chunked(answer, head_ends)) {
        framed = chunks_read(head_ends, answer->end, &body);
    } else {
        size_t here = (size_t)(answer->end - head_ends);
        if (length <= here) {
            here = length;
            body.complete = true;
        }
        body_add(&body, head_ends, here);
    }
    if (memmem(body.bytes, body.length, match, strlen(match)))
        return CHECK_WELL;
    if (!framed)
        return ill(answer, "its body is no sequence of chunks");
    if (body.complete)
        return ill(answer, "its body does not hold \"%.100s\"", match);
    return CHECK_MORE;
}

/* ---- all of it ------------------------------------------------------------------------------ */

static bool status_good(const struct service_gateway *gateway, int status)
{
    bool stated = gateway->check_status_low || gateway->check_status_high;
    int low = stated ? gateway->check_status_low : 200;
    int high = stated ? gateway->check_status_high : 399;
    return status >= low && status <= high;
}

static enum check_verdict answer_read(struct answer *answer, const struct service_gateway *gateway)
{
    for (;;) {
        int status = 0;
        enum check_verdict verdict = status_read(answer, &status);
        if (verdict != CHECK_WELL)
            return verdict;
        bool interim = status >= 100 && status < 200 && status != 101;
        if (!interim && !status_good(gateway, status))
            return ill(answer, "status %d", status);
        if (!interim && !gateway->check_match)
            return CHECK_WELL;
        const char *head_ends = head_end(answer);
        if (!head_ends)
            return answer->closed ? ill(answer, "its answer is cut off") : CHECK_MORE;
        if (!interim)
            return body_read(answer, head_ends, gateway->check_match);
        answer->at = head_ends;
    }
}

enum check_verdict check_http_read(const struct service *service, const char *bytes, size_t length,
                                   bool end, char why[CHECK_WHY_BYTES])
{
    struct answer answer = {.at = bytes, .end = bytes + length, .closed = end, .why = why};
    enum check_verdict verdict = answer_read(&answer, &service->gateway);
    if (verdict == CHECK_MORE && length >= CHECK_ANSWER_BYTES_MAX)
        return ill(&answer,
                   service->gateway.check_match ? "its first %d KiB do not hold what they should"
                                                : "its head is longer than %d KiB",
                   CHECK_ANSWER_BYTES_MAX / 1024);
    return verdict;
}
