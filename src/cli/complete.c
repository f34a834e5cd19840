/* Completion of a command line in a shell: `enginx complete -- WORD… CURRENT` prints what CURRENT
 * could become, a line each: the word, a tab, what it is. ":files" and ":programs" stand for what
 * the shell itself knows best. The scripts of the shells (tools/completion) only pass it on, so
 * that all know the same. What is possible is read from the commands' usage. */
#include <ctype.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/place.h"
#include "cli/top/column.h"
#include "conf/directive.h"
#include "control/client.h"

enum { TOKEN_BYTES = 64, PATIENCE_S = 2 };

#define GLOBALS "[-c NAME] [--cluster NAME] [--state DIR] [--cgroup FOLDER] [--help]"

/* What a usage leaves out for brevity, in its syntax. */
static const struct {
    const char *command, *usage;
} further[] = {
    {"run", "[--instances N] [--port PORT] [--name NAME] [--user USER] [--memory SIZE] [--cpu N%] "
            "[--tasks N] [--steering HOW] [--restart HOW] [--detach]"},
    {"events", "[--follow] [--lines N]"},
    {"logs", "[--follow] [--lines LINES]"},
    {"top", "[-b] [-i T] [-s COLUMN] [--count N]"},
};

struct completion {
    const struct cli *cli; /* with what the line says of the cluster */
    const char *current;
    const char *command, *usage; /* NULL: none yet */
    json_t *status;              /* asked for once; NULL: not yet, or nobody answers */
};

static void offer(const struct completion *completion, const char *word, const char *says)
{
    if (strncmp(word, completion->current, strlen(completion->current)) == 0)
        printf("%s\t%.*s\n", word, (int)strcspn(says, "\n"), says);
}

/* ---- usages -----------------------------------------------------------------------------------
 */

/* The next token of a usage without brackets and bars; NULL: there is none. */
static const char *token_next(const char *usage, char token[TOKEN_BYTES])
{
    size_t length = 0;
    usage += strspn(usage, " [|");
    if (!*usage)
        return NULL;
    while (usage[length] && !strchr(" |", usage[length]))
        length++;
    snprintf(token, TOKEN_BYTES, "%.*s", (int)length, usage);
    size_t end = strlen(token);
    if (!strchr(token, '['))
        while (end && token[end - 1] == ']')
            token[--end] = 0;
    return usage + length;
}

/* Does the usage have this option, with a value? `ret_value` is the value's name, or what it can
 * be: "text|dot". */
static bool option_wants(const char *usage, const char *option, char ret_value[TOKEN_BYTES])
{
    char token[TOKEN_BYTES];
    while (usage && (usage = token_next(usage, token))) {
        if (strcmp(token, option) != 0)
            continue;
        if (*usage != ' ' || usage[-1] == ']' || !isalpha((unsigned char)usage[1]))
            return false;
        snprintf(ret_value, TOKEN_BYTES, "%.*s", (int)strcspn(usage + 1, " ]"), usage + 1);
        return true;
    }
    return false;
}

static const char *further_of(const char *command)
{
    for (size_t i = 0; command && i < sizeof further / sizeof further[0]; i++)
        if (strcmp(further[i].command, command) == 0)
            return further[i].usage;
    return "";
}

static bool word_wants(const struct completion *completion, const char *word,
                       char value[TOKEN_BYTES])
{
    return option_wants(GLOBALS, word, value) ||
           option_wants(completion->usage ? completion->usage : "", word, value) ||
           option_wants(further_of(completion->command), word, value);
}

/* ---- what runs --------------------------------------------------------------------------------
 */

static void cluster_offer(void *owner, const char *name)
{
    offer(owner, name, "a cluster that runs");
}

