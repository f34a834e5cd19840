#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/ask.h"
#include "cli/place.h"
#include "proc/logread.h"

/* The folder where the logs of the cluster are: the cluster tells; one that is down is looked for
 * where its logs would be. */
static int directory_find(const struct cli *cli, char directory[PLACE_BYTES])
{
    if (cli->cluster || cli->state) {
        char state[PLACE_BYTES];
        if (place_state(cli, cli->cluster ? cli->cluster : "", state) == 0 &&
            place_log(cli, state, cli->cluster ? cli->cluster : "", directory) == 0 &&
            access(directory, R_OK) == 0)
            return CLI_OK;
    }
    json_t *answer = ask(cli, json_pack("{s:s}", "command", "status"));
    const char *logs =
        json_string_value(json_object_get(json_object_get(answer, "status"), "logs"));
    if (logs)
        snprintf(directory, PLACE_BYTES, "%s", logs);
    json_decref(answer);
    return logs ? CLI_OK : CLI_FAILED;
}

/* "api.2" → "api" and 2; "api" → "api" and 0. */
static void service_split(char *text, struct logread_options *options)
{
    char *dot = strrchr(text, '.');
    char *end = NULL;
    unsigned long number = dot ? strtoul(dot + 1, &end, 10) : 0;
    options->service = text;
    if (!dot || end == dot + 1 || *end || !number || number > UINT32_MAX)
        return;
    *dot = 0;
    options->instance = (uint32_t)number;
}

int command_logs(const struct cli *cli)
{
    bool follow = false;
    const char *lines = NULL;
    struct cli own = *cli;
    const struct cli_option table[] = {{"--follow", "-f", NULL, &follow},
                                       {"--lines", "-n", &lines, NULL}};
    int words = cli_options(&own, table, 2, false);
    char directory[PLACE_BYTES];
    struct logread_options options = {.directory = directory,
                                      .lines = LOGREAD_LINES_DEFAULT,
                                      .colour = isatty(STDOUT_FILENO) && !getenv("NO_COLOR")};
    char *end = NULL;
    if (lines)
        options.lines = (uint32_t)strtoul(lines, &end, 10);
    if (words < 1 || words > 2 || (lines && (*end || options.lines > LOGREAD_LINES_MAX)))
        return cli_usage("logs");
    if (words == 2)
        service_split(own.argv[1], &options);
    if (directory_find(&own, directory) != CLI_OK)
        return CLI_FAILED;
    int error = follow ? logread_follow(stdout, &options) : logread_print(stdout, &options);
    if (error == -EPIPE)
        return CLI_OK;
    if (error == -ENOENT)
        return cli_fail("nothing was logged%s%s (looked in %s)", options.service ? " by " : "",
                        options.service ? options.service : "", directory);
    return error ? cli_fail("%s: %s", directory, strerror(-error)) : CLI_OK;
}
