#include "conf/lexer.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

static const char dollar_hint[] =
    "a dollar sign that means itself is written $$, or the text stands in '…'";

void lexer_init(struct lexer *lexer, const struct source *source, struct arena *arena,
                struct buffer *scratch, struct diagnostics *diagnostics)
{
    static const char mark[] = "\xef\xbb\xbf"; /* a byte order mark says nothing in UTF-8 */
    *lexer = (struct lexer){
        .source = source,
        .arena = arena,
        .diagnostics = diagnostics,
        .scratch = scratch,
        .line = 1,
    };
    if (strncmp(source->text, mark, 3) == 0)
        lexer->at = lexer->line_start = 3;
}

struct place word_place(const struct word *word, size_t skip)
{
    size_t skipped = skip < word->length ? skip : word->length;
    return (struct place){
        .file = word->source->path,
        .source = word->source->text + word->line_start,
        .line = word->line,
        .column = word->offset - word->line_start + 1 + skipped,
        .length = word->length - skipped,
    };
}

static char byte_at(const struct lexer *lexer, uint32_t ahead)
{
    /* The text ends with a 0, and nobody looks further ahead than one byte past one that is not. */
    return lexer->source->text[lexer->at + ahead];
}

static bool byte_is_blank(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

static bool byte_ends_word(char byte)
{
    return byte == 0 || byte_is_blank(byte) || byte == '{' || byte == '}' || byte == ';';
}

static bool byte_starts_name(char byte)
{
    return isalpha((unsigned char)byte) || byte == '_';
}

static bool byte_in_name(char byte)
{
    return byte_starts_name(byte) || isdigit((unsigned char)byte);
}

static void line_count(struct lexer *lexer)
{
    lexer->line++;
    lexer->line_start = lexer->at + 1;
}

static void blanks_skip(struct lexer *lexer)
{
    for (;; lexer->at++) {
        if (byte_at(lexer, 0) == '#')
            while (byte_at(lexer, 0) && byte_at(lexer, 0) != '\n')
                lexer->at++;
        if (!byte_is_blank(byte_at(lexer, 0)))
            return;
        if (byte_at(lexer, 0) == '\n')
            line_count(lexer);
    }
}

/* The place of `length` bytes from here on, as a word without text. */
static struct word word_here(const struct lexer *lexer, uint32_t length)
{
    return (struct word){
        .source = lexer->source,
        .line = lexer->line,
        .line_start = lexer->line_start,
        .offset = lexer->at,
        .length = length,
    };
}

static void problem_at(struct lexer *lexer, const struct word *at, const char *hint,
                       const char *message)
{
    struct place place = word_place(at, 0);
    diagnostics_add(lexer->diagnostics, DIAGNOSTIC_ERROR, &place, hint, "%s", message);
}

/* The length of what follows `env.`, `header.` … and may have the `further` bytes in it, but none
 * of them at the end: fields of HTTP and cookies have dashes, claims of tokens dots as well. */
static uint32_t member_length(const char *text, const char *further)
{
    uint32_t length = 0;
    if (!byte_starts_name(*text))
        return 0;
    while (byte_in_name(text[length]) || (text[length] && strchr(further, text[length])))
        length++;
    while (strchr(further, text[length - 1]))
        length--;
    return length;
}

/* The length of a variable's name at `text`: `name`, `env.NAME`, `header.NAME` …, or a digit;
 * 0: none. */
static uint32_t name_length(const char *text)
{
    static const char *const prefixes[] = {"env.", "header.", "cookie.", "arg.", "jwt."};
    static const char *const further[] = {"", "-", "-", "-", "-."};
    uint32_t length = 0;
    if (*text >= '1' && *text <= '9')
        return 1;
    if (!byte_starts_name(*text))
        return 0;
    while (byte_in_name(text[length]))
        length++;
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        uint32_t prefix = (uint32_t)strlen(prefixes[i]);
        if (length + 1 == prefix && strncmp(text, prefixes[i], prefix) == 0) {
            uint32_t member = member_length(text + prefix, further[i]);
            return member ? prefix + member : length;
        }
    }
    return length;
}

