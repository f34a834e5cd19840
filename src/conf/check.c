#include "conf/check.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "conf/check_private.h"
#include "conf/nearest.h"

enum { HINT_BYTES_MAX = CHECK_HINT_BYTES, POOL_BYTES = 16 * 1024 };

struct place value_place(const struct value *value)
{
    assert(value->word);
    return word_place(value->word, value->skip);
}

struct place statement_place(const struct statement *statement)
{
    return word_place(&statement->node->name, 0);
}

size_t check_pool_begin(struct checker *checker)
{
    if (!checker->pool)
        checker->pool = arena_alloc(checker->arena, POOL_BYTES);
    checker->pool_depth++;
    return checker->pool_used;
}

void check_pool_end(struct checker *checker, size_t mark)
{
    assert(checker->pool_depth && mark <= checker->pool_used);
    checker->pool_depth--;
    checker->pool_used = mark;
}

void *check_memory_take(struct checker *checker, size_t count, size_t size)
{
    size_t bytes = count * size; /* of words that were counted, so it cannot overflow */
    if (!checker->pool_depth || bytes > POOL_BYTES - checker->pool_used)
        return arena_array(checker->arena, count, size);
    void *memory = checker->pool + checker->pool_used;
    size_t align = _Alignof(max_align_t);
    checker->pool_used += (bytes + align - 1) / align * align;
    return memset(memory, 0, bytes);
}

static void report(struct checker *checker, const struct place *place, const char *hint,
                   const char *message)
{
    diagnostics_add(checker->diagnostics, DIAGNOSTIC_ERROR, place, hint && *hint ? hint : NULL,
                    "%s", message);
}

static void unknown_directive(struct checker *checker, const struct node *node,
                              enum context context)
{
    char hint[HINT_BYTES_MAX] = "";
    struct place place = word_place(&node->name, 0);
    const char *name = node->name.text;
    const struct directive *elsewhere = directive_find(name, ~0u);
    if (elsewhere) {
        unsigned first = elsewhere->contexts & -elsewhere->contexts;
        snprintf(hint, sizeof hint, "it stands %s", context_place(first));
        diagnostics_add(checker->diagnostics, DIAGNOSTIC_ERROR, &place, hint,
                        "`%s` is not allowed %s", name, context_place(context));
        return;
    }
    struct nearest nearest = {.word = name};
    const struct directive *directive;
    for (size_t i = 0; (directive = directive_nth(i)); i++)
        if (directive->contexts & context)
            nearest_try(&nearest, directive->name);
    for (size_t i = 0; !nearest.best && (directive = directive_nth(i)); i++)
        nearest_try(&nearest, directive->name);
    if (nearest.best)
        snprintf(hint, sizeof hint, "did you mean `%s`?", nearest.best);
    diagnostics_add(checker->diagnostics, DIAGNOSTIC_ERROR, &place, *hint ? hint : NULL,
                    "unknown directive `%.64s`", name);
}

/* "instances: …", or "restart backoff=: …". */
static void value_problem_report(const struct checking *checking, const struct value_spec *spec,
                                 bool option, const struct place *place,
                                 const struct value_problem *problem)
{
    diagnostics_add(checking->checker->diagnostics, DIAGNOSTIC_ERROR, place,
                    problem->hint[0] ? problem->hint : NULL, "%s%s%s%s: %s",
                    checking->statement->directive->name, option ? " " : "",
                    option ? spec->name : "", option ? "=" : "", problem->message);
}

/* The word's text from byte `skip` on, its variables replaced. NULL: reported. */
static const char *text_expand(const struct checking *checking, const struct word *word,
                               size_t skip, enum value_type type)
{
    if (!word->dollars)
        return word->text + skip;
    struct buffer *scratch = checking->checker->scratch;
    buffer_clear(scratch);
    if (!variables_expand(checking->variables, word, skip, value_expansion(type), scratch,
                          checking->checker->diagnostics))
        return NULL;
    return arena_strndup(checking->checker->arena, scratch->length ? scratch->data : "",
                         scratch->length);
}

/* A word that starts a line and is a directive's name: the line before has probably lost its `;`.
 */
static bool semicolon_lost(const struct checking *checking, const struct word *word)
{
    return !word->quoted && checking->before && checking->before->source == word->source &&
           checking->before->line < word->line &&
           directive_find(word->text, checking->statement->directive->contexts);
}

static const char *semicolon_hint(const struct checking *checking, char *text, size_t size)
{
    snprintf(text, size, "is a `;` missing at the end of line %u?", checking->before->line);
    return text;
}

