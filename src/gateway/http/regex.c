#include "gateway/http/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { /* a match that needs more is given up: about a millisecond */
       REGEX_STEPS_MAX = 100000,
       REGEX_DEPTH_MAX = 1000,
       REGEX_HEAP_KIB_MAX = 1024,
};

struct regex {
    pcre2_code *code;
    pcre2_match_context *bounds;
};

struct regex *regex_new(const char *text, char *why, size_t why_size)
{
    int error;
    PCRE2_SIZE at;
    struct regex *regex = calloc(1, sizeof *regex);
    if (regex)
        regex->bounds = pcre2_match_context_create(NULL);
    if (!regex || !regex->bounds) {
        snprintf(why, why_size, "no memory");
        regex_free(regex);
        return NULL;
    }
    regex->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED,
                                PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C, &error, &at, NULL);
    if (!regex->code) {
        char message[128];
        pcre2_get_error_message(error, (PCRE2_UCHAR *)message, sizeof message);
        snprintf(why, why_size, "%s (at byte %zu)", message, (size_t)at);
        regex_free(regex);
        return NULL;
    }
    pcre2_set_match_limit(regex->bounds, REGEX_STEPS_MAX);
    pcre2_set_depth_limit(regex->bounds, REGEX_DEPTH_MAX);
    pcre2_set_heap_limit(regex->bounds, REGEX_HEAP_KIB_MAX);
    /* Where no memory may be both written and run this fails, and matching interprets. */
    pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE);
    return regex;
}

void regex_free(struct regex *regex)
{
    if (!regex)
        return;
    pcre2_code_free(regex->code);
    pcre2_match_context_free(regex->bounds);
    free(regex);
}

/* ---- what a thread writes ------------------------------------------------------------------- */

static pthread_once_t room_once = PTHREAD_ONCE_INIT;
static pthread_key_t room_key; /* only for its destructor */
static _Thread_local pcre2_match_data *match_data;

static void room_free(void *data)
{
    pcre2_match_data_free(data);
}

static void room_key_make(void)
{
    int error = pthread_key_create(&room_key, room_free);
    assert(!error);
}

static pcre2_match_data *room_get(void)
{
    if (match_data)
        return match_data;
    pthread_once(&room_once, room_key_make);
    pcre2_match_data *made = pcre2_match_data_create(REGEX_CAPTURES, NULL);
    if (made && pthread_setspecific(room_key, made)) {
        pcre2_match_data_free(made);
        return NULL;
    }
    return match_data = made;
}

enum regex_result regex_match(const struct regex *regex, struct slice subject,
                              struct slice ret_captures[REGEX_CAPTURES])
{
    pcre2_match_data *data = room_get();
    if (!data)
        return REGEX_GAVE_UP;
    int count = pcre2_match(regex->code, (PCRE2_SPTR)subject.bytes, subject.length, 0, 0, data,
                            regex->bounds);
    if (count < 0)
        return count == PCRE2_ERROR_NOMATCH ? REGEX_NO : REGEX_GAVE_UP;
    if (count == 0) /* there are more groups than room: the first ones are there */
        count = REGEX_CAPTURES;
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(data);
    for (int i = 0; i < REGEX_CAPTURES; i++) {
        ret_captures[i] = (struct slice){0};
        /* `\K` in a look-ahead may put the start behind the end. */
        if (i < count && ends[2 * i] != PCRE2_UNSET && ends[2 * i] <= ends[2 * i + 1])
            ret_captures[i] = (struct slice){subject.bytes + ends[2 * i],
                                             (uint32_t)(ends[2 * i + 1] - ends[2 * i])};
    }
    return REGEX_YES;
}

/* ---- beginnings ----------------------------------------------------------------------------- */

/* May there be a `|` outside of all groups? Then nothing is common to all that matches. Where
 * parentheses are not plain to see (in brackets, quotes, comments) the answer is yes. */
static bool alternatives(const char *text)
{
    if (!strchr(text, '|'))
        return false;
    if (strpbrk(text, "[#") || strstr(text, "\\Q"))
        return true;
    int depth = 0;
    for (; *text; text++) {
        if (*text == '\\' && text[1])
            text++;
        else if (*text == '|' && depth == 0)
            return true;
        else
            depth += (*text == '(') - (*text == ')');
    }
    return false;
}

static bool letter_or_digit(char byte)
{
    return (byte >= '0' && byte <= '9') || ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z');
}

size_t regex_beginning(const char *text, char *out, size_t room)
{
    size_t length = 0;
    if (*text != '^' || alternatives(text))
        return 0;
    text++;
    while (*text && length < room) {
        const char *literal = text;
        if (*text == '\\') {
            literal = text + 1;
            if (!*literal || letter_or_digit(*literal))
                break; /* a class, an assertion, a reference */
        } else if (strchr("^$.[]()|?*+{}#", *text) || (unsigned char)*text <= ' ') {
            break; /* `#` and white space: comments of `(?x)`, not worth knowing */
        }
        if (literal[1] && strchr("?*{", literal[1]))
            break; /* it may be missing */
        out[length++] = *literal;
        text = literal + 1;
    }
    return length;
}
