#include "control/text.h"

#include <stdlib.h>
#include <string.h>

static const char replacement[] = "\xef\xbf\xbd";

/* The length of the character of UTF-8 at the beginning; 0: there is none. jansson knows the rules;
 * it is asked about the few bytes that a character may have. */
static size_t character_length(const char *text)
{
    size_t left = strnlen(text, 4);
    if ((unsigned char)text[0] < 0x80)
        return left ? 1 : 0;
    for (size_t length = 2; length <= left; length++) {
        json_t *string = json_stringn(text, length);
        json_decref(string);
        if (string)
            return length;
    }
    return 0;
}

json_t *json_text(const char *text)
{
    if (!text)
        return json_null();
    json_t *string = json_string(text);
    if (string)
        return string;
    char *clean = malloc(strlen(text) * (sizeof replacement - 1) + 1);
    if (!clean)
        return NULL;
    size_t at = 0;
    while (*text) {
        size_t length = character_length(text);
        const char *from = length ? text : replacement;
        size_t count = length ? length : sizeof replacement - 1;
        memcpy(clean + at, from, count);
        at += count;
        text += length ? length : 1;
    }
    clean[at] = 0;
    string = json_string(clean);
    free(clean);
    return string;
}
