/* The tree: a configuration's text as directives with words and blocks, nothing of it checked yet
 * but its shape. `include` is done here: what a file says stands where it was included.
 *
 * Nodes and words live in the arena, the texts that they point into in `sources`. */
#pragma once

#include <stdbool.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "conf/diagnostics.h"
#include "conf/lexer.h"
#include "conf/source.h"
#include "conf/variables.h"

enum {
    NESTING_MAX = 16,       /* blocks in blocks */
    INCLUDE_DEPTH_MAX = 16, /* files that include files */
    NODE_WORDS_MAX = 4096,  /* of one directive */
    WORD_BYTES_MAX = 1024 * 1024,
};

struct node {
    struct node *next;
    struct word name;
    struct word *words; /* its arguments */
    struct word *last_word;
    size_t word_count;
    struct node *children;
    bool block; /* it had `{ … }` rather than `;` */
};

/* The first directive; NULL also for an empty text. Errors are in the diagnostics. An exhausted
 * arena takes its trap; `tree_reader_done` frees what was under way then. */
struct tree_reader {
    struct sources *sources;
    struct arena *arena;
    struct diagnostics *diagnostics;
    const struct variables *variables; /* for the paths of `include` */
    struct buffer *scratch;            /* the caller's; its cap is WORD_BYTES_MAX */
    struct inclusion {
        const struct source *source;
        void *matches; /* of glob(3), being worked through */
    } inclusions[INCLUDE_DEPTH_MAX + 1];
    size_t depth;
};

struct node *tree_read(struct tree_reader *reader, const struct source *source);
void tree_reader_done(struct tree_reader *reader);
