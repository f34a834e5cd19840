#include "conf/directive.h"

#include <assert.h>
#include <string.h>

#include "conf/directive_private.h"

static const struct directive_rows *const tables[] = {&directive_rows_top, &directive_rows_service,
                                                      &directive_rows_job, &directive_rows_listen,
                                                      &directive_rows_guard};
enum { TABLES = sizeof tables / sizeof tables[0] };

const struct directive *directive_nth(size_t number)
{
    for (size_t i = 0; i < TABLES; i++) {
        if (number < tables[i]->count)
            return &tables[i]->rows[number];
        number -= tables[i]->count;
    }
    return NULL;
}

static const struct directive *row_find(const struct directive_rows *table, const char *name,
                                        unsigned contexts)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct directive *row = &table->rows[i];
        if (row->name[0] == name[0] && (row->contexts & contexts) && strcmp(row->name, name) == 0)
            return row;
    }
    return NULL;
}

const struct directive *directive_find(const char *name, unsigned contexts)
{
    const struct directive *found = NULL;
    for (size_t i = 0; i < TABLES && !found; i++)
        if (tables[i]->contexts & contexts)
            found = row_find(tables[i], name, contexts);
    return found;
}

const struct directive *directive_by_id(enum directive_id id)
{
    const struct directive *row;
    for (size_t i = 0; (row = directive_nth(i)); i++)
        if (row->id == id)
            return row;
    assert(false && "an id without a row");
    return NULL;
}

const char *context_place(enum context context)
{
    switch (context) {
    case CONTEXT_TOP:
        return "at the top level";
    case CONTEXT_SERVICE:
        return "in `service`";
    case CONTEXT_REALM:
        return "in `realm`";
    case CONTEXT_LISTEN:
        return "in the block of `listen`";
    case CONTEXT_HOST:
        return "in `host`";
    case CONTEXT_ROUTE:
        return "in `route`";
    case CONTEXT_DNS:
        return "in `dns`";
    case CONTEXT_VPN:
        return "in `vpn`";
    case CONTEXT_JOB:
        return "in `job`";
    }
    return "nowhere";
}

/* The choices of this version, with `|` between them and behind `before`. */
static void choices_syntax(const char *choices, const char *before, FILE *out)
{
    for (const char *at = choices; at && *at;) {
        size_t length = strcspn(at, " ");
        if (*at != '!') {
            fprintf(out, "%s%.*s", before, (int)length, at);
            before = "|";
        }
        at += length + (at[length] == ' ');
    }
}

/* An argument's name, or its choices where nothing else is allowed. */
static void spec_syntax(const struct value_spec *spec, FILE *out)
{
    bool choice = spec->type == VALUE_CHOICE;
    fputs(choice ? "" : spec->name, out);
    choices_syntax(spec->choices, choice ? "" : "|", out);
    fputs(spec->many ? "…" : "", out);
}

void directive_syntax(const struct directive *directive, FILE *out)
{
    if (directive->syntax) {
        fputs(directive->syntax, out);
        return;
    }
    fputs(directive->name, out);
    for (size_t i = 0; i < DIRECTIVE_ARGUMENTS_MAX && directive->arguments[i].type; i++) {
        const struct value_spec *spec = &directive->arguments[i];
        fputs(spec->optional ? " [" : " ", out);
        spec_syntax(spec, out);
        fputs(spec->optional ? "]" : "", out);
    }
    for (size_t i = 0; i < DIRECTIVE_OPTIONS_MAX && directive->options[i].type; i++) {
        const struct value_spec *spec = &directive->options[i];
        if (spec->planned)
            continue;
        fprintf(out, " [%s=", spec->name);
        fputs(spec->type == VALUE_CHOICE ? "" : value_sign(spec->type), out);
        if (spec->type == VALUE_CHOICE)
            spec_syntax(spec, out);
        fputs("]", out);
    }
    fputs(!directive->block ? ";" : directive->block_optional ? "; or { … }" : " { … }", out);
}
