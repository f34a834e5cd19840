#include <stdio.h>
#include <string.h>

#include "conf/nearest.h"
#include "conf/value_private.h"

enum { CHOICE_BYTES_MAX = 32 };

void value_text_add(char *text, size_t size, const char *more)
{
    size_t length = strlen(text);
    if (length < size)
        snprintf(text + length, size - length, "%s", more);
}

struct choice { /* a word of a list, in place */
    const char *text;
    size_t length;
    bool planned;
};

/* Walks a list of choices; false at its end. */
static bool choice_next(const char **list, struct choice *ret_choice)
{
    const char *at = *list;
    if (!at)
        return false;
    while (*at == ' ')
        at++;
    ret_choice->planned = *at == '!';
    ret_choice->text = at + ret_choice->planned;
    while (*at && *at != ' ')
        at++;
    ret_choice->length = (size_t)(at - ret_choice->text);
    *list = at;
    return ret_choice->length > 0;
}

static void choice_copy(const struct choice *choice, char word[CHOICE_BYTES_MAX])
{
    snprintf(word, CHOICE_BYTES_MAX, "%.*s", (int)choice->length, choice->text);
}

void value_choices_add(const char *choices, char *text, size_t size)
{
    struct choice choice;
    char last[CHOICE_BYTES_MAX] = "";
    bool first = true;
    while (choice_next(&choices, &choice)) {
        if (choice.planned)
            continue;
        if (*last) {
            value_text_add(text, size, first ? "" : ", ");
            value_text_add(text, size, last);
            first = false;
        }
        choice_copy(&choice, last);
    }
    value_text_add(text, size, first ? "" : " or ");
    value_text_add(text, size, last);
}

int16_t value_choice_find(const struct value_spec *spec, const char *text, bool *ret_planned)
{
    const char *list = spec->choices;
    size_t length = strlen(text);
    struct choice choice;
    for (int16_t i = 0; choice_next(&list, &choice); i++) {
        if (choice.length == length && memcmp(choice.text, text, length) == 0) {
            *ret_planned = choice.planned;
            return i;
        }
    }
    return -1;
}

/* The choice that the text nearly is, in `best`; false: none. */
static bool choice_nearest(const struct value_spec *spec, const char *text,
                           char best[CHOICE_BYTES_MAX])
{
    const char *list = spec->choices;
    char word[CHOICE_BYTES_MAX];
    struct choice choice;
    struct nearest nearest = {.word = text};
    while (choice_next(&list, &choice)) {
        choice_copy(&choice, word);
        nearest_try(&nearest, word);
        if (nearest.best == word) { /* which the next word overwrites */
            memcpy(best, word, sizeof word);
            nearest.best = best;
        }
    }
    return nearest.best != NULL;
}

bool value_choice_near(const struct value_spec *spec, const char *text)
{
    char best[CHOICE_BYTES_MAX];
    bool planned;
    return value_choice_find(spec, text, &planned) >= 0 || choice_nearest(spec, text, best);
}

bool value_choice_wrong(const struct value_spec *spec, const char *text,
                        struct value_problem *problem)
{
    char best[CHOICE_BYTES_MAX];
    snprintf(problem->message, sizeof problem->message, "`%.*s` is not known here",
             VALUE_SHOWN_BYTES_MAX, text);
    snprintf(problem->hint, sizeof problem->hint, "allowed: ");
    value_choices_add(spec->choices, problem->hint, sizeof problem->hint);
    if (choice_nearest(spec, text, best)) {
        value_text_add(problem->hint, sizeof problem->hint, "; did you mean `");
        value_text_add(problem->hint, sizeof problem->hint, best);
        value_text_add(problem->hint, sizeof problem->hint, "`?");
    }
    return false;
}

bool value_choice_planned(const struct value_spec *spec, const char *text,
                          struct value_problem *problem)
{
    char allowed[VALUE_HINT_BYTES - VALUE_SHOWN_BYTES_MAX];
    problem->planned = true;
    snprintf(problem->message, sizeof problem->message, "`%.*s` is not in this version yet",
             VALUE_SHOWN_BYTES_MAX, text);
    if (*value_allowed(spec, allowed, sizeof allowed)) /* else whatever is of the type */
        snprintf(problem->hint, sizeof problem->hint, "available: %s", allowed);
    return false;
}
