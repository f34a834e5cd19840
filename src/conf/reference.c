#include "conf/reference.h"

#include <errno.h>
#include <string.h>

#include "conf/directive.h"
#include "conf/nearest.h"
#include "conf/reference_private.h"

enum { ALLOWED_BYTES_MAX = 512 };

const struct reference_group reference_groups[] = {
    {CONTEXT_TOP, "At the top level"}, {CONTEXT_SERVICE, "In `service`"},
    {CONTEXT_JOB, "In `job`"},         {CONTEXT_REALM, "In `realm`"},
    {CONTEXT_HOST, "In `host`"},       {CONTEXT_LISTEN, "In the block of `listen`"},
    {CONTEXT_ROUTE, "In `route`"},
};
enum { GROUP_COUNT = sizeof reference_groups / sizeof reference_groups[0] };
const size_t reference_group_count = GROUP_COUNT;

bool reference_planned(const struct directive *directive)
{
    return directive->id == DIRECTIVE_PLANNED;
}

static void contexts_print(const struct directive *directive, FILE *out)
{
    const char *between = "";
    for (unsigned bit = 1; bit <= CONTEXT_LAST; bit <<= 1) {
        if (!(directive->contexts & bit))
            continue;
        fprintf(out, "%s%s", between, context_place((enum context)bit));
        between = ", ";
    }
}

void reference_spec_print(const struct value_spec *spec, FILE *out)
{
    char allowed[ALLOWED_BYTES_MAX];
    const char *between = "";
    if (spec->planned) {
        fprintf(out, "not in this version yet");
        return;
    }
    if (spec->help) {
        fprintf(out, "%s", spec->help);
        between = "; ";
    }
    if (*value_allowed(spec, allowed, sizeof allowed)) {
        fprintf(out, "%s%s", between, allowed);
        between = "; ";
    }
    if (spec->fallback)
        fprintf(out, "%sdefault %s", between, spec->fallback);
}

bool reference_spec_speaks(const struct value_spec *spec)
{
    char allowed[ALLOWED_BYTES_MAX];
    return spec->type && spec->type != VALUE_ARROW &&
           (spec->help || spec->fallback || *value_allowed(spec, allowed, sizeof allowed));
}

static void directive_help(const struct directive *directive, FILE *out, bool colour)
{
    fprintf(out, "%s", colour ? "\033[1m" : "");
    directive_syntax(directive, out);
    fprintf(out, "%s\n\n  %s\n", colour ? "\033[0m" : "", directive->help);
    if (reference_planned(directive))
        fprintf(out, "  It is not in this version yet.\n");
    fprintf(out, "\n  %-12s ", "stands");
    contexts_print(directive, out);
    fprintf(out, "%s\n", directive->many ? "; may be repeated" : "");
    for (size_t i = 0; i < DIRECTIVE_ARGUMENTS_MAX; i++) {
        if (!reference_spec_speaks(&directive->arguments[i]))
            continue;
        fprintf(out, "  %-12s ", directive->arguments[i].name);
        reference_spec_print(&directive->arguments[i], out);
        fputc('\n', out);
    }
    for (size_t i = 0; i < DIRECTIVE_OPTIONS_MAX && directive->options[i].type; i++) {
        fprintf(out, "  %s=%-*s ", directive->options[i].name,
                (int)(11 - strlen(directive->options[i].name)), "");
        reference_spec_print(&directive->options[i], out);
        fputc('\n', out);
    }
    fprintf(out, "  %-12s %s\n", "example", directive->example);
}

int reference_help(FILE *out, const char *name, bool colour)
{
    struct nearest nearest = {.word = name};
    bool found = false;
    for (size_t i = 0; directive_nth(i); i++) {
        if (strcmp(directive_nth(i)->name, name) == 0) {
            if (found)
                fputc('\n', out);
            directive_help(directive_nth(i), out, colour);
            found = true;
        }
        nearest_try(&nearest, directive_nth(i)->name);
    }
    if (found)
        return 0;
    fprintf(out, "There is no directive `%.64s`.", name);
    if (nearest.best)
        fprintf(out, " Did you mean `%s`?", nearest.best);
    fprintf(out, "\n");
    return -ENOENT;
}

void reference_list(FILE *out)
{
    for (size_t group = 0; group < GROUP_COUNT; group++) {
        fprintf(out, "%s%s:\n", group ? "\n" : "", reference_groups[group].title);
        for (size_t i = 0; directive_nth(i); i++) {
            if (!(directive_nth(i)->contexts & reference_groups[group].context))
                continue;
            const char *help = directive_nth(i)->help;
            /* The first sentence; what follows is for `help DIRECTIVE`. */
            int length = (int)strcspn(help, ".:");
            fprintf(out, "  %-12s %.*s%s\n", directive_nth(i)->name, length, help,
                    reference_planned(directive_nth(i)) ? " (not in this version yet)" : "");
        }
    }
}

static void markdown_spec(const struct value_spec *spec, bool option, FILE *out)
{
    fprintf(out, "- `%s%s`: ", spec->name, option ? "=" : "");
    reference_spec_print(spec, out);
    fprintf(out, "\n");
}

static void markdown_directive(const struct directive *directive, FILE *out)
{
    fprintf(out, "\n### %s\n\n    ", directive->name);
    directive_syntax(directive, out);
    fprintf(out, "\n\n%s", directive->help);
    if (directive->many && !reference_planned(directive))
        fprintf(out, " May be repeated.");
    fprintf(out, "%s\n\n", reference_planned(directive) ? " *Not in this version yet.*" : "");
    bool items = false;
    for (size_t i = 0; i < DIRECTIVE_ARGUMENTS_MAX; i++) {
        if (!reference_spec_speaks(&directive->arguments[i]))
            continue;
        markdown_spec(&directive->arguments[i], false, out);
        items = true;
    }
    for (size_t i = 0; i < DIRECTIVE_OPTIONS_MAX && directive->options[i].type; i++) {
        markdown_spec(&directive->options[i], true, out);
        items = true;
    }
    fprintf(out, "%sExample: `%s`\n", items ? "\n" : "", directive->example);
}

bool reference_explained_before(const struct directive *directive, size_t group)
{
    for (size_t i = 0; i < group; i++)
        if (directive->contexts & reference_groups[i].context)
            return true;
    return false;
}

void reference_markdown(FILE *out)
{
    fprintf(out, "# The configuration language: reference\n\n"
                 "Generated from the directive table (`enginx help --markdown`); do not edit.\n");
    for (size_t group = 0; group < GROUP_COUNT; group++) {
        fprintf(out, "\n## %s\n", reference_groups[group].title);
        const char *between = "\nAs above: ";
        for (size_t i = 0; directive_nth(i); i++) {
            if (!(directive_nth(i)->contexts & reference_groups[group].context) ||
                !reference_explained_before(directive_nth(i), group))
                continue;
            fprintf(out, "%s`%s`", between, directive_nth(i)->name);
            between = ", ";
        }
        if (strcmp(between, ", ") == 0)
            fprintf(out, ".\n");
        for (size_t i = 0; directive_nth(i); i++)
            if ((directive_nth(i)->contexts & reference_groups[group].context) &&
                !reference_explained_before(directive_nth(i), group))
                markdown_directive(directive_nth(i), out);
    }
}

void reference_completion(FILE *out)
{
    for (size_t i = 0; directive_nth(i); i++)
        if (!reference_planned(directive_nth(i)))
            fprintf(out, "%s\n", directive_nth(i)->name);
}
