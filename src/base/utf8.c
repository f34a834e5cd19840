#include "base/utf8.h"

size_t utf8_sequence(const unsigned char *text, size_t left)
{
    static const struct {
        unsigned char first_low, first_high, second_low, second_high;
        size_t length;
    } rows[] = {{0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
                {0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3},
                {0xee, 0xef, 0x80, 0xbf, 3}, {0xf0, 0xf0, 0x90, 0xbf, 4},
                {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4}};
    if (*text < 0x80)
        return 1;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (*text < rows[i].first_low || *text > rows[i].first_high)
            continue;
        if (left < rows[i].length || text[1] < rows[i].second_low || text[1] > rows[i].second_high)
            return 0;
        for (size_t j = 2; j < rows[i].length; j++)
            if ((text[j] & 0xc0) != 0x80)
                return 0;
        return rows[i].length;
    }
    return 0;
}
