#include "conf/manual.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/scoped.h"
#include "conf/reference_private.h"

static const char head[] =
    ".\\\" Generated from the directive table of enginx; do not edit.\n"
    ".TH ENGINX.CONF 5 2026-11-26 \"enginx " ENGINX_VERSION "\" \"File formats\"\n"
    ".ad l\n"
    ".SH NAME\n"
    "enginx.conf \\- configuration of a cluster of enginx\n"
    ".SH DESCRIPTION\n"
    "A file describes one cluster: its services, and what listens for them.\n"
    "It consists of directives: a name, values that spaces separate, and a semicolon or a block in "
    "braces.\n"
    "A value with spaces, semicolons or braces is put into double quotes; a number sign begins a "
    "comment.\n"
    "Times have a unit (ms, s, m, h), sizes one of K, M and G.\n"
    "\\(lq\\fBcluster\\fP \\fINAME\\fP;\\(rq names the cluster; without it, it is named after the "
    "file.\n"
    ".PP\n"
    "\\fBenginx check\\fP reads a file and tells all that is wrong in it, \\fBenginx help\\fP "
    "\\fIDIRECTIVE\\fP explains one directive.\n"
    ".SH DIRECTIVES\n";

static const char tail[] = ".SH FILES\n"
                           ".TP\n"
                           ".I ./enginx.conf\n"
                           "what commands mean when none is named\n"
                           ".TP\n"
                           ".I /etc/enginx/NAME.conf\n"
                           "of the systemd unit \\fBenginx@\\fP\\fINAME\\fP\\fB.service\\fP\n"
                           ".SH EXAMPLE\n"
                           ".EX\n"
                           "service web {\n"
                           "    run python3 app.py;\n"
                           "    port 8000;\n"
                           "    instances 4;\n"
                           "}\n"
                           "listen 8080 http { route / \\-> web; }\n"
                           ".EE\n"
                           ".SH SEE ALSO\n"
                           ".BR enginx (1)\n";

/* Text as roff reads it: `this` is bold, dashes stay what they are, and no line begins a request.
 */
static void text_put(const char *text, FILE *out)
{
    bool bold = false;
    fputs("\\&", out);
    for (; *text; text++) {
        switch (*text) {
        case '`':
            bold = !bold;
            fputs(bold ? "\\fB" : "\\fP", out);
            break;
        case '\\':
            fputs("\\e", out);
            break;
        case '-':
            fputs("\\-", out);
            break;
        case '\'':
            fputs("\\(aq", out);
            break;
        case '^':
            fputs("\\(ha", out);
            break;
        case '~':
            fputs("\\(ti", out);
            break;
        case '\n':
            fputs("\n\\&", out);
            break;
        default:
            fputc(*text, out);
        }
    }
    fputs(bold ? "\\fP\n" : "\n", out);
}

static int spec_put(const struct value_spec *spec, bool option, FILE *out)
{
    scoped_memory char *text = NULL;
    size_t length = 0;
    FILE *lines = open_memstream(&text, &length);
    if (!lines)
        return -ENOMEM;
    fprintf(lines, "`%s%s`: ", spec->name, option ? "=" : "");
    reference_spec_print(spec, lines);
    if (fclose(lines) != 0)
        return -ENOMEM;
    fputs(".br\n", out);
    text_put(text, out);
    return 0;
}

static int syntax_put(const struct directive *directive, FILE *out)
{
    scoped_memory char *text = NULL;
    size_t length = 0;
    FILE *line = open_memstream(&text, &length);
    if (!line)
        return -ENOMEM;
    fputs("`", line);
    directive_syntax(directive, line);
    fputs("`", line);
    if (fclose(line) != 0)
        return -ENOMEM;
    fputs(".TP\n", out);
    text_put(text, out);
    return 0;
}

static int directive_put(const struct directive *directive, FILE *out)
{
    int error = syntax_put(directive, out);
    text_put(directive->help, out);
    if (reference_planned(directive))
        fputs("Not in this version yet.\n", out);
    else if (directive->many)
        fputs("May be repeated.\n", out);
    for (size_t i = 0; !error && i < DIRECTIVE_ARGUMENTS_MAX; i++)
        if (reference_spec_speaks(&directive->arguments[i]))
            error = spec_put(&directive->arguments[i], false, out);
    for (size_t i = 0; !error && i < DIRECTIVE_OPTIONS_MAX && directive->options[i].type; i++)
        error = spec_put(&directive->options[i], true, out);
    fputs(".br\nExample:\n", out);
    text_put(directive->example, out);
    return error;
}

static void title_put(const char *title, FILE *out)
{
    fputs(".SS \"", out);
    for (; *title; title++)
        if (*title != '`')
            fputc(*title, out);
    fputs("\"\n", out);
}

/* What stands here, too, and was explained before. */
static void repeated_put(size_t group, FILE *out)
{
    const char *between = "As above: ";
    for (size_t i = 0; directive_nth(i); i++) {
        const struct directive *directive = directive_nth(i);
        if (!(directive->contexts & reference_groups[group].context) ||
            !reference_explained_before(directive, group))
            continue;
        fprintf(out, "%s\\fB%s\\fP", between, directive->name);
        between = ", ";
    }
    if (strcmp(between, ", ") == 0)
        fputs(".\n", out);
}

int manual_write(FILE *out)
{
    int error = 0;
    fputs(head, out);
    for (size_t group = 0; !error && group < reference_group_count; group++) {
        title_put(reference_groups[group].title, out);
        repeated_put(group, out);
        for (size_t i = 0; !error && directive_nth(i); i++)
            if ((directive_nth(i)->contexts & reference_groups[group].context) &&
                !reference_explained_before(directive_nth(i), group))
                error = directive_put(directive_nth(i), out);
    }
    fputs(tail, out);
    return error;
}
