#include "gateway/http/file_path.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "gateway/http/path.h"

static int digit(char byte)
{
    return byte <= '9' ? byte - '0' : (byte | 0x20) - 'a' + 10;
}

/* Decodes in place what is in its normal form: two digits stand behind each `%`. -ENOENT: a byte
 * that no name has, or that would be read as the end of one. */
static ssize_t decode(char *text, size_t length)
{
    size_t to = 0;
    for (size_t from = 0; from < length; from++) {
        char byte = text[from];
        if (byte == '%') {
            byte = (char)(digit(text[from + 1]) << 4 | digit(text[from + 2]));
            from += 2;
            if (byte == '/' || (unsigned char)byte < ' ' || byte == 127)
                return -ENOENT;
        } else if (byte == '/' && (!to || text[to - 1] == '/')) {
            continue;
        }
        text[to++] = byte;
    }
    return (ssize_t)to;
}

static bool part_hidden(const char *part, size_t length)
{
    return length && part[0] == '.' && !(length == 11 && memcmp(part, ".well-known", 11) == 0);
}

static bool hides(const char *name, size_t length)
{
    for (size_t at = 0; at < length;) {
        const char *slash = memchr(name + at, '/', length - at);
        size_t part = slash ? (size_t)(slash - name) - at : length - at;
        if (part_hidden(name + at, part))
            return true;
        at += part + 1;
    }
    return false;
}

ssize_t file_path_make(struct slice path, char *out, size_t room)
{
    ssize_t length = room ? path_normalise(path, out, room - 1) : -1;
    if (length < 0)
        return -EINVAL;
    length = decode(out, (size_t)length);
    if (length < 0)
        return length;
    out[length] = 0;
    return hides(out, (size_t)length) ? -ENOENT : length;
}
