#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "topology/builder.h"

enum { ERROR_BYTES = 128 };

/* At the byte that PCRE2 stopped at, where the text stands in the source as it is. */
static void regex_refuse(struct builder *builder, const struct value *value, const char *text,
                         int error, size_t offset)
{
    PCRE2_UCHAR message[ERROR_BYTES];
    struct place place = value_place(value);
    size_t length = strlen(text);
    if (place.length == strlen(value->text) && length) {
        size_t before = (size_t)(text - value->text) + (offset < length ? offset : length - 1);
        place.column += before;
        place.length -= before;
    }
    if (pcre2_get_error_message(error, message, sizeof message) < 0)
        message[0] = 0;
    diagnostics_add(builder->diagnostics, DIAGNOSTIC_ERROR, &place,
                    "PCRE2's syntax; what has `{`, `;` or blanks in it stands in '…'",
                    "not a regular expression: %s", (const char *)message);
}

bool regex_check(struct builder *builder, const struct value *value, uint32_t *ret_captures)
{
    int error;
    PCRE2_SIZE offset;
    const char *text = value->text + (value->text[0] == '~');
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, 0, &error, &offset, NULL);
    if (!code) {
        regex_refuse(builder, value, text, error, offset);
        return false;
    }
    uint32_t captures = 0;
    pcre2_pattern_info(code, PCRE2_INFO_CAPTURECOUNT, &captures);
    pcre2_code_free(code);
    *ret_captures = captures;
    return true;
}
