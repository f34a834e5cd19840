#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/load.h"
#include "cli/serve.h"

int command_up(const struct cli *cli)
{
    struct cli own = *cli;
    struct serve_options options = {0};
    const struct cli_option flags[] = {{"--detach", "-d", NULL, &options.detach}};
    int words = cli_options(&own, flags, 1, false);
    if (words < 1 || words > 2)
        return cli_usage("up");
    struct topology *topology =
        load_topology(&own, words == 2 ? own.argv[1] : "enginx.conf", &options.bundle_fd);
    return topology ? serve(&own, topology, &options) : CLI_USAGE;
}
