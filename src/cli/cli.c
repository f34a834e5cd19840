#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/handover.h"

enum { WORDS_MAX = 4096 };

static const struct command {
    const char *name;
    int (*call)(const struct cli *cli);
    const char *usage;
    const char *says;
} commands[] = {
    {"run", command_run, "[-n N] [-p PORT] [options] -- PROGRAM [ARGUMENTS…]",
     "run a program as a cluster, without a file"},
    {"up", command_up, "[FILE] [--detach] [--last-good]",
     "start the cluster that a file describes"},
    {"check", command_check, "[FILE] [--explain]", "check a file; say which path each part takes"},
    {"status", command_status, "[--json]", "what runs, where, since when, and how it is"},
    {"top", command_top,
     "[--interval T] [--sort COLUMN] [--reverse] [--filter TEXT] [--view services|listeners] "
     "[--batch] [-n N]",
     "watch services and instances; drain, restart, roll and scale them by keys"},
    {"graph", command_graph, "[FILE] [--format text|dot|svg]",
     "draw what leads where: of a file, or of what runs"},
    {"logs", command_logs, "[-f] [-n LINES] [SERVICE[.N] | JOB]", "what the programs print"},
    {"events", command_events, "[--json] [-f] [-n N]",
     "what happened: instances, services, reloads, upgrades; as it happens with -f"},
    {"scale", command_scale, "SERVICE=N", "change how many instances a service has"},
    {"drain", command_drain, "SERVICE.N [--undo]", "take an instance out of rotation"},
    {"restart", command_restart, "[SERVICE[.N]]", "restart instances one after the other"},
    {"roll", command_roll,
     "SERVICE [surge=N] [unavailable=N] [within=T] [pause=T] [watch=T] [errors=P%] [canary=P% "
     "[step=T]]",
     "replace its instances by new ones without a gap; back, when they are not good enough"},
    {"job", command_job, "run JOB", "run a job now, and wait for its end"},
    {"reload", command_reload, "[FILE] [--dry-run] [--wait]",
     "take a changed file into use; what did not change does not notice"},
    {"purge", command_purge, "[--cache NAME] HOST/PATH | HOST/PATH* | tag=TAG,… | all",
     "take answers out of a cache"},
    {"bans", command_bans, "[--json] [--lift ADDRESS|all]",
     "show who is banned by `flood`, or lift bans"},
    {"upgrade", command_upgrade, "[--binary FILE]",
     "let another executable of enginx take the place of the one that runs"},
    {"leave", command_leave, "",
     "end enginx alone: programs and connections go on, and the next `enginx up` adopts them"},
    {"down", command_down, "", "stop everything, in order"},
    {"help", command_help, "[COMMAND | DIRECTIVE | --directives | --markdown]",
     "explain a command or a directive of the configuration"},
    {"version", command_version, "", "print the version"},
};
enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

bool cli_command_nth(size_t number, struct cli_command *ret_command)
{
    if (number >= COMMAND_COUNT)
        return false;
    const struct command *command = &commands[number];
    *ret_command = (struct cli_command){command->name, command->usage, command->says};
    return true;
}

int cli_fail(const char *format, ...)
{
    va_list list;
    fputs("enginx: ", stderr);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    return CLI_FAILED;
}

int cli_usage(const char *name)
{
    const struct command *command = command_find(name);
    if (command)
        fprintf(stderr, "usage: enginx %s %s\n", command->name, command->usage);
    return CLI_USAGE;
}

static void overview(FILE *out)
{
    fputs("enginx: any server program becomes a cluster\n\nusage: enginx COMMAND [options]\n\n",
          out);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].says);
    fputs("\n  -c NAME         the cluster (default: the one whose file is enginx.conf here, else "
          "the\n"
          "                  only one that runs)\n"
          "  --state DIR     the folder of its run-time state\n"
          "  --cgroup FOLDER the folder below the control groups' root (default: enginx)\n\n"
          "`enginx help COMMAND` tells more; `enginx help DIRECTIVE` explains the configuration.\n",
          out);
}

int command_help(const struct cli *cli)
{
    if (cli->argc < 2) {
        overview(stdout);
        return CLI_OK;
    }
    const struct command *command = command_find(cli->argv[1]);
    if (!command)
        return cli_help_directive(cli->argv[1]);
    printf("usage: enginx %s %s\n\n%s\n", command->name, command->usage, command->says);
    if (strcmp(command->name, "run") == 0)
        cli_help_directive("run");
    return CLI_OK;
}

int command_version(const struct cli *cli)
{
    (void)cli;
    printf("enginx %s\n", ENGINX_VERSION);
    return CLI_OK;
}

