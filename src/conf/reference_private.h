/* What the forms of the reference share: help and Markdown (reference.c), the manual page
 * (manual.c). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "conf/directive.h"

struct reference_group { /* of directives, in the order of the manual */
    enum context context;
    const char *title; /* with `marks` */
};
extern const struct reference_group reference_groups[];
extern const size_t reference_group_count;

/* Is it known, and not in this version? */
bool reference_planned(const struct directive *directive);
/* Is there more to say of it than its name? */
bool reference_spec_speaks(const struct value_spec *spec);
/* "how many …; 1 to 1024; default 1" */
void reference_spec_print(const struct value_spec *spec, FILE *out);
/* A directive is explained where it first stands, and only named in further contexts. */
bool reference_explained_before(const struct directive *directive, size_t group);
