#include "cli/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "supervise/loading.h"

static struct topology *said(struct topology *topology, struct diagnostics *diagnostics)
{
    if (diagnostics_errors(diagnostics) || diagnostics_warnings(diagnostics))
        diagnostics_print(diagnostics, stderr, isatty(STDERR_FILENO) && !getenv("NO_COLOR"));
    else if (!topology)
        cli_fail("no memory");
    diagnostics_free(diagnostics);
    return topology;
}

struct topology *load_topology(const struct cli *cli, const char *path, int *ret_bundle)
{
    struct diagnostics *diagnostics = diagnostics_new();
    if (diagnostics)
        return said(loading_file(path, cli->cluster, diagnostics, ret_bundle), diagnostics);
    cli_fail("no memory");
    return NULL;
}

struct topology *load_text(const struct cli *cli, const char *text, size_t length,
                           const char *directory, int *ret_bundle)
{
    struct diagnostics *diagnostics = diagnostics_new();
    if (diagnostics)
        return said(loading_text(text, length, directory, cli->cluster, diagnostics, ret_bundle),
                    diagnostics);
    cli_fail("no memory");
    return NULL;
}
