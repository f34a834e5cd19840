/* The lexer: a source's text to tokens. Words are written bare, in "…" (with escapes and variables)
 * or in '…' (as they stand), and parts that touch are one word, as in a shell: NAME="a value".
 *
 * A word's text is canonical whatever its spelling: each variable is `${name}`, each calculation
 * `$(…)`, each dollar sign that means itself `$$`. The text lives in the arena, the source's own
 * bytes stay where they are, for messages. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "conf/diagnostics.h"
#include "conf/source.h"

struct word {
    struct word *next;
    const char *text;
    const struct source *source;
    uint32_t line;       /* from 1 */
    uint32_t line_start; /* offset of its line in the source */
    uint32_t offset;     /* of the word in the source */
    uint32_t length;     /* in the source */
    bool quoted;         /* it starts with a quotation mark: never an option, never `->` */
    bool dollars;        /* the text has a variable, a calculation or `$$` in it */
};

enum token_kind {
    TOKEN_WORD,
    TOKEN_OPEN,      /* { */
    TOKEN_CLOSE,     /* } */
    TOKEN_SEMICOLON, /* ; */
    TOKEN_END,
};

struct token {
    enum token_kind kind;
    struct word word; /* of the other kinds: the place only */
};

struct lexer {
    const struct source *source;
    struct arena *arena;
    struct diagnostics *diagnostics;
    struct buffer *scratch; /* the word being read; the caller's */
    uint32_t at;
    uint32_t line;
    uint32_t line_start;
};

/* Everything that it is given must outlive it and its words. */
void lexer_init(struct lexer *lexer, const struct source *source, struct arena *arena,
                struct buffer *scratch, struct diagnostics *diagnostics);
/* What cannot be read is reported and left out of the word. */
void lexer_next(struct lexer *lexer, struct token *ret_token);

/* Where a word stands; the first `skip` of its bytes left out. */
struct place word_place(const struct word *word, size_t skip);

/* Appends `text` in "…" so that it is read as one word that means just this: how a program's
 * arguments are put into a configuration that is made up, as `enginx run` does. */
void word_quote(struct buffer *out, const char *text);