static void name_append(struct lexer *lexer, const char *name, uint32_t length)
{
    buffer_puts(lexer->scratch, "${");
    buffer_append(lexer->scratch, name, length);
    buffer_puts(lexer->scratch, "}");
}

/* `$(…)`, which ends on its line. */
static void calculation_read(struct lexer *lexer)
{
    const char *start = lexer->source->text + lexer->at;
    size_t length = strcspn(start, ")\n");
    if (start[length] != ')') {
        struct word at = word_here(lexer, 2);
        problem_at(lexer, &at, dollar_hint, "`$(` is not closed on its line");
        lexer->at += 2;
        return;
    }
    buffer_append(lexer->scratch, start, length + 1);
    lexer->at += (uint32_t)length + 1;
}

/* At a dollar sign. One that no name follows means itself: `cost=5$`. */
static void dollar_read(struct lexer *lexer, struct word *word)
{
    const char *after = lexer->source->text + lexer->at + 1;
    word->dollars = true;
    if (*after == '(') {
        calculation_read(lexer);
        return;
    }
    bool braced = *after == '{';
    uint32_t length = name_length(after + braced);
    if (braced && (!length || after[1 + length] != '}')) {
        struct word at = word_here(lexer, 2 + length);
        problem_at(lexer, &at, dollar_hint, "`${` needs a name and a `}`, like ${instance}");
        lexer->at += 2 + length;
        return;
    }
    if (length) {
        name_append(lexer, after + braced, length);
        lexer->at += 1 + length + (braced ? 2 : 0);
        return;
    }
    buffer_puts(lexer->scratch, "$$");
    lexer->at += *after == '$' ? 2 : 1;
}

static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    char lower = (char)tolower((unsigned char)digit);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* `\xHH`; a 0 byte cannot be part of a word. */
static bool hex_read(struct lexer *lexer)
{
    int high = hex_value(byte_at(lexer, 2));
    int low = high < 0 ? -1 : hex_value(byte_at(lexer, 3));
    if (low < 0 || high * 16 + low == 0)
        return false;
    char byte = (char)(high * 16 + low);
    buffer_append(lexer->scratch, byte == '$' ? "$$" : &byte, byte == '$' ? 2 : 1);
    lexer->at += 4;
    return true;
}

/* The byte that a one-letter escape stands for; 0: none. */
static char escape_value(char letter)
{
    static const char letters[] = "ntre\\\"'";
    static const char values[] = "\n\t\r\033\\\"'";
    const char *found = letter ? strchr(letters, letter) : NULL;
    return found ? values[found - letters] : 0;
}

/* At a backslash within "…". A newline after it is left out: the text goes on. */
static void escape_read(struct lexer *lexer, struct word *word)
{
    char letter = byte_at(lexer, 1);
    char value = escape_value(letter);
    if (letter == 'x' && hex_read(lexer)) {
        word->dollars = true; /* \x24 is one; otherwise it costs a look */
        return;
    }
    if (value) {
        buffer_append(lexer->scratch, &value, 1);
    } else if (letter == '$') {
        word->dollars = true;
        buffer_puts(lexer->scratch, "$$");
    } else if (letter != '\n') {
        struct word at = word_here(lexer, letter ? 2 : 1);
        problem_at(lexer, &at, "known: \\n \\t \\r \\e \\\\ \\\" \\' \\$ \\xHH",
                   "unknown escape in a string");
    }
    lexer->at++;
    if (letter == '\n')
        line_count(lexer);
    lexer->at += letter != 0;
}

/* A byte of a word as it stands. */
static void byte_read(struct lexer *lexer)
{
    char byte = byte_at(lexer, 0);
    if (byte == '\n')
        line_count(lexer);
    buffer_append(lexer->scratch, &byte, 1);
    lexer->at++;
}

/* At a quotation mark; up to the one that closes it. In '…' nothing is special, not even `$`. */
static void quotation_read(struct lexer *lexer, struct word *word)
{
    struct word opening = word_here(lexer, 1);
    char quote = byte_at(lexer, 0);
    for (lexer->at++; byte_at(lexer, 0) != quote;) {
        char byte = byte_at(lexer, 0);
        if (!byte) {
            problem_at(lexer, &opening, "it goes on to the end of the file",
                       "the string that starts here is not closed");
            return;
        }
        if (byte == '\\' && quote == '"') {
            escape_read(lexer, word);
        } else if (byte == '$' && quote == '"') {
            dollar_read(lexer, word);
        } else if (byte == '$') {
            word->dollars = true;
            buffer_puts(lexer->scratch, "$$");
            lexer->at++;
        } else {
            byte_read(lexer);
        }
    }
    lexer->at++;
}

