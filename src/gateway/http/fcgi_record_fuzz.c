/* Fuzz target: any bytes are records of a response, or are refused, the same in whatever pieces
 * they come; and what its STDOUT says is a CGI head, or is refused. The first byte is the pieces'
 * size. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/http/cgi_response.h"
#include "gateway/http/fcgi_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FIELDS_ROOM = 32 };

static void verify(bool holds)
{
    if (!holds)
        abort();
}

struct result {
    char *out;
    size_t out_length, err_length, used;
    enum fcgi_event last;
};

static struct result records_read(const char *bytes, size_t length, size_t piece)
{
    struct fcgi_reader reader = {0};
    struct result result = {.out = malloc(length + 1), .last = FCGI_MORE};
    while (result.used < length && result.last <= FCGI_STDERR) {
        size_t left = length - result.used, used, run;
        size_t some = left < piece ? left : piece;
        result.last = fcgi_next(&reader, bytes + result.used, some, &used, &run);
        verify(used <= some && run <= used);
        verify(used == some || result.last != FCGI_MORE);
        result.used += used;
        if (result.last == FCGI_STDOUT) {
            memcpy(result.out + result.out_length, bytes + result.used - run, run);
            result.out_length += run;
        } else if (result.last == FCGI_STDERR) {
            result.err_length += run;
        }
    }
    return result;
}

/* Whether it waits inside a record or behind a run depends on the pieces. */
static bool waits(enum fcgi_event event)
{
    return event <= FCGI_STDERR;
}

static void head_verify(char *bytes, size_t length)
{
    struct field fields[FIELDS_ROOM];
    struct head head = {.fields = fields, .fields_room = FIELDS_ROOM};
    const char *why = NULL;
    size_t scanned = 0, head_length = 0;
    if (h1_head_end(bytes, length, &scanned, &head_length) != H1_DONE)
        return;
    if (cgi_response_parse(bytes, head_length, METHOD_GET, &head, &why) != H1_DONE) {
        verify(why != NULL);
        return;
    }
    verify(head.status >= 200 && head.status <= 599 && head.field_count <= FIELDS_ROOM);
    verify(!memchr(head.reason.bytes ? head.reason.bytes : "", '\n', head.reason.length));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    size_t piece = (size_t)data[0] + 1;
    const char *bytes = (const char *)data + 1;
    struct result whole = records_read(bytes, size - 1, size);
    struct result parts = records_read(bytes, size - 1, piece);
    verify(waits(whole.last) ? waits(parts.last) : whole.last == parts.last);
    verify(whole.used == parts.used && whole.err_length == parts.err_length);
    verify(whole.out_length == parts.out_length &&
           memcmp(whole.out, parts.out, whole.out_length) == 0);
    head_verify(whole.out, whole.out_length);
    free(whole.out);
    free(parts.out);
    return 0;
}
