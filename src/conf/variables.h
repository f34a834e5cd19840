/* Variables of the configuration: what stands for `${name}` and `$(…)` in a word, when the file is
 * read. Some are known only when an instance starts: those stay in a template's text.
 *
 *   $env.NAME          the environment of whoever loads the file
 *   $realm $index      inside a realm: its name, and its place among the realm's names, from 1
 *   $(7000 + $index)   a sum of whole numbers, with + and - only
 *
 * A pattern's text keeps the variables of a request instead ($host, $1, $header.NAME): they are
 * known only when the request is there. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "conf/diagnostics.h"
#include "conf/lexer.h"

struct bundle;

struct variables {
    char *const *environment; /* NULL: empty */
    struct bundle *collect;   /* what is used of it is added there; NULL: nowhere */
    const char *realm;        /* NULL: outside a realm */
    uint32_t index;
    const char *const *run_time; /* names that templates may keep; ends with NULL; may be NULL */
    const char *const *request;  /* the same for patterns; `arg.` stands for all that begin so */
};

enum expansion { /* what the result is */
                 EXPANSION_PLAIN,
                 EXPANSION_TEMPLATE, /* it keeps `${name}` of run time and `$$` */
                 EXPANSION_PATTERN,  /* it keeps `${name}` of a request and `$$` */
};

/* Appends the text of `word` from byte `skip` of it on to `out`. False: reported. */
bool variables_expand(const struct variables *variables, const struct word *word, size_t skip,
                      enum expansion kind, struct buffer *out, struct diagnostics *diagnostics);
