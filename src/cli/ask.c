#include "cli/ask.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/place.h"
#include "control/client.h"

static void progress_show(void *owner, const char *text)
{
    (void)owner;
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K%.200s", text);
    else
        fprintf(stderr, "%s\n", text);
}

json_t *ask(const struct cli *cli, json_t *request)
{
    char state[PLACE_BYTES];
    char why[256];
    if (place_find(cli, state) != CLI_OK) {
        json_decref(request);
        return NULL;
    }
    int fd = control_connect(state);
    if (fd < 0) {
        json_decref(request);
        cli_fail("cannot connect to %s/control: %s", state, strerror(-fd));
        return NULL;
    }
    json_t *answer = control_ask(fd, request, progress_show, NULL, why, sizeof why);
    if (isatty(STDERR_FILENO))
        fputs("\r\033[K", stderr);
    if (!answer) {
        cli_fail("%s", why);
        return NULL;
    }
    const char *error = json_string_value(json_object_get(answer, "error"));
    if (error) {
        const char *report = json_string_value(json_object_get(answer, "report"));
        if (report)
            fputs(report, stderr);
        cli_fail("%s", error);
        json_decref(answer);
        return NULL;
    }
    return answer;
}

int ask_simply(const struct cli *cli, json_t *request)
{
    json_t *answer = ask(cli, request);
    json_decref(answer);
    return answer ? CLI_OK : CLI_FAILED;
}

int command_down(const struct cli *cli)
{
    return cli->argc == 1 ? ask_simply(cli, json_pack("{s:s}", "command", "down"))
                          : cli_usage("down");
}

int command_leave(const struct cli *cli)
{
    return cli->argc == 1
               ? ask_simply(cli, json_pack("{s:s, s:b}", "command", "down", "leave", true))
               : cli_usage("leave");
}

int command_scale(const struct cli *cli)
{
    char *equals = cli->argc == 2 ? strchr(cli->argv[1], '=') : NULL;
    char *end = NULL;
    long count = equals ? strtol(equals + 1, &end, 10) : 0;
    if (!equals || equals == cli->argv[1] || end == equals + 1 || *end)
        return cli_usage("scale");
    *equals = 0;
    return ask_simply(cli, json_pack("{s:s, s:s, s:I}", "command", "scale", "service", cli->argv[1],
                                     "count", (json_int_t)count));
}

/* "api.2" → "api" and 2; false: no number at its end. */
static bool instance_split(char *text, long *ret_number)
{
    char *dot = strrchr(text, '.');
    char *end = NULL;
    *ret_number = dot ? strtol(dot + 1, &end, 10) : 0;
    if (!dot || end == dot + 1 || *end || *ret_number < 1)
        return false;
    *dot = 0;
    return true;
}

int command_drain(const struct cli *cli)
{
    bool undo = false;
    long number;
    struct cli own = *cli;
    const struct cli_option options[] = {{"--undo", NULL, NULL, &undo}};
    if (cli_options(&own, options, 1, false) != 2 || !instance_split(own.argv[1], &number))
        return cli_usage("drain");
    return ask_simply(&own, json_pack("{s:s, s:s, s:I, s:b}", "command", "drain", "service",
                                      own.argv[1], "instance", (json_int_t)number, "undo", undo));
}

int command_restart(const struct cli *cli)
{
    long number;
    if (cli->argc > 2)
        return cli_usage("restart");
    if (cli->argc == 1)
        return ask_simply(cli, json_pack("{s:s}", "command", "restart"));
    if (!instance_split(cli->argv[1], &number))
        return ask_simply(cli,
                          json_pack("{s:s, s:s}", "command", "restart", "service", cli->argv[1]));
    return ask_simply(cli, json_pack("{s:s, s:s, s:I}", "command", "restart", "service",
                                     cli->argv[1], "instance", (json_int_t)number));
}

int command_job(const struct cli *cli)
{
    if (cli->argc != 3 || strcmp(cli->argv[1], "run") != 0)
        return cli_usage("job");
    return ask_simply(cli, json_pack("{s:s, s:s}", "command", "job", "job", cli->argv[2]));
}
