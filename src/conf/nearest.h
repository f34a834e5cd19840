/* The nearest word: what somebody may have meant who wrote `instnces`. */
#pragma once

#include <stddef.h>

enum { NEAREST_BYTES_MAX = 64 }; /* longer words are near to nothing */

/* Letters to change, add, leave out or swap with their neighbour (optimal string alignment; R.
 * Wagner and M. Fischer 1974, F. Damerau 1964). Gives up above `max` and returns max + 1. */
size_t edit_distance(const char *left, const char *right, size_t max);

/* Collects the best of many candidates: start with {.word = what was written}. */
struct nearest {
    const char *word;
    const char *best; /* NULL: nothing is near; the candidate itself, not copied */
    size_t distance;
};

void nearest_try(struct nearest *nearest, const char *candidate);
