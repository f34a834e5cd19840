#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/handover.h"
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
    const char *handed = handover_of()->file; /* a reload may have gone over to another */
    const char *file = handed ? handed : words == 2 ? own.argv[1] : "enginx.conf";
    struct topology *topology = load_topology(&own, file, &options.bundle_fd);
    return topology ? serve(&own, topology, &options) : CLI_USAGE;
}