/* ---- options ----------------------------------------------------------------------------------
 */

static const struct cli_option *option_find(const char *word, const struct cli_option *options,
                                            size_t count, const char **ret_value)
{
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(options[i].name);
        *ret_value = NULL;
        if (strcmp(word, options[i].name) == 0 ||
            (options[i].brief && strcmp(word, options[i].brief) == 0))
            return &options[i];
        if (options[i].wants && strncmp(word, options[i].name, length) == 0 &&
            word[length] == '=') {
            *ret_value = word + length + 1;
            return &options[i];
        }
    }
    return NULL;
}

int cli_options(struct cli *cli, const struct cli_option *options, size_t count, bool stop_early)
{
    int kept = 1;
    int at = 1;
    for (; at < cli->argc; at++) {
        const char *word = cli->argv[at];
        const char *value;
        if (strcmp(word, "--") == 0) {
            at++;
            break;
        }
        if (word[0] != '-' || !word[1]) {
            if (stop_early)
                break;
            cli->argv[kept++] = cli->argv[at];
            continue;
        }
        const struct cli_option *option = option_find(word, options, count, &value);
        if (!option) {
            cli_fail("%s: unknown option %s", cli->argv[0], word);
            return -1;
        }
        if (!option->wants) {
            *option->flag = true;
            continue;
        }
        if (!value && at + 1 < cli->argc)
            value = cli->argv[++at];
        if (!value) {
            cli_fail("%s: %s wants a value", cli->argv[0], word);
            return -1;
        }
        *option->wants = value;
    }
    while (at < cli->argc)
        cli->argv[kept++] = cli->argv[at++];
    cli->argv[kept] = NULL;
    cli->argc = kept;
    return kept;
}

/* Options that hold for all commands may stand before and behind the command's name; not behind
 * "--", where a program's own words begin, nor behind `run`, which knows where they do. */
static bool global_take(struct cli *cli, char **argv, int argc, int *at)
{
    const char *value;
    const struct cli_option options[] = {{"--cluster", "-c", &cli->cluster, NULL},
                                         {"--state", NULL, &cli->state, NULL},
                                         {"--cgroup", NULL, &cli->cgroup, NULL}};
    const struct cli_option *option =
        option_find(argv[*at], options, sizeof options / sizeof options[0], &value);
    if (!option || (!value && *at + 1 >= argc))
        return false;
    *option->wants = value ? value : argv[++*at];
    return true;
}

/* The file of this executable; what has been put in its place since, when it was replaced. */
static bool file_find(char *file, size_t size)
{
    static const char gone[] = " (deleted)";
    ssize_t length = readlink("/proc/self/exe", file, size - 1);
    if (length < 0)
        return false;
    file[length] = 0;
    char *end = file + length - (sizeof gone - 1);
    if (end > file && strcmp(end, gone) == 0)
        *end = 0;
    return true;
}

int cli_main(int argc, char **argv)
{
    char *words[WORDS_MAX + 1];
    static char file[4096];
    struct cli cli = {.argv = words, .cgroup = "enginx", .exe = "/proc/self/exe", .file = file};
    if (!file_find(file, sizeof file))
        return cli_fail("/proc is not mounted");
    handover_begin(argv);
    bool taking = true;
    for (int at = 1; at < argc; at++) {
        taking =
            taking && strcmp(argv[at], "--") != 0 && (!cli.argc || strcmp(words[0], "run") != 0);
        if (taking && global_take(&cli, argv, argc, &at))
            continue;
        if (cli.argc == WORDS_MAX)
            return cli_fail("more than %d words", WORDS_MAX);
        words[cli.argc++] = argv[at];
    }
    words[cli.argc] = NULL;
    if (!cli.argc || strcmp(words[0], "--help") == 0 || strcmp(words[0], "-h") == 0) {
        overview(cli.argc ? stdout : stderr);
        return cli.argc ? CLI_OK : CLI_USAGE;
    }
    if (strcmp(words[0], "--version") == 0)
        return command_version(&cli);
    if (strcmp(words[0], "complete") == 0)
        return command_complete(&cli);
    const struct command *command = command_find(words[0]);
    if (!command) {
        cli_fail("there is no command %s; `enginx help` lists them", words[0]);
        return CLI_USAGE;
    }
    if (cli.argc > 1 && (strcmp(words[1], "--help") == 0 || strcmp(words[1], "-h") == 0)) {
        printf("usage: enginx %s %s\n\n%s\n", command->name, command->usage, command->says);
        return CLI_OK;
    }
    return command->call(&cli);
}