/* "services" or "jobs" of its status. */
static json_t *list_of(struct completion *completion, const char *key)
{
    char state[PLACE_BYTES], why[256];
    if (completion->status || place_find(completion->cli, state) != CLI_OK)
        return json_object_get(completion->status, key);
    alarm(PATIENCE_S); /* a shell must not hang on a cluster that does */
    int fd = control_connect(state);
    json_t *answer = fd < 0 ? NULL
                            : control_ask(fd, json_pack("{s:s}", "command", "status"), NULL, NULL,
                                          why, sizeof why);
    alarm(0);
    completion->status = json_incref(json_object_get(answer, "status"));
    json_decref(answer);
    return json_object_get(completion->status, key);
}

/* "web", "web=", "web.1" …, as the operand's name asks. */
static void services_offer(struct completion *completion, const char *ending, bool instances)
{
    size_t i, j;
    json_t *service, *instance;
    char word[512];
    json_array_foreach (list_of(completion, "services"), i, service) {
        const char *name = json_string_value(json_object_get(service, "name"));
        snprintf(word, sizeof word, "%s%s", name ? name : "", ending ? ending : "");
        if (ending)
            offer(completion, word, "a service");
        json_array_foreach (instances ? json_object_get(service, "instances") : NULL, j, instance) {
            const char *state = json_string_value(json_object_get(instance, "state"));
            snprintf(word, sizeof word, "%s.%d", name ? name : "",
                     (int)json_integer_value(json_object_get(instance, "id")));
            offer(completion, word, state ? state : "an instance");
        }
    }
}

static void jobs_offer(struct completion *completion)
{
    size_t i;
    json_t *job;
    json_array_foreach (list_of(completion, "jobs"), i, job) {
        const char *name = json_string_value(json_object_get(job, "name"));
        offer(completion, name ? name : "", "a job");
    }
}

/* ---- candidates -------------------------------------------------------------------------------
 */

static void commands_offer(const struct completion *completion)
{
    struct cli_command command;
    for (size_t i = 0; cli_command_nth(i, &command); i++)
        offer(completion, command.name, command.says);
}

static void directives_offer(const struct completion *completion)
{
    for (size_t i = 0; directive_nth(i); i++) {
        bool again = false;
        for (size_t j = 0; j < i; j++)
            again |= strcmp(directive_nth(i)->name, directive_nth(j)->name) == 0;
        if (!again && directive_nth(i)->id != DIRECTIVE_PLANNED)
            offer(completion, directive_nth(i)->name, directive_nth(i)->help);
    }
}

static void columns_offer(const struct completion *completion)
{
    for (unsigned i = 0; i < COLUMN_COUNT; i++)
        offer(completion, column_row((enum column)i)->word, column_row((enum column)i)->says);
}

/* The options of a usage: "--json", "-f", "surge=". */
static void options_offer(const struct completion *completion, const char *usage, bool dashed)
{
    char token[TOKEN_BYTES];
    while (usage && (usage = token_next(usage, token))) {
        size_t equals = strcspn(token, "=");
        bool is_dashed = token[0] == '-' && strcmp(token, "--") != 0;
        if (dashed && is_dashed)
            offer(completion, token, "an option");
        if (!dashed && islower((unsigned char)token[0]) && token[equals]) {
            token[equals + 1] = 0;
            offer(completion, token, "an option");
        }
    }
}

static void choices_offer(const struct completion *completion, const char *choices)
{
    char choice[TOKEN_BYTES];
    while (*choices) {
        size_t length = strcspn(choices, "|");
        snprintf(choice, sizeof choice, "%.*s", (int)length, choices);
        offer(completion, choice, "one of the choices");
        choices += length + (choices[length] == '|');
    }
}