void check_value(struct checking *checking, const struct value_spec *spec, bool option,
                 const struct word *word, uint32_t skip, struct value *ret_value)
{
    *ret_value = (struct value){.word = word, .skip = skip, .choice = -1, .next = ret_value->next};
    struct place place = word_place(word, skip);
    const char *text = text_expand(checking, word, skip, spec->type);
    struct value_problem problem;
    if (text && value_parse(spec, text, ret_value, &problem))
        return;
    checking->statement->valid = false;
    if (!text)
        return;
    checking->stop |= problem.planned;
    if (semicolon_lost(checking, word)) {
        semicolon_hint(checking, problem.hint, sizeof problem.hint);
        checking->stop = true;
    }
    value_problem_report(checking, spec, option, &place, &problem);
}

const struct value_spec *check_slot(const struct checking *checking)
{
    if (checking->slot >= DIRECTIVE_ARGUMENTS_MAX)
        return NULL;
    const struct value_spec *spec = &checking->statement->directive->arguments[checking->slot];
    return spec->type == VALUE_END ? NULL : spec;
}

static void syntax_print(const struct directive *directive, char *text, size_t size);

static void argument_surplus(struct checking *checking, const struct word *word)
{
    char hint[HINT_BYTES_MAX];
    struct place place = word_place(word, 0);
    const struct directive *directive = checking->statement->directive;
    if (word->line > checking->before->line && word->source == checking->before->source)
        semicolon_hint(checking, hint, sizeof hint);
    else
        syntax_print(directive, hint, sizeof hint);
    diagnostics_add(checking->checker->diagnostics, DIAGNOSTIC_ERROR, &place, hint,
                    "%s: `%.64s` is one argument too many", directive->name, word->text);
    checking->statement->valid = false;
    checking->stop = true;
}

/* The arguments of a program may be anything, also what was meant as the next directive. */
static void argument_suspect(const struct checking *checking, const struct word *word)
{
    char hint[HINT_BYTES_MAX];
    struct place place = word_place(word, 0);
    if (semicolon_lost(checking, word))
        diagnostics_add(checking->checker->diagnostics, DIAGNOSTIC_WARNING, &place,
                        semicolon_hint(checking, hint, sizeof hint),
                        "`%s` is taken as an argument of `%s`; in quotation marks it is meant so",
                        word->text, checking->statement->directive->name);
}

static void argument_missing(struct checking *checking, const struct value_spec *spec)
{
    char hint[HINT_BYTES_MAX];
    struct place place = statement_place(checking->statement);
    syntax_print(checking->statement->directive, hint, sizeof hint);
    diagnostics_add(checking->checker->diagnostics, DIAGNOSTIC_ERROR, &place, hint, "`%s` needs %s",
                    checking->statement->directive->name, spec->name);
    checking->statement->valid = false;
}

static bool word_is_arrow(const struct word *word)
{
    return !word->quoted && strcmp(word->text, "->") == 0;
}

/* Is the slot's argument left out, or complete, when this word follows? */
static bool slot_passed(const struct checking *checking, const struct value_spec *spec,
                        const struct word *word)
{
    if (checking->slot + 1 == DIRECTIVE_ARGUMENTS_MAX || spec[1].type == VALUE_END)
        return false;
    if (spec->many)
        return word_is_arrow(word);
    return spec->optional && spec->type == VALUE_CHOICE && !value_choice_near(spec, word->text);
}

/* On to the argument that this word is. One that is left out has its place among the values. */
static void slot_settle(struct checking *checking, const struct word *word)
{
    const struct value_spec *spec = check_slot(checking);
    struct statement *statement = checking->statement;
    while (spec && slot_passed(checking, spec, word)) {
        if (!spec->many)
            statement->arguments[statement->argument_count++].choice = -1;
        else if (statement->argument_count == checking->slot)
            argument_missing(checking, spec);
        checking->slot++;
        spec = check_slot(checking);
    }
}

static void argument_check(struct checking *checking, const struct word *word)
{
    slot_settle(checking, word);
    const struct value_spec *spec = check_slot(checking);
    if (!spec) {
        argument_surplus(checking, word);
        return;
    }
    struct statement *statement = checking->statement;
    check_value(checking, spec, false, word, 0, &statement->arguments[statement->argument_count++]);
    if (spec->many && statement->valid)
        argument_suspect(checking, word);
    if (!spec->many)
        checking->slot++;
}

/* What a row says its arguments look like: "run PROGRAM [ARGUMENT…];". */
static void syntax_print(const struct directive *directive, char *text, size_t size)
{
    FILE *out = fmemopen(text, size, "w");
    text[0] = 0;
    if (!out)
        return;
    directive_syntax(directive, out);
    fclose(out);
    text[size - 1] = 0;
}

