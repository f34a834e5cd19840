#include "gateway/guard/base64.h"

#include <stdint.h>

/* -1: not of the alphabet. */
static int value_of(enum base64_alphabet alphabet, char byte)
{
    if (byte >= 'A' && byte <= 'Z')
        return byte - 'A';
    if (byte >= 'a' && byte <= 'z')
        return byte - 'a' + 26;
    if (byte >= '0' && byte <= '9')
        return byte - '0' + 52;
    if (byte == (alphabet == BASE64_URL ? '-' : '+'))
        return 62;
    if (byte == (alphabet == BASE64_URL ? '_' : '/'))
        return 63;
    return -1;
}

/* The text without its padding; false: it has not what it must have. */
static bool padding_strip(enum base64_alphabet alphabet, const char *text, size_t *length)
{
    if (alphabet == BASE64_URL)
        return *length % 4 != 1;
    if (*length % 4)
        return false;
    for (int i = 0; i < 2 && *length && text[*length - 1] == '='; i++)
        --*length;
    return true;
}

ssize_t base64_decode(enum base64_alphabet alphabet, const char *text, size_t length, void *out)
{
    uint8_t *to = out;
    uint32_t bits = 0;
    unsigned count = 0;
    if (!padding_strip(alphabet, text, &length))
        return -1;
    for (size_t i = 0; i < length; i++) {
        int value = value_of(alphabet, text[i]);
        if (value < 0)
            return -1;
        bits = bits << 6 | (uint32_t)value;
        count += 6;
        if (count >= 8) {
            count -= 8;
            *to++ = (uint8_t)(bits >> count);
        }
    }
    if (bits & ((1u << count) - 1))
        return -1;
    return to - (uint8_t *)out;
}
