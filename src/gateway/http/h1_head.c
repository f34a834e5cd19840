#include "gateway/http/h1_parse.h"
#include "gateway/http/h1_scan.h"

/* A sum of BYTE_… for each byte; the unit test derives it once more from the RFCs' rules. */
const uint8_t h1_bytes[256] = {
    [9] = 2,           [32] = 2,           [33] = 15,        [34] = 6,         [35] = 3,
    [36] = 15,         [37] = 7,           [38 ... 39] = 15, [40 ... 41] = 14, [42 ... 43] = 15,
    [44] = 6,          [45 ... 46] = 15,   [47] = 6,         [48 ... 57] = 31, [58] = 6,
    [59] = 14,         [60] = 6,           [61] = 14,        [62 ... 64] = 6,  [65 ... 70] = 31,
    [71 ... 90] = 15,  [91 ... 93] = 6,    [94] = 7,         [95] = 15,        [96] = 7,
    [97 ... 102] = 31, [103 ... 122] = 15, [123] = 6,        [124] = 7,        [125] = 6,
    [126] = 15,        [128 ... 255] = 2,
};

enum h1_result h1_head_end(const char *bytes, size_t length, size_t *scanned, size_t *ret_length)
{
    const char *end = bytes + length;
    const char *at = bytes + *scanned;
    for (;;) {
        at = h1_line_byte(at, end);
        *scanned = (size_t)(at - bytes);
        if (at == end)
            return H1_MORE;
        if (*at != '\r')
            return H1_BAD;
        if (end - at < 2)
            return H1_MORE;
        if (at[1] != '\n')
            return H1_BAD;
        bool empty = at == bytes || at[-1] == '\n';
        at += 2;
        if (empty) {
            *ret_length = (size_t)(at - bytes);
            return H1_DONE;
        }
    }
}

size_t h1_blank(const char *bytes, size_t length)
{
    size_t blank = 0;
    while (blank < 4 && length - blank >= 2 && bytes[blank] == '\r' && bytes[blank + 1] == '\n')
        blank += 2;
    return blank;
}
