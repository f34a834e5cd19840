/* The checker: one block of the tree against the directive table, giving each directive's arguments
 * and options as typed values. Generic: what the values mean is the caller's business, who also
 * goes into the blocks (with the variables that hold there). */
#pragma once

#include "base/arena.h"
#include "base/buffer.h"
#include "conf/diagnostics.h"
#include "conf/directive.h"
#include "conf/tree.h"
#include "conf/variables.h"

struct statement {
    struct statement *next;
    const struct directive *directive; /* never a planned one */
    const struct node *node;           /* NULL: the row's defaults */
    struct value *arguments;           /* by place in the row; the last one may repeat */
    size_t argument_count;
    struct value *options; /* by place in the row; shared where the text gives none */
    bool valid; /* false: reported; its values must not be used, its block may be checked */
};

struct checker {
    struct arena *arena;
    struct diagnostics *diagnostics;
    struct buffer *scratch; /* the caller's */
    char *pool; /* memory for the statements of one block after the other; NULL: not yet */
    size_t pool_used;
    unsigned pool_depth;                     /* blocks in blocks that take from it */
    struct value *defaults[DIRECTIVE_COUNT]; /* of the options; made when first needed */
};

/* The block's directives in their order, those that are unknown or planned reported and left out.
 */
struct statement *check_block(struct checker *checker, const struct node *first,
                              enum context context, const struct variables *variables);
/* Between these two, statements and their values are made in memory that is taken again after the
 * second, which gets what the first returned; what is expanded into texts stays. For blocks that
 * there are many of: a statement is larger than its text. May be nested. */
size_t check_pool_begin(struct checker *checker);
void check_pool_end(struct checker *checker, size_t mark);
/* What holds when the directive is not there; arguments without a default have given = false. */
struct statement *check_defaults(struct checker *checker, enum directive_id id);

struct place value_place(const struct value *value);
/* Of the directive's name. */
struct place statement_place(const struct statement *statement);