/* With room for that many arguments, and for one that is left out. */
static struct statement *statement_new(struct checker *checker, const struct directive *directive,
                                       size_t arguments)
{
    struct statement *statement = check_memory_take(checker, 1, sizeof *statement);
    statement->directive = directive;
    statement->valid = true;
    statement->arguments = check_memory_take(checker, arguments + 1, sizeof *statement->arguments);
    statement->options = check_options_default(checker, directive);
    return statement;
}

static void arguments_check(struct checking *checking)
{
    struct statement *statement = checking->statement;
    const struct node *node = statement->node;
    checking->before = &node->name;
    for (const struct word *word = node->words; word && !checking->stop; word = word->next) {
        if (!check_option_take(checking, word))
            argument_check(checking, word);
        checking->before = word;
    }
    const struct value_spec *spec = check_slot(checking);
    if (spec && spec->many && statement->argument_count > checking->slot) {
        checking->slot++; /* what follows the many is missing, if anything does */
        spec = check_slot(checking);
    }
    bool satisfied = !spec || spec->optional;
    if (!satisfied && !checking->stop)
        argument_missing(checking, spec);
    else if (statement->directive->needs_option && !check_option_given(statement) &&
             statement->valid)
        argument_missing(checking, &(struct value_spec){.name = "at least one option"});
}

static bool block_fits(struct checker *checker, const struct statement *statement)
{
    const struct directive *directive = statement->directive;
    const struct node *node = statement->node;
    if (node->block == (directive->block != 0) || (directive->block && directive->block_optional))
        return true;
    char message[VALUE_MESSAGE_BYTES];
    struct place place = statement_place(statement);
    snprintf(message, sizeof message, node->block ? "`%s` has no block" : "`%s` needs a block",
             directive->name);
    report(checker, &place, directive->example, message);
    return false;
}

/* NULL: reported. */
static struct statement *statement_check(struct checker *checker, const struct node *node,
                                         enum context context, const struct variables *variables)
{
    const struct directive *directive =
        node->name.quoted ? NULL : directive_find(node->name.text, context);
    if (!directive) {
        unknown_directive(checker, node, context);
        return NULL;
    }
    if (directive->id == DIRECTIVE_PLANNED) {
        struct place place = word_place(&node->name, 0);
        diagnostics_add(checker->diagnostics, DIAGNOSTIC_ERROR, &place, directive->help,
                        "`%s` is not in this version yet", directive->name);
        return NULL;
    }
    struct statement *statement = statement_new(checker, directive, node->word_count);
    statement->node = node;
    struct checking checking = {.checker = checker, .variables = variables, .statement = statement};
    arguments_check(&checking);
    if (!checking.stop && !block_fits(checker, statement))
        statement->valid = false;
    return statement;
}

static bool given_twice(struct checker *checker, const struct statement *statement,
                        const struct statement *first)
{
    if (!first || statement->directive->many)
        return false;
    char hint[HINT_BYTES_MAX];
    struct place place = statement_place(statement);
    struct place earlier = statement_place(first);
    snprintf(hint, sizeof hint, "the first stands in %s:%zu", earlier.file, earlier.line);
    diagnostics_add(checker->diagnostics, DIAGNOSTIC_ERROR, &place, hint, "`%s` is given twice",
                    statement->directive->name);
    return true;
}

struct statement *check_block(struct checker *checker, const struct node *first,
                              enum context context, const struct variables *variables)
{
    const struct statement *seen[DIRECTIVE_COUNT] = {NULL};
    struct statement *list = NULL;
    struct statement **tail = &list;
    for (const struct node *node = first; node; node = node->next) {
        struct statement *statement = statement_check(checker, node, context, variables);
        if (!statement || given_twice(checker, statement, seen[statement->directive->id]))
            continue;
        seen[statement->directive->id] = statement;
        *tail = statement;
        tail = &statement->next;
    }
    return list;
}

struct statement *check_defaults(struct checker *checker, enum directive_id id)
{
    struct statement *statement =
        statement_new(checker, directive_by_id(id), DIRECTIVE_ARGUMENTS_MAX);
    struct value_problem problem;
    for (size_t i = 0; i < DIRECTIVE_ARGUMENTS_MAX; i++) {
        const struct value_spec *spec = &statement->directive->arguments[i];
        if (!spec->type || !spec->fallback)
            break;
        bool good = value_parse(spec, spec->fallback, &statement->arguments[i], &problem);
        assert(good);
        statement->argument_count++;
    }
    return statement;
}
