#include "cli/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/scoped.h"
#include "cli/preflight.h"
#include "supervise/console.h"
#include "supervise/loading.h"

/* With a priority before each line, as sd-daemon(3) describes. */
static void journal_print(const struct diagnostics *diagnostics)
{
    scoped_memory char *text = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&text, &length);
    if (!memory)
        return;
    diagnostics_print(diagnostics, memory, false);
    if (fclose(memory) != 0)
        return;
    int priority = diagnostics_errors(diagnostics) ? LOG_ERR : LOG_WARNING;
    char *rest = text;
    for (char *line = strsep(&rest, "\n"); rest; line = strsep(&rest, "\n"))
        fprintf(stderr, "<%d>%s\n", priority, line);
}

static struct topology *said(struct topology *topology, struct diagnostics *diagnostics)
{
    bool any = diagnostics_errors(diagnostics) || diagnostics_warnings(diagnostics);
    if (any && console_is_journal(STDERR_FILENO))
        journal_print(diagnostics);
    else if (any)
        diagnostics_print(diagnostics, stderr, isatty(STDERR_FILENO) && !getenv("NO_COLOR"));
    else if (!topology)
        cli_fail("no memory");
    diagnostics_free(diagnostics);
    return topology;
}

/* What only the gateway would find out makes it wrong as well. */
static struct topology *tried(struct topology *topology, struct diagnostics *diagnostics,
                              int *ret_bundle)
{
    if (!topology || !ret_bundle)
        return topology;
    preflight_run(topology, *ret_bundle, diagnostics);
    if (!diagnostics_errors(diagnostics))
        return topology;
    fd_drop(ret_bundle);
    topology_free(topology);
    return NULL;
}

struct topology *load_topology(const struct cli *cli, const char *path, int *ret_bundle)
{
    struct diagnostics *diagnostics = diagnostics_new();
    if (diagnostics) {
        struct topology *topology = loading_file(path, cli->cluster, diagnostics, ret_bundle);
        return said(tried(topology, diagnostics, ret_bundle), diagnostics);
    }
    cli_fail("no memory");
    return NULL;
}

bool load_preflight(const char *path)
{
    scoped_fd int bundle = -1;
    struct diagnostics *loaded = diagnostics_new();
    struct diagnostics *diagnostics = diagnostics_new();
    struct topology *topology =
        loaded && diagnostics ? loading_file(path, NULL, loaded, &bundle) : NULL;
    diagnostics_free(loaded);
    if (!topology) {
        diagnostics_free(diagnostics);
        return true;
    }
    preflight_run(topology, bundle, diagnostics);
    bool fine = !diagnostics_errors(diagnostics);
    topology_free(said(topology, diagnostics));
    return fine;
}

struct topology *load_or_last_good(const struct cli *cli, const char *path, bool take,
                                   int *ret_bundle, char ret_path[PLACE_BYTES])
{
    if (place_last_good(cli, path, ret_path) < 0)
        ret_path[0] = 0;
    struct topology *topology = load_topology(cli, path, ret_bundle);
    struct stat stat;
    if (topology || !ret_path[0] || lstat(ret_path, &stat) < 0)
        return topology;
    char text[CLOCK_TEXT_BYTES];
    clock_format((uint64_t)stat.st_mtime * 1000, text);
    if (!take) {
        fprintf(stderr, "the last good one, of %s, is kept: --last-good starts it\n", text);
        return NULL;
    }
    struct diagnostics *diagnostics = diagnostics_new();
    fprintf(stderr, "enginx: %s is wrong; the last good one, of %s, is used\n", path, text);
    return diagnostics ? said(loading_last_good(ret_path, diagnostics, ret_bundle), diagnostics)
                       : NULL;
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
