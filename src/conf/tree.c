#include "conf/tree.h"

#include <assert.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/bundle.h"

struct list { /* nodes being put one behind the other */
    struct node **tail;
};

/* One file being read: its open blocks are a stack of their own, so that no nesting of the input
 * is a nesting of our calls. */
struct reading {
    struct tree_reader *reader;
    struct lexer lexer;
    struct {
        struct node *node;
        struct list outer; /* where to go on when the block ends */
    } open[NESTING_MAX];
    size_t depth;
    struct list list;
};

static void problem(struct tree_reader *reader, const struct word *word, const char *hint,
                    const char *message)
{
    struct place place = word_place(word, 0);
    diagnostics_add(reader->diagnostics, DIAGNOSTIC_ERROR, &place, hint, "%s", message);
}

static void node_append(struct list *list, struct node *node)
{
    *list->tail = node;
    list->tail = &node->next;
}

static void word_append(struct tree_reader *reader, struct node *node, const struct word *word)
{
    if (node->word_count == NODE_WORDS_MAX) {
        problem(reader, word, NULL, "too many words in one directive");
        node->word_count++;
    }
    if (node->word_count > NODE_WORDS_MAX)
        return;
    struct word *copy = arena_alloc(reader->arena, sizeof *copy);
    *copy = *word;
    if (node->last_word)
        node->last_word->next = copy;
    else
        node->words = copy;
    node->last_word = copy;
    node->word_count++;
}

static void file_read(struct tree_reader *reader, const struct source *source, struct list *list);

static void file_include(struct tree_reader *reader, const struct node *node, const char *path,
                         struct list *list)
{
    char text[SOURCE_PROBLEM_BYTES];
    struct place place = word_place(node->words, 0);
    const struct source *source = sources_read(reader->sources, path, text);
    if (!source) {
        diagnostics_add(reader->diagnostics, DIAGNOSTIC_ERROR, &place, NULL, "`%s` %s", path, text);
        return;
    }
    for (size_t i = 0; i < reader->depth; i++) {
        const struct source *outer = reader->inclusions[i].source;
        if (!outer->inode || outer->inode != source->inode || outer->device != source->device)
            continue;
        diagnostics_add(reader->diagnostics, DIAGNOSTIC_ERROR, &place,
                        "a file cannot include itself, nor one that includes it",
                        "`%s` is being read already: a loop of includes", path);
        return;
    }
    file_read(reader, source, list);
}

/* The absolute or working-directory pattern of an `include`; NULL: reported. */
static const char *include_pattern(struct tree_reader *reader, const struct node *node)
{
    const struct word *word = node->words;
    if (node->block || node->word_count != 1) {
        problem(reader, &node->name, "include \"services/*.conf\";",
                "`include` takes one path, or a pattern of paths");
        return NULL;
    }
    if (!word->source->directory) {
        problem(reader, &node->name, NULL, "`include` works only in a file");
        return NULL;
    }
    buffer_clear(reader->scratch);
    if (!variables_expand(reader->variables, word, 0, EXPANSION_PLAIN, reader->scratch,
                          reader->diagnostics))
        return NULL;
    const char *path = reader->scratch->length ? reader->scratch->data : "";
    const char *directory = word->source->directory;
    if (path[0] == '/' || strcmp(directory, ".") == 0)
        return arena_strdup(reader->arena, path);
    return arena_printf(reader->arena, "%s/%s", directory, path);
}

/* The paths that a pattern matches, each ended by a 0, in the arena. False: the folder cannot be
 * searched. */
static bool disk_match(struct tree_reader *reader, const char *pattern, const char **ret_paths,
                       size_t *ret_length)
{
    glob_t *matches = calloc(1, sizeof *matches);
    struct inclusion *inclusion = &reader->inclusions[reader->depth - 1];
    inclusion->matches = matches; /* an arena that is exhausted leaves it to tree_reader_done */
    int error = matches ? glob(pattern, 0, NULL, matches) : GLOB_NOSPACE;
    if (!error) {
        size_t length = 0;
        for (size_t i = 0; i < matches->gl_pathc; i++)
            length += strlen(matches->gl_pathv[i]) + 1;
        char *at = arena_alloc(reader->arena, length);
        *ret_paths = at;
        *ret_length = length;
        for (size_t i = 0; i < matches->gl_pathc; i++)
            at = stpcpy(at, matches->gl_pathv[i]) + 1;
    }
    if (matches)
        globfree(matches);
    free(matches);
    inclusion->matches = NULL;
    return !error || error == GLOB_NOMATCH;
}

/* As disk_match; each pattern is searched for once, and whoever reads a bundle gets the same. */
static bool paths_match(struct tree_reader *reader, const char *pattern, const char **ret_paths,
                        size_t *ret_length)
{
    struct bundle *collect = reader->sources->collect;
    const struct bundle *known = reader->sources->bundle ? reader->sources->bundle : collect;
    const char *paths = known ? bundle_find(known, BUNDLE_MATCHES, pattern, ret_length) : NULL;
    *ret_paths = paths;
    if (paths)
        return true;
    if (reader->sources->bundle || !disk_match(reader, pattern, ret_paths, ret_length))
        return false;
    return !collect ||
           !bundle_add(collect, BUNDLE_MATCHES, pattern, *ret_paths, *ret_paths ? *ret_length : 0);
}

