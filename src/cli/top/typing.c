#include "cli/top/typing.h"

#include <string.h>

#include "cli/top/keys.h"

enum { SEQUENCE_BYTES_MAX = 4 };

/* UTF-8 (RFC 3629). */
static size_t encode(unsigned character, char bytes[SEQUENCE_BYTES_MAX])
{
    static const unsigned char leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t length = character >= 0x10000 ? 4 : character >= 0x800 ? 3 : character >= 0x80 ? 2 : 1;
    for (size_t i = length; i-- > 1; character >>= 6)
        bytes[i] = (char)(0x80 | (character & 0x3f));
    bytes[0] = (char)(leads[length] | character);
    return length;
}

void typing_add(char *line, size_t size, unsigned key)
{
    char bytes[SEQUENCE_BYTES_MAX];
    size_t before = strlen(line);
    if (key < ' ' || key == 0x7f || key >= KEY_OF_FUNCTION || (key >= 0xd800 && key <= 0xdfff))
        return;
    size_t length = encode(key, bytes);
    if (before + length >= size)
        return;
    memcpy(line + before, bytes, length);
    line[before + length] = 0;
}

void typing_erase(char *line)
{
    size_t length = strlen(line);
    while (length && ((unsigned char)line[length - 1] & 0xc0) == 0x80)
        length--;
    line[length ? length - 1 : 0] = 0;
}
