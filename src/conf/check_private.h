/* A statement being checked. Private to check.c and check_option.c. */
#pragma once

#include "conf/check.h"

enum { CHECK_HINT_BYTES = 768 };

struct checking {
    struct checker *checker;
    const struct variables *variables;
    struct statement *statement;
    const struct word *before; /* the word in front of the one being checked */
    size_t slot;               /* the row's argument that comes next */
    bool stop; /* the rest cannot be checked: something in it is of a later version */
};

/* Zeroed; from the pool while there is room in it. */
void *check_memory_take(struct checker *checker, size_t count, size_t size);
/* The row's argument that comes next; NULL: no further one. */
const struct value_spec *check_slot(const struct checking *checking);
/* The word's value from byte `skip` on; what is wrong is reported. */
void check_value(struct checking *checking, const struct value_spec *spec, bool option,
                 const struct word *word, uint32_t skip, struct value *ret_value);

/* check_option.c: True: the word was `name=value` and is dealt with. */
bool check_option_take(struct checking *checking, const struct word *word);
bool check_option_given(const struct statement *statement);
/* What holds for options that are not given. Most directives give none, and share these. */
struct value *check_options_default(struct checker *checker, const struct directive *directive);