static void include_do(struct tree_reader *reader, const struct node *node, struct list *list)
{
    const char *pattern = include_pattern(reader, node);
    const char *paths;
    size_t length = 0;
    if (!pattern)
        return;
    if (reader->depth > INCLUDE_DEPTH_MAX) {
        problem(reader, node->words, NULL, "files include files too deeply: at most 16 levels");
        return;
    }
    if (!paths_match(reader, pattern, &paths, &length)) {
        problem(reader, node->words, NULL, "the folder cannot be searched");
        return;
    }
    /* No file is fine for a pattern: a folder of services may be empty. */
    if (!length && !strpbrk(pattern, "*?["))
        file_include(reader, node, pattern, list);
    for (size_t at = 0; at < length; at += strlen(paths + at) + 1)
        file_include(reader, node, paths + at, list);
}

static bool node_is_include(const struct node *node)
{
    return !node->name.quoted && strcmp(node->name.text, "include") == 0;
}

/* A directive is complete. */
static void statement_end(struct reading *reading, struct node *node)
{
    if (node_is_include(node))
        include_do(reading->reader, node, &reading->list);
    else
        node_append(&reading->list, node);
}

static void block_begin(struct reading *reading, struct node *node)
{
    node->block = true;
    if (node_is_include(node))
        include_pattern(reading->reader, node); /* reports it */
    node_append(&reading->list, node);
    reading->open[reading->depth].node = node;
    reading->open[reading->depth].outer = reading->list;
    reading->depth++;
    reading->list.tail = &node->children;
}

static void block_end(struct reading *reading, const struct word *at)
{
    if (!reading->depth) {
        problem(reading->reader, at, "a block that it could close is not open",
                "`}` without a `{`");
        return;
    }
    reading->depth--;
    reading->list = reading->open[reading->depth].outer;
}

static void semicolon_missing(struct reading *reading, const struct node *node)
{
    const struct word *last = node->last_word ? node->last_word : &node->name;
    struct place place = word_place(last, 0);
    diagnostics_add(reading->reader->diagnostics, DIAGNOSTIC_ERROR, &place,
                    "a directive ends with `;` or has a block in `{ … }`",
                    "a `;` is missing after `%.64s`", last->text);
}

/* From a directive's name to its end. False: nothing can be made of what follows. */
static bool statement_read(struct reading *reading, const struct word *name)
{
    struct node *node = arena_alloc(reading->reader->arena, sizeof *node);
    node->name = *name;
    struct token token;
    for (;;) {
        lexer_next(&reading->lexer, &token);
        if (token.kind != TOKEN_WORD)
            break;
        word_append(reading->reader, node, &token.word);
    }
    if (token.kind == TOKEN_OPEN && reading->depth == NESTING_MAX) {
        problem(reading->reader, &token.word, NULL, "blocks are nested too deeply: at most 16");
        return false;
    }
    if (token.kind == TOKEN_OPEN) {
        block_begin(reading, node);
        return true;
    }
    if (token.kind != TOKEN_SEMICOLON)
        semicolon_missing(reading, node);
    statement_end(reading, node);
    if (token.kind == TOKEN_CLOSE)
        block_end(reading, &token.word);
    return true;
}

/* A `{` that no directive's name precedes: what it holds is read and left out. */
static bool nameless_read(struct reading *reading, const struct word *at)
{
    problem(reading->reader, at, "a block belongs to a directive, like service NAME { … }",
            "`{` without a directive");
    if (reading->depth == NESTING_MAX)
        return false;
    struct node *node = arena_alloc(reading->reader->arena, sizeof *node);
    reading->open[reading->depth].node = NULL;
    reading->open[reading->depth].outer = reading->list;
    reading->depth++;
    reading->list.tail = &node->children;
    return true;
}

static bool token_take(struct reading *reading, const struct token *token)
{
    switch (token->kind) {
    case TOKEN_WORD:
        return statement_read(reading, &token->word);
    case TOKEN_OPEN:
        return nameless_read(reading, &token->word);
    case TOKEN_CLOSE:
        block_end(reading, &token->word);
        return true;
    case TOKEN_SEMICOLON:
        problem(reading->reader, &token->word, NULL, "`;` without a directive");
        return true;
    case TOKEN_END:
        break;
    }
    return false;
}

static void blocks_unclosed(struct reading *reading)
{
    for (size_t i = 0; i < reading->depth; i++) {
        const struct node *node = reading->open[i].node;
        if (!node)
            continue;
        struct place place = word_place(&node->name, 0);
        diagnostics_add(reading->reader->diagnostics, DIAGNOSTIC_ERROR, &place,
                        "the file ends before its `}`", "the block of `%.64s` is not closed",
                        node->name.text);
    }
}

static void file_read(struct tree_reader *reader, const struct source *source, struct list *list)
{
    assert(reader->depth <= INCLUDE_DEPTH_MAX);
    reader->inclusions[reader->depth++] = (struct inclusion){.source = source};
    struct reading reading = {.reader = reader, .list = *list};
    lexer_init(&reading.lexer, source, reader->arena, reader->scratch, reader->diagnostics);
    struct token token;
    do
        lexer_next(&reading.lexer, &token);
    while (token_take(&reading, &token));
    if (token.kind == TOKEN_END)
        blocks_unclosed(&reading);
    *list = reading.depth ? reading.open[0].outer : reading.list;
    reader->depth--;
}

struct node *tree_read(struct tree_reader *reader, const struct source *source)
{
    struct node *first = NULL;
    struct list list = {.tail = &first};
    file_read(reader, source, &list);
    return first;
}

void tree_reader_done(struct tree_reader *reader)
{
    for (size_t i = 0; i < sizeof reader->inclusions / sizeof reader->inclusions[0]; i++) {
        glob_t *matches = reader->inclusions[i].matches;
        if (matches)
            globfree(matches);
        free(matches);
        reader->inclusions[i].matches = NULL;
    }
    reader->depth = 0;
}
