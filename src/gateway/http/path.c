#include "gateway/http/path.h"

#include <stdint.h>
#include <string.h>

enum class {
    CLASS_ENCODE, /* may not stand in a path as it is */
    CLASS_PLAIN,
    CLASS_DOT,
    CLASS_PERCENT,
    CLASS_MARK, /* `?` and `#`: in a URI, not in a path */
    CLASS_CONTROL,
};

static const uint8_t classes[256] = {
    [0 ... 0x1f] = CLASS_CONTROL, [0x7f] = CLASS_CONTROL,      ['a' ... 'z'] = CLASS_PLAIN,
    ['A' ... 'Z'] = CLASS_PLAIN,  ['0' ... '9'] = CLASS_PLAIN, ['-'] = CLASS_PLAIN,
    ['_'] = CLASS_PLAIN,          ['~'] = CLASS_PLAIN,         ['!'] = CLASS_PLAIN,
    ['$'] = CLASS_PLAIN,          ['&'] = CLASS_PLAIN,         ['\''] = CLASS_PLAIN,
    ['('] = CLASS_PLAIN,          [')'] = CLASS_PLAIN,         ['*'] = CLASS_PLAIN,
    ['+'] = CLASS_PLAIN,          [','] = CLASS_PLAIN,         [';'] = CLASS_PLAIN,
    ['='] = CLASS_PLAIN,          [':'] = CLASS_PLAIN,         ['@'] = CLASS_PLAIN,
    ['/'] = CLASS_PLAIN,          ['.'] = CLASS_DOT,           ['%'] = CLASS_PERCENT,
    ['?'] = CLASS_MARK,           ['#'] = CLASS_MARK,
};

static const char digits[] = "0123456789ABCDEF";

static int digit_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static bool unreserved(unsigned char byte)
{
    return (byte >= '0' && byte <= '9') || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z') ||
           byte == '-' || byte == '.' || byte == '_' || byte == '~';
}

static size_t byte_encode(unsigned char byte, char *out)
{
    out[0] = '%';
    out[1] = digits[byte >> 4];
    out[2] = digits[byte & 15];
    return 3;
}

/* One percent-encoded byte; what it is, or -1: none, or NUL. */
static int encoded_value(const char *text, size_t length)
{
    if (length < 3)
        return -1;
    int high = digit_value(text[1]), low = digit_value(text[2]);
    if (high < 0 || low < 0 || high + low == 0)
        return -1;
    return high << 4 | low;
}

struct spelling { /* how far the encodings of a path are unified */
    char *out;
    size_t length;
    bool dots; /* a segment begins with a dot */
};

static void spelling_put(struct spelling *spelling, char byte)
{
    spelling->dots |= byte == '.' && spelling->length && spelling->out[spelling->length - 1] == '/';
    spelling->out[spelling->length++] = byte;
}

/* The byte at `text`, which is not a plain one; how many were read, 0: refused. */
static size_t spelling_special(struct spelling *spelling, const char *text, size_t left, bool glob)
{
    unsigned char byte = (unsigned char)*text;
    switch ((enum class)classes[byte]) {
    case CLASS_CONTROL:
        return 0;
    case CLASS_PERCENT: {
        int value = encoded_value(text, left);
        if (value < 0)
            return 0;
        if (unreserved((unsigned char)value))
            spelling_put(spelling, (char)value);
        else
            spelling->length += byte_encode((unsigned char)value, spelling->out + spelling->length);
        return 3;
    }
    case CLASS_MARK:
        if (!glob || byte != '?') {
            spelling->length += byte_encode(byte, spelling->out + spelling->length);
            return 1;
        }
        break;
    case CLASS_ENCODE:
        spelling->length += byte_encode(byte, spelling->out + spelling->length);
        return 1;
    case CLASS_DOT:
    case CLASS_PLAIN:
        break;
    }
    spelling_put(spelling, (char)byte);
    return 1;
}

static bool spelling_unify(struct spelling *spelling, struct slice path, size_t room, bool glob)
{
    const char *text = path.bytes, *end = text + path.length;
    while (text < end) {
        if (spelling->length + PATH_GROWTH_MAX > room)
            return false;
        if (classes[(unsigned char)*text] == CLASS_PLAIN) {
            spelling->out[spelling->length++] = *text++;
            continue;
        }
        size_t read = spelling_special(spelling, text, (size_t)(end - text), glob);
        if (!read)
            return false;
        text += read;
    }
    return true;
}

static bool segment_is(const char *segment, size_t length, const char *text)
{
    return length == strlen(text) && !memcmp(segment, text, length);
}

/* In place (RFC 3986 §5.2.4); the new length, -1: it climbs above the root. */
static ssize_t dots_remove(char *path, size_t length)
{
    size_t to = 0;
    for (size_t from = 0, end; from < length; from = end) {
        const char *slash = memchr(path + from + 1, '/', length - from - 1);
        end = slash ? (size_t)(slash - path) : length;
        const char *segment = path + from + 1;
        size_t bytes = end - from - 1;
        bool up = segment_is(segment, bytes, "..");
        if (!up && !segment_is(segment, bytes, ".")) {
            memmove(path + to, path + from, bytes + 1);
            to += bytes + 1;
            continue;
        }
        if (up && !to)
            return -1;
        while (up && path[--to] != '/')
            continue;
        if (end == length)
            path[to++] = '/';
    }
    return (ssize_t)to;
}

ssize_t path_normalise(struct slice path, char *out, size_t room)
{
    struct spelling spelling = {.out = out};
    if (!path.length || *path.bytes != '/' || !spelling_unify(&spelling, path, room, false))
        return -1;
    return spelling.dots ? dots_remove(out, spelling.length) : (ssize_t)spelling.length;
}

ssize_t path_normalise_glob(struct slice glob, char *out, size_t room)
{
    struct spelling spelling = {.out = out};
    return spelling_unify(&spelling, glob, room, true) ? (ssize_t)spelling.length : -1;
}

static bool may_stand(unsigned char byte, enum path_part part)
{
    switch ((enum class)classes[byte]) {
    case CLASS_PLAIN:
    case CLASS_DOT:
    case CLASS_PERCENT:
        return true;
    case CLASS_MARK:
        return part == PATH_PART_URI || (part == PATH_PART_QUERY && byte == '?');
    case CLASS_ENCODE:
        return part == PATH_PART_URI && (byte == '[' || byte == ']'); /* an IPv6 address */
    case CLASS_CONTROL:
        break;
    }
    return false;
}

size_t path_encode(struct slice text, enum path_part part, char *out)
{
    size_t length = 0;
    for (size_t i = 0; i < text.length; i++) {
        unsigned char byte = (unsigned char)text.bytes[i];
        if (may_stand(byte, part))
            out[length++] = (char)byte;
        else
            length += byte_encode(byte, out + length);
    }
    return length;
}