/* What an operand or an option's value of that name can be. */
static void value_offer(struct completion *completion, const char *name)
{
    if (strcmp(name, "FILE") == 0 || strcmp(name, "DIR") == 0)
        printf(":files\n");
    else if (strcmp(name, "PROGRAM") == 0)
        printf(":programs\n");
    else if (strcmp(name, "COMMAND") == 0)
        commands_offer(completion);
    else if (strcmp(name, "DIRECTIVE") == 0)
        directives_offer(completion);
    else if (strcmp(name, "SERVICE=N") == 0)
        services_offer(completion, "=", false);
    else if (strcmp(name, "SERVICE.N") == 0)
        services_offer(completion, NULL, true);
    else if (strcmp(name, "SERVICE") == 0)
        services_offer(completion, "", false);
    else if (strncmp(name, "SERVICE[.N", 10) == 0)
        services_offer(completion, "", true);
    else if (strcmp(name, "JOB") == 0)
        jobs_offer(completion);
    else if (strcmp(name, "COLUMN") == 0)
        columns_offer(completion);
    else if (islower((unsigned char)name[0]))
        choices_offer(completion, name);
}

/* The word that the usage begins with, as in "run JOB": what follows it is its value, as an
 * option's. */
static bool verb_of(const char *usage, char verb[TOKEN_BYTES])
{
    return usage && token_next(usage, verb) && islower((unsigned char)verb[0]) &&
           !strchr(verb, '=');
}

/* The operands of the command's usage; all of the first place but what follows an option. */
static void operands_offer(struct completion *completion)
{
    char token[TOKEN_BYTES], value[TOKEN_BYTES];
    const char *usage = completion->usage;
    while (usage && (usage = token_next(usage, token))) {
        if (token[0] == '-' && option_wants(completion->usage, token, value))
            usage = strpbrk(usage + 1, " ]");
        else if (isupper((unsigned char)token[0]))
            value_offer(completion, token);
    }
}

/* Reads the words before the current one; `ret_operands` counts those that are no options, and
 * `ret_value` is what the current one is to an option before it ("": nothing). */
static void line_read(struct completion *completion, struct cli *line, int count, char **words,
                      int *ret_operands, char ret_value[TOKEN_BYTES])
{
    ret_value[0] = 0;
    for (int i = 0; i < count; i++) {
        struct cli_command command;
        const char *word = words[i];
        if (word_wants(completion, word, ret_value) && i + 1 == count)
            return;
        if (ret_value[0]) {
            const char *value = words[++i];
            if (strcmp(word, "-c") == 0 || strcmp(word, "--cluster") == 0)
                line->cluster = value;
            if (strcmp(word, "--state") == 0)
                line->state = value;
            ret_value[0] = 0;
        } else if (!completion->command && word[0] != '-') {
            for (size_t j = 0; cli_command_nth(j, &command); j++)
                if (strcmp(command.name, word) == 0)
                    *completion = (struct completion){.cli = line,
                                                      .current = completion->current,
                                                      .command = command.name,
                                                      .usage = command.usage};
        } else if (word[0] != '-') {
            ++*ret_operands;
        }
    }
}

int command_complete(const struct cli *cli)
{
    struct cli line = *cli;
    if (cli->argc < 3 || strcmp(cli->argv[1], "--") != 0)
        return CLI_USAGE;
    struct completion completion = {.cli = &line, .current = cli->argv[cli->argc - 1]};
    char value[TOKEN_BYTES], verb[TOKEN_BYTES];
    int operands = 0;
    line_read(&completion, &line, cli->argc - 3, cli->argv + 2, &operands, value);
    if (strcmp(value, "NAME") == 0)
        place_each(cluster_offer, &completion);
    else if (value[0])
        value_offer(&completion, value);
    else if (completion.current[0] == '-') {
        options_offer(&completion, GLOBALS, true);
        options_offer(&completion, completion.usage, true);
        options_offer(&completion, further_of(completion.command), true);
    } else if (!completion.command)
        commands_offer(&completion);
    else if (operands == 0 && verb_of(completion.usage, verb))
        offer(&completion, verb, "what to do");
    else if (operands == 0)
        operands_offer(&completion);
    else if (strcmp(completion.command, "run") == 0)
        printf(":files\n");
    else
        options_offer(&completion, completion.usage, false);
    json_decref(completion.status);
    return CLI_OK;
}
