#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/scoped.h"
#include "cli/load.h"
#include "cli/run_text.h"
#include "cli/serve.h"

/* `enginx run` is a file of one service that nobody had to write: the words of the command line
 * become the text of a configuration, which then goes the way of every other. */

enum { TEXT_BYTES_MAX = 1024 * 1024 };

int command_run(const struct cli *cli)
{
    struct cli own = *cli;
    struct run_options options = {0};
    struct serve_options serving = {.end_when_idle = true};
    /* The options that all commands have are here as well, since behind `run` they end where the
     * program begins: its own -c is not for us. */
    const struct cli_option table[] = {
        {"--instances", "-n", &options.count, NULL}, {"--port", "-p", &options.port, NULL},
        {"--name", NULL, &options.name, NULL},       {"--user", "-u", &options.user, NULL},
        {"--memory", NULL, &options.memory, NULL},   {"--cpu", NULL, &options.cpu, NULL},
        {"--tasks", NULL, &options.tasks, NULL},     {"--steering", NULL, &options.steering, NULL},
        {"--cluster", "-c", &own.cluster, NULL},     {"--state", NULL, &own.state, NULL},
        {"--cgroup", NULL, &own.cgroup, NULL},       {"--restart", NULL, &options.restart, NULL},
        {"--detach", "-d", NULL, &serving.detach},
    };
    int words = cli_options(&own, table, sizeof table / sizeof table[0], true);
    if (words < 2)
        return cli_usage("run");
    if (options.port && !run_port_valid(options.port)) {
        cli_fail("run: %s is not a port: 8080, 8080/tcp, 53/udp", options.port);
        return CLI_USAGE;
    }
    scoped_memory char *here = getcwd(NULL, 0);
    struct buffer text;
    buffer_init(&text, TEXT_BYTES_MAX);
    run_text_build(&text, &options, own.argv + 1);
    struct topology *topology = NULL;
    if (text.overflowed || !here)
        cli_fail("the command line is too long");
    else
        topology = load_text(&own, text.data, text.length, here, &serving.bundle_fd);
    buffer_done(&text);
    return topology ? serve(&own, topology, &serving) : CLI_USAGE;
}
