#include "cli/load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
        return said(
            topology_parse(text, length, "the command line", directory, &options, diagnostics),
            diagnostics);
    cli_fail("no memory");
    return NULL;
}
