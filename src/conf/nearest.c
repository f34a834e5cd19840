#include "conf/nearest.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static bool letter_same(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

size_t edit_distance(const char *left, const char *right, size_t max)
{
    size_t left_length = strlen(left);
    size_t right_length = strlen(right);
    if (left_length > NEAREST_BYTES_MAX || right_length > NEAREST_BYTES_MAX)
        return max + 1;
    size_t apart =
        left_length > right_length ? left_length - right_length : right_length - left_length;
    if (apart > max)
        return max + 1;
    size_t rows[3][NEAREST_BYTES_MAX + 1];
    for (size_t j = 0; j <= right_length; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= left_length; i++) {
        size_t *row = rows[i % 3];
        const size_t *above = rows[(i + 2) % 3];
        const size_t *two_above = rows[(i + 1) % 3];
        size_t row_least = row[0] = i;
        for (size_t j = 1; j <= right_length; j++) {
            bool same = letter_same(left[i - 1], right[j - 1]);
            row[j] = least(above[j - 1] + !same, least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && letter_same(left[i - 1], right[j - 2]) &&
                letter_same(left[i - 2], right[j - 1]))
                row[j] = least(row[j], two_above[j - 2] + 1);
            row_least = least(row_least, row[j]);
        }
        if (row_least > max)
            return max + 1;
    }
    size_t distance = rows[left_length % 3][right_length];
    return distance <= max ? distance : max + 1;
}

void nearest_try(struct nearest *nearest, const char *candidate)
{
    /* A third of the letters may be wrong; of two, one. */
    size_t max = (strlen(nearest->word) + 2) / 3;
    if (nearest->best && nearest->distance <= max)
        max = nearest->distance - (nearest->distance > 0);
    size_t distance = edit_distance(nearest->word, candidate, max);
    if (distance > max || (nearest->best && distance >= nearest->distance))
        return;
    nearest->best = candidate;
    nearest->distance = distance;
}
