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
    bool last_good = false;
    char kept[PLACE_BYTES];
    const struct cli_option flags[] = {{"--detach", "-d", NULL, &options.detach},
                                       {"--last-good", NULL, NULL, &last_good}};
    int words = cli_options(&own, flags, 2, false);
    if (words < 1 || words > 2)
        return cli_usage("up");
    const char *handed = handover_of()->file; /* a reload may have gone over to another */
    const char *file = handed ? handed : words == 2 ? own.argv[1] : "enginx.conf";
    struct topology *topology = load_or_last_good(&own, file, last_good, &options.bundle_fd, kept);
    options.last_good = kept[0] ? kept : NULL;
    return topology ? serve(&own, topology, &options) : CLI_USAGE;
}