/* In a bare word a backslash takes the meaning from the byte after it where that has one, and is
 * itself otherwise: \{ but also C:\dir and \d+. */
static void backslash_read(struct lexer *lexer, struct word *word)
{
    char next = byte_at(lexer, 1);
    if (next && strchr(" \t{};#\"'\\$", next)) {
        lexer->at++;
        if (next == '$') {
            word->dollars = true;
            buffer_puts(lexer->scratch, "$");
        }
    }
    byte_read(lexer);
}

/* Bytes that a bare word takes as they are: all but what ends it or means something. */
static uint32_t plain_length(const char *text)
{
    uint32_t length = 0;
    for (;; length++) {
        char byte = text[length];
        if ((unsigned char)byte <= ' ' || byte == '{' || byte == '}' || byte == ';' ||
            byte == '"' || byte == '\'' || byte == '$' || byte == '\\' || byte == 0x7f)
            return length;
    }
}

/* At a byte of a bare word that is not plain. */
static void special_read(struct lexer *lexer, struct word *word)
{
    char byte = byte_at(lexer, 0);
    if (byte == '"' || byte == '\'') {
        quotation_read(lexer, word);
    } else if (byte == '$') {
        dollar_read(lexer, word);
    } else if (byte == '\\') {
        backslash_read(lexer, word);
    } else {
        struct word at = word_here(lexer, 1);
        problem_at(lexer, &at, "inside \"…\" it is written \\xHH",
                   "a control byte stands in a word");
        lexer->at++;
    }
}

static void word_read(struct lexer *lexer, struct word *word)
{
    const char *start = lexer->source->text + lexer->at;
    uint32_t plain = plain_length(start);
    word->quoted = *start == '"' || *start == '\'';
    lexer->at += plain;
    if (byte_ends_word(start[plain])) { /* nearly all words */
        word->length = plain;
        word->text = arena_strndup(lexer->arena, start, plain);
        return;
    }
    buffer_clear(lexer->scratch);
    buffer_append(lexer->scratch, start, plain);
    while (!byte_ends_word(byte_at(lexer, 0))) {
        special_read(lexer, word);
        plain = plain_length(lexer->source->text + lexer->at);
        buffer_append(lexer->scratch, lexer->source->text + lexer->at, plain);
        lexer->at += plain;
    }
    word->length = lexer->at - word->offset;
    if (lexer->scratch->overflowed)
        problem_at(lexer, word, NULL, "the word is too long");
    word->text = arena_strndup(lexer->arena, lexer->scratch->data ? lexer->scratch->data : "",
                               lexer->scratch->length);
}

void lexer_next(struct lexer *lexer, struct token *ret_token)
{
    static const enum token_kind kinds[] = {
        ['{'] = TOKEN_OPEN, ['}'] = TOKEN_CLOSE, [';'] = TOKEN_SEMICOLON};
    blanks_skip(lexer);
    char byte = byte_at(lexer, 0);
    if (!byte) {
        *ret_token = (struct token){.kind = TOKEN_END, .word = word_here(lexer, 0)};
    } else if (byte == '{' || byte == '}' || byte == ';') {
        *ret_token = (struct token){.kind = kinds[(int)byte], .word = word_here(lexer, 1)};
        lexer->at++;
    } else {
        *ret_token = (struct token){.kind = TOKEN_WORD, .word = word_here(lexer, 0)};
        word_read(lexer, &ret_token->word);
    }
}

void word_quote(struct buffer *out, const char *text)
{
    buffer_puts(out, "\"");
    for (; *text; text++) {
        if (*text == '"' || *text == '\\' || *text == '$')
            buffer_puts(out, "\\");
        buffer_append(out, text, 1);
    }
    buffer_puts(out, "\"");
}
