#include "cli/run_text.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology/template.h"

enum { NAME_BYTES = 64 };

/* Does a template's variable begin here? Then it is expanded for each instance; any other dollar
 * sign is the program's own. */
static bool variable_begins(const char *dollar)
{
    char word[64];
    size_t length = 1;
    bool braced = dollar[1] == '{';
    if (braced)
        length = 2;
    while (isalpha((unsigned char)dollar[length]) && length < sizeof word - 2)
        length++;
    if (braced && dollar[length] != '}')
        return false;
    snprintf(word, sizeof word, "%.*s", (int)(length + (braced ? 1 : 0)), dollar);
    size_t unknown;
    return length > (braced ? 2u : 1u) && template_unknown(word, &unknown) == NULL;
}

static void quoted_put(struct buffer *text, const char *word)
{
    buffer_puts(text, " \"");
    for (; *word; word++) {
        if (*word == '"' || *word == '\\')
            buffer_puts(text, "\\");
        if (*word == '\n')
            buffer_puts(text, "\\n");
        else if (*word == '$' && !variable_begins(word))
            buffer_puts(text, "$$");
        else
            buffer_append(text, word, 1);
    }
    buffer_puts(text, "\"");
}

/* The program's name as a cluster's: "python3" of "/usr/bin/python3". */
static void name_from(const char *program, char name[NAME_BYTES])
{
    const char *slash = strrchr(program, '/');
    size_t at = 0;
    for (const char *c = slash ? slash + 1 : program; *c && at < NAME_BYTES - 1; c++)
        name[at++] = (char)(isalnum((unsigned char)*c) ? tolower((unsigned char)*c) : '-');
    name[at] = 0;
    if (!isalpha((unsigned char)name[0]))
        snprintf(name, NAME_BYTES, "program");
}

static void option_put(struct buffer *text, const char *directive, const char *value)
{
    if (!value)
        return;
    buffer_printf(text, "    %s", directive);
    quoted_put(text, value);
    buffer_puts(text, ";\n");
}

static void quota_put(struct buffer *text, const struct run_options *options)
{
    if (!options->memory && !options->cpu && !options->tasks)
        return;
    buffer_puts(text, "    quota");
    if (options->memory)
        buffer_printf(text, " memory=%s", options->memory);
    if (options->cpu)
        buffer_printf(text, " cpu=%s", options->cpu);
    if (options->tasks)
        buffer_printf(text, " tasks=%s", options->tasks);
    buffer_puts(text, ";\n");
}

static void listen_put(struct buffer *text, const char *port, const char *name)
{
    size_t digits = strcspn(port, "/");
    bool udp = strcmp(port + digits, "/udp") == 0;
    buffer_printf(text, "listen %.*s %s -> %s;\n", (int)digits, port, udp ? "udp" : "tcp", name);
}

void run_text_build(struct buffer *text, const struct run_options *options, char *const *program)
{
    char name[NAME_BYTES];
    if (options->name)
        snprintf(name, sizeof name, "%s", options->name);
    else
        name_from(program[0], name);
    buffer_printf(text, "cluster %s;\n", name);
    option_put(text, "steering", options->steering);
    buffer_printf(text, "service %s {\n    run", name);
    for (; *program; program++)
        quoted_put(text, *program);
    buffer_puts(text, ";\n");
    option_put(text, "instances", options->count);
    option_put(text, "user", options->user);
    option_put(text, "restart", options->restart);
    quota_put(text, options);
    buffer_printf(text, "    publish %s;\n}\n", options->port ? "no" : "yes");
    if (options->port)
        listen_put(text, options->port, name);
}

bool run_port_valid(const char *text)
{
    char *end = NULL;
    unsigned long port = *text >= '0' && *text <= '9' ? strtoul(text, &end, 10) : 0;
    return port >= 1 && port <= UINT16_MAX && (!*end || !strcmp(end, "/tcp") || !strcmp(end, "/udp"));
}
