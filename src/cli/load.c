#include "cli/load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/bundle.h"
#include "supervise/spawn.h"
#include "topology/build.h"

/* Users and groups are looked up here, where an error can still be shown at its place. */
static void users_check(const struct topology *topology, struct diagnostics *diagnostics)
{
    for (size_t i = 0; i < topology->service_count; i++) {
        const struct service *service = &topology->services[i];
        struct spawn_user user;
        int error = service->user ? spawn_user_find(service->user, service->group, &user) : 0;
        struct place place = {.file = service->file, .line = service->line};
        if (error == -ENOENT)
            diagnostics_add(diagnostics, DIAGNOSTIC_ERROR, &place, NULL,
                            "service %s: there is no user `%s` on this machine", service->name,
                            service->user);
        else if (error)
            diagnostics_add(diagnostics, DIAGNOSTIC_ERROR, &place, NULL,
                            "service %s: user `%s`, group `%s`: %s", service->name, service->user,
                            service->group ? service->group : "-", strerror(-error));
        else if (service->user && geteuid() != 0 && user.uid != geteuid())
            diagnostics_add(diagnostics, DIAGNOSTIC_ERROR, &place,
                            "start enginx as root, or leave `user` out",
                            "service %s: only root can start a program as user `%s`", service->name,
                            service->user);
    }
}

static struct topology *said(struct topology *topology, struct diagnostics *diagnostics)
{
    if (topology)
        users_check(topology, diagnostics);
    if (topology && diagnostics_errors(diagnostics)) {
        topology_free(topology);
        topology = NULL;
    }
    if (diagnostics_errors(diagnostics) || diagnostics_warnings(diagnostics))
        diagnostics_print(diagnostics, stderr, isatty(STDERR_FILENO) && !getenv("NO_COLOR"));
    diagnostics_free(diagnostics);
    return topology;
}

/* What a load needs beside the configuration itself. */
struct loading {
    struct diagnostics *diagnostics;
    struct bundle *bundle; /* NULL: nobody wants it */
    struct topology_options options;
};

static bool loading_begin(struct loading *loading, const struct cli *cli, bool bundled)
{
    *loading = (struct loading){.diagnostics = diagnostics_new(),
                                .bundle = bundled ? bundle_new() : NULL};
    loading->options = (struct topology_options){
        .name_override = cli->cluster, .environment = environ, .collect = loading->bundle};
    if (loading->diagnostics && (loading->bundle || !bundled))
        return true;
    diagnostics_free(loading->diagnostics);
    bundle_free(loading->bundle);
    cli_fail("no memory");
    return false;
}

static struct topology *loading_end(struct loading *loading, struct topology *topology,
                                    int *ret_bundle)
{
    topology = said(topology, loading->diagnostics);
    if (topology && ret_bundle) {
        *ret_bundle = bundle_seal(loading->bundle);
        if (*ret_bundle < 0) {
            cli_fail("the configuration cannot be kept: %s", strerror(-*ret_bundle));
            topology_free(topology);
            topology = NULL;
        }
    }
    bundle_free(loading->bundle);
    return topology;
}

struct topology *load_topology(const struct cli *cli, const char *path, int *ret_bundle)
{
    struct loading loading;
    if (!loading_begin(&loading, cli, ret_bundle))
        return NULL;
    return loading_end(&loading, topology_load(path, &loading.options, loading.diagnostics),
                       ret_bundle);
}

struct topology *load_text(const struct cli *cli, const char *text, size_t length,
                           const char *directory, int *ret_bundle)
{
    struct loading loading;
    if (!loading_begin(&loading, cli, ret_bundle))
        return NULL;
    return loading_end(&loading,
                       topology_parse(text, length, "the command line", directory,
                                      &loading.options, loading.diagnostics),
                       ret_bundle);
}
