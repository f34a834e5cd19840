/* For tests: a text to a topology, or to what its diagnostics say. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "topology/build.h"

static char *said; /* what the diagnostics printed last */
static size_t said_size;

static inline struct topology *fixture_finish(struct topology *topology,
                                              struct diagnostics *diagnostics)
{
    free(said);
    said = NULL;
    FILE *out = open_memstream(&said, &said_size);
    diagnostics_print(diagnostics, out, false);
    fclose(out);
    assert_int_equal(topology == NULL, diagnostics_errors(diagnostics) > 0);
    diagnostics_free(diagnostics);
    return topology;
}

/* No files are looked at. */
static inline struct topology *parse(const char *text)
{
    struct diagnostics *diagnostics = diagnostics_new();
    return fixture_finish(topology_parse(text, strlen(text), "shop.conf", NULL, NULL, diagnostics),
                          diagnostics);
}

static inline struct topology *good(const char *text)
{
    struct topology *topology = parse(text);
    if (!topology)
        fail_msg("%s: %s", text, said);
    return topology;
}

static inline void says(const char *text, const char *line)
{
    size_t length = strlen(line);
    const char *found = strstr(said, line);
    while (found && found[length] != '\n')
        found = strstr(found + 1, line);
    if (!found)
        fail_msg("`%s`\nmust say: %s\nand says: %s", text, line, said);
}

/* The text is refused, and the diagnostics have this line in them. */
static inline void bad(const char *text, const char *line)
{
    struct topology *topology = parse(text);
    if (topology)
        fail_msg("`%s` is taken, and must say: %s", text, line);
    says(text, line);
}
