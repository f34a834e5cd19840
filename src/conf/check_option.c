#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "conf/check_private.h"
#include "conf/nearest.h"

/* The length of `name` in `name=value`; 0: it is no option. */
static uint32_t option_name_length(const struct word *word)
{
    uint32_t length = 0;
    if (word->quoted || !islower((unsigned char)word->text[0]))
        return 0;
    while (islower((unsigned char)word->text[length]) || word->text[length] == '-')
        length++;
    return word->text[length] == '=' ? length : 0;
}

static void option_unknown(struct checking *checking, const struct word *word, uint32_t length)
{
    char name[NEAREST_BYTES_MAX + 1], hint[CHECK_HINT_BYTES] = "known: ";
    const struct directive *directive = checking->statement->directive;
    snprintf(name, sizeof name, "%.*s", (int)length, word->text);
    struct nearest nearest = {.word = name};
    for (size_t i = 0; i < DIRECTIVE_OPTIONS_MAX && directive->options[i].type; i++) {
        if (directive->options[i].planned)
            continue;
        size_t at = strlen(hint);
        snprintf(hint + at, sizeof hint - at, "%s%s=", i ? ", " : "", directive->options[i].name);
        nearest_try(&nearest, directive->options[i].name);
    }
    if (nearest.best)
        snprintf(hint, sizeof hint, "did you mean `%s=`?", nearest.best);
    struct place place = word_place(word, 0);
    diagnostics_add(checking->checker->diagnostics, DIAGNOSTIC_ERROR, &place, hint,
                    "%s: unknown option `%s=`", directive->name, name);
    checking->statement->valid = false;
}

static size_t option_count(const struct directive *directive)
{
    size_t count = 0;
    while (count < DIRECTIVE_OPTIONS_MAX && directive->options[count].type)
        count++;
    return count;
}

struct value *check_options_default(struct checker *checker, const struct directive *directive)
{
    size_t count = option_count(directive);
    struct value **defaults = &checker->defaults[directive->id];
    if (*defaults || !count)
        return *defaults;
    struct value *values = arena_array(checker->arena, count, sizeof *values);
    struct value_problem problem;
    for (size_t i = 0; i < count; i++) {
        const struct value_spec *spec = &directive->options[i];
        bool good = !spec->fallback || value_parse(spec, spec->fallback, &values[i], &problem);
        assert(good);
    }
    *defaults = values;
    return values;
}

/* The statement's own options, to be changed. */
static struct value *options_own(const struct checking *checking)
{
    struct statement *statement = checking->statement;
    const struct value *shared = check_options_default(checking->checker, statement->directive);
    if (statement->options == shared) {
        size_t count = option_count(statement->directive);
        statement->options = check_memory_take(checking->checker, count, sizeof *shared);
        memcpy(statement->options, shared, count * sizeof *shared);
    }
    return statement->options;
}

static void option_check(struct checking *checking, size_t index, const struct word *word,
                         uint32_t length)
{
    struct statement *statement = checking->statement;
    const struct value_spec *spec = &statement->directive->options[index];
    struct place place = word_place(word, 0);
    bool again = statement->options[index].word != NULL;
    if (spec->planned || (again && !spec->many)) {
        statement->valid = false;
        diagnostics_add(checking->checker->diagnostics, DIAGNOSTIC_ERROR, &place, NULL,
                        "%s: `%s=` is %s", statement->directive->name, spec->name,
                        spec->planned ? "not in this version yet" : "given twice");
        return;
    }
    struct value *value = &options_own(checking)[index];
    if (again) {
        struct value *further = check_memory_take(checking->checker, 1, sizeof *further);
        further->next = value->next; /* the order of further ones says nothing */
        value->next = further;
        value = further;
    }
    check_value(checking, spec, true, word, length + 1, value);
}

/* `check exec ping evry=1s`: it may be an argument of ping, but it looks like something else. */
static void option_suspect(const struct checking *checking, const struct word *word,
                           uint32_t length)
{
    const struct directive *directive = checking->statement->directive;
    char name[NEAREST_BYTES_MAX + 1], hint[CHECK_HINT_BYTES];
    snprintf(name, sizeof name, "%.*s", (int)length, word->text);
    struct place place = word_place(word, 0);
    for (size_t i = 0; i < DIRECTIVE_OPTIONS_MAX && directive->options[i].type; i++) {
        if (edit_distance(name, directive->options[i].name, 1) > 1)
            continue;
        snprintf(hint, sizeof hint, "did you mean `%s=`? In quotation marks it is an argument",
                 directive->options[i].name);
        diagnostics_add(checking->checker->diagnostics, DIAGNOSTIC_WARNING, &place, hint,
                        "`%s=` is taken as an argument of `%s`", name, directive->name);
    }
}

bool check_option_take(struct checking *checking, const struct word *word)
{
    const struct directive *directive = checking->statement->directive;
    uint32_t length = option_name_length(word);
    if (!length || !directive->options[0].type)
        return false;
    for (size_t i = 0; i < DIRECTIVE_OPTIONS_MAX && directive->options[i].type; i++) {
        const char *name = directive->options[i].name;
        if (strlen(name) == length && memcmp(name, word->text, length) == 0) {
            option_check(checking, i, word, length);
            return true;
        }
    }
    /* Among the arguments of a program everything may stand. */
    const struct value_spec *spec = check_slot(checking);
    if (spec && spec->many) {
        option_suspect(checking, word, length);
        return false;
    }
    option_unknown(checking, word, length);
    return true;
}

bool check_option_given(const struct statement *statement)
{
    for (size_t i = 0; i < option_count(statement->directive); i++)
        if (statement->options[i].word)
            return true;
    return false;
}
