/* The rows of the directive table, by where they stand. Private to directive.c and the files that
 * hold them. */
#pragma once

#include "conf/directive.h"

#define PLANNED .id = DIRECTIVE_PLANNED

struct directive_rows {
    const struct directive *rows;
    size_t count;
    unsigned contexts; /* that any of them may stand in */
};

extern const struct directive_rows directive_rows_top, directive_rows_service, directive_rows_job,
    directive_rows_listen, directive_rows_guard;
