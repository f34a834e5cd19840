/* What services said of clients (`auth request … cache=`), remembered for a while by all workers
 * together. Bounded: ANSWERS_MAX of at most ANSWER_BYTES_MAX each; what would be forgotten first
 * makes room. Under a lock, held for the copy of a few hundred bytes. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "gateway/http/bump.h"
#include "gateway/http/head.h"

enum { ANSWERS_MAX = 1024, ANSWER_BYTES_MAX = 4096, ANSWER_FIELDS_MAX = 24 };

struct answer {
    uint16_t status;
    uint32_t field_count;
    struct field fields[ANSWER_FIELDS_MAX];
};

/* The answer of that key (a key_hash of what it depends on), its texts in the arena. False: none.
 */
bool answers_find(uint64_t key, uint64_t now_ms, struct bump *arena, struct answer *ret_answer);
/* One that is too large is not remembered. */
void answers_keep(uint64_t key, uint64_t until_ms, const struct answer *answer);
