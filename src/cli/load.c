#include "cli/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "topology/build.h"

static struct topology *said(struct topology *topology, struct diagnostics *diagnostics)
{
    if (diagnostics_errors(diagnostics) || diagnostics_warnings(diagnostics))
        diagnostics_print(diagnostics, stderr, isatty(STDERR_FILENO) && !getenv("NO_COLOR"));
    diagnostics_free(diagnostics);
    return topology;
}

struct topology *load_topology(const struct cli *cli, const char *path)
{
    struct diagnostics *diagnostics = diagnostics_new();
    struct topology_options options = {.name_override = cli->cluster, .environment = environ};
    if (diagnostics)
        return said(topology_load(path, &options, diagnostics), diagnostics);
    cli_fail("no memory");
    return NULL;
}

struct topology *load_text(const struct cli *cli, const char *text, size_t length,
                           const char *directory)
{
    struct diagnostics *diagnostics = diagnostics_new();
    struct topology_options options = {.name_override = cli->cluster, .environment = environ};
    if (diagnostics)
        return said(topology_parse(text, length, "the command line", directory, &options,
                                   diagnostics),
                    diagnostics);
    cli_fail("no memory");
    return NULL;
}
