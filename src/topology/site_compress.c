#include <ctype.h>
#include <string.h>

#include "topology/builder.h"

/* `compress br gzip types=text/… min=1k level=4;` of a listener, host or route. */

enum { OPTION_TYPES, OPTION_MIN, OPTION_LEVEL };
enum { CHOICE_OFF = COMPRESSION_CODINGS_MAX }; /* the others are enum coding */

static bool codings_take(struct builder *builder, const struct statement *at,
                         struct compression *compression)
{
    for (size_t i = 0; i < at->argument_count; i++) {
        const struct value *value = &at->arguments[i];
        if (value->choice == CHOICE_OFF) {
            value_refuse(builder, value, "compress off;", "`off` stands alone");
            return false;
        }
        for (size_t k = 0; k < i; k++)
            if (at->arguments[k].choice == value->choice) {
                value_refuse(builder, value, NULL, "this coding is named twice");
                return false;
            }
        compression->codings[compression->coding_count++] = (enum coding)value->choice;
    }
    return true;
}

/* `text/html`, `text/…` with a star, or a star alone. */
static bool type_good(const char *type, size_t length)
{
    const char *slash = memchr(type, '/', length);
    const char *star = memchr(type, '*', length);
    if (length == 1 && star)
        return true;
    if (!slash || slash == type || slash + 1 == type + length)
        return false;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)type[i]) && !strchr("/*+.-_", type[i]))
            return false;
    return !memchr(slash + 1, '/', (size_t)(type + length - slash - 1));
}

static char *type_lower(struct builder *builder, const char *text, size_t length)
{
    char *type = arena_strndup(builder->arena, text, length);
    for (char *letter = type; *letter; letter++)
        *letter = (char)tolower((unsigned char)*letter);
    return type;
}

static bool types_take(struct builder *builder, const struct value *value,
                       struct compression *compression)
{
    const char *types[COMPRESSION_TYPES_MAX + 1] = {NULL};
    size_t count = 0;
    for (const char *at = value->text; *at;) {
        size_t length = strcspn(at, ",");
        if (!type_good(at, length)) {
            value_refuse(builder, value, "types=text/*,application/json",
                         "`%.*s` is no type of content", (int)(length < 60 ? length : 60), at);
            return false;
        }
        if (count == COMPRESSION_TYPES_MAX) {
            value_refuse(builder, value, NULL, "too many types: at most %d", COMPRESSION_TYPES_MAX);
            return false;
        }
        types[count++] = type_lower(builder, at, length);
        at += length + (at[length] == ',');
    }
    const char **copy = arena_array(builder->arena, count + 1, sizeof *copy);
    memcpy(copy, types, (count + 1) * sizeof *copy);
    compression->types = copy;
    return true;
}

const struct compression *compression_make(struct builder *builder, const struct statement *block,
                                           const struct compression *outer)
{
    const struct statement *at = statement_next(block, DIRECTIVE_COMPRESS);
    if (!at)
        return outer;
    if (at->argument_count == 1 && at->arguments[0].choice == CHOICE_OFF)
        return NULL;
    struct compression *compression = arena_alloc(builder->arena, sizeof *compression);
    *compression = (struct compression){
        .bytes_min = at->options[OPTION_MIN].number,
        .level = (uint8_t)at->options[OPTION_LEVEL].number,
    };
    bool good = codings_take(builder, at, compression);
    good &= types_take(builder, &at->options[OPTION_TYPES], compression);
    return good ? compression : NULL;
}
