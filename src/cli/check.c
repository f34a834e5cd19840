#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/scoped.h"
#include "cli/load.h"
#include "supervise/explain.h"

static void fine_print(const char *file, const struct topology *topology)
{
    size_t jobs = 0;
    for (size_t i = 0; i < topology->service_count; i++)
        jobs += topology->services[i].job != NULL;
    printf("%s: cluster %s, %zu services, ", file, topology->name, topology->service_count - jobs);
    if (jobs)
        printf("%zu jobs, ", jobs);
    printf("%zu listeners: fine\n", topology->listener_count);
}

int command_check(const struct cli *cli)
{
    bool explain = false;
    struct cli own = *cli;
    const struct cli_option options[] = {{"--explain", NULL, NULL, &explain}};
    int words = cli_options(&own, options, 1, false);
    if (words < 1 || words > 2)
        return cli_usage("check");
    scoped_fd int bundle = -1;
    const char *file = words == 2 ? own.argv[1] : "enginx.conf";
    struct topology *topology = load_topology(&own, file, &bundle);
    if (!topology)
        return CLI_USAGE;
    fine_print(file, topology);
    if (explain)
        explain_print(topology, own.cgroup, stdout);
    topology_free(topology);
    return CLI_OK;
}
