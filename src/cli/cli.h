/* The command line: one file a command, a table of them in cli.c. Commands print results on
 * standard output and everything else on standard error, use colours on terminals only, and return
 * the exit code: CLI_OK, CLI_FAILED, or CLI_USAGE for a wrong command line or a wrong
 * configuration. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

struct cli {  /* what every command is given */
    int argc; /* the command's own words: argv[0] is its name */
    char **argv;
    const char *cluster; /* -c NAME; NULL */
    const char *state;   /* --state DIR; NULL */
    const char *cgroup;  /* --cgroup FOLDER */
    const char *exe;     /* this executable, also when its file was replaced */
    const char *file;    /* the file that it was started from */
};

int command_run(const struct cli *cli);
int command_up(const struct cli *cli);
int command_check(const struct cli *cli);
int command_status(const struct cli *cli);
int command_top(const struct cli *cli);
int command_graph(const struct cli *cli);
int command_logs(const struct cli *cli);
int command_events(const struct cli *cli);
int command_scale(const struct cli *cli);
int command_drain(const struct cli *cli);
int command_reload(const struct cli *cli);
int command_roll(const struct cli *cli);
int command_job(const struct cli *cli);
int command_restart(const struct cli *cli);
int command_down(const struct cli *cli);
int command_upgrade(const struct cli *cli);
int command_leave(const struct cli *cli);
int command_bans(const struct cli *cli);
int command_purge(const struct cli *cli);
int command_help(const struct cli *cli);
int command_version(const struct cli *cli);
int command_complete(const struct cli *cli); /* for shells; no person's command */

struct cli_command { /* what a person is told of one; static text */
    const char *name, *usage, *says;
};
/* The commands in their order; false: there are no more. */
bool cli_command_nth(size_t number, struct cli_command *ret_command);

/* Explains a directive of the configuration; CLI_USAGE: there is none of that name. */
int cli_help_directive(const char *name);

/* Parses argv and runs the command. */
int cli_main(int argc, char **argv);
/* Prints how the command is used, and gives CLI_USAGE. */
int cli_usage(const char *command);
/* "enginx: …" on standard error; gives CLI_FAILED. */
int cli_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* An option of a command: --name VALUE or --name=VALUE (wants != NULL), or a flag. */
struct cli_option {
    const char *name;  /* "--json" */
    const char *brief; /* "-f"; NULL */
    const char **wants;
    bool *flag;
};
/* Takes the options out of argv (in place); stops at "--" (which it removes) or, with stop_early,
 * at the first word that is no option. The number of words left, argv[0] included; -1: said what is
 * wrong. */
int cli_options(struct cli *cli, const struct cli_option *options, size_t count, bool stop_early);
