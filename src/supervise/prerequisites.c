#include "supervise/prerequisites.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "supervise/launch.h"
#include "supervise/spawn.h"

struct looking {
    const struct topology *topology;
    const struct bundle *bundle;
    struct diagnostics *diagnostics;
    const char *file; /* whose text that is; of the service before, mostly the same */
    const char *text; /* the line is searched from here on */
    size_t line;
};

/* Services stand in the order of their lines, so that the text is walked through once. */
static const char *line_find(struct looking *looking, const struct spot *spot)
{
    if (!looking->bundle)
        return NULL;
    if (looking->file != spot->file || spot->line < looking->line) {
        looking->file = spot->file;
        looking->text = bundle_find(looking->bundle, BUNDLE_SOURCE, spot->file, NULL);
        looking->line = 1;
    }
    for (; looking->text && looking->line < spot->line; looking->line++) {
        const char *end = strchr(looking->text, '\n');
        looking->text = end ? end + 1 : NULL;
    }
    return looking->text;
}

static struct place place_of(struct looking *looking, const struct service *service,
                             const struct spot *spot)
{
    if (!spot->file)
        return (struct place){.file = service->file, .line = service->line, .column = 1};
    return (struct place){.file = spot->file,
                          .source = line_find(looking, spot),
                          .line = spot->line,
                          .column = spot->column,
                          .length = spot->length};
}

/* As the file calls it. */
static const char *kind_of(const struct service *service)
{
    return service->job ? "job" : "service";
}

static void user_check(struct looking *looking, const struct service *service)
{
    struct spawn_user user;
    int error = service->user ? spawn_user_find(service->user, service->group, &user) : 0;
    bool barred = !error && service->user && geteuid() != 0 && user.uid != geteuid();
    if (!error && !barred)
        return;
    struct place place = place_of(looking, service, &service->user_at);
    if (error == -ENOENT)
        diagnostics_add(looking->diagnostics, DIAGNOSTIC_ERROR, &place, NULL,
                        "%s %s: there is no user `%s` on this machine", kind_of(service),
                        service->name, service->user);
    else if (error)
        diagnostics_add(looking->diagnostics, DIAGNOSTIC_ERROR, &place, NULL,
                        "%s %s: user `%s`, group `%s`: %s", kind_of(service), service->name,
                        service->user, service->group ? service->group : "-", strerror(-error));
    else
        diagnostics_add(looking->diagnostics, DIAGNOSTIC_ERROR, &place,
                        "start enginx as root, or leave `user` out",
                        "%s %s: only root can start a program as user `%s`", kind_of(service),
                        service->name, service->user);
}

/* The folder that it runs in; NULL: that is not there, or known only when it starts. */
static const char *directory_check(struct looking *looking, const struct service *service)
{
    const char *directory = service->directory ? service->directory : looking->topology->directory;
    struct stat status;
    if (strchr(directory, '$'))
        return service->directory ? NULL : directory;
    if (stat(directory, &status) == 0 && S_ISDIR(status.st_mode))
        return directory;
    if (!service->directory || errno == EACCES)
        return NULL;
    struct place place = place_of(looking, service, &service->directory_at);
    diagnostics_add(looking->diagnostics, DIAGNOSTIC_WARNING, &place, NULL,
                    "%s %s: there is no folder `%s`", kind_of(service), service->name, directory);
    return NULL;
}

/* As it will be in the program's environment (launch.c). NULL: that is a template. */
static const char *path_of(const struct service *service)
{
    const char *path = service->env_clear ? NULL : getenv("PATH");
    for (size_t i = 0; i < service->env_count; i++)
        if (strncmp(service->env[i], "PATH=", strlen("PATH=")) == 0)
            path = service->env[i] + strlen("PATH=");
    if (!path)
        return LAUNCH_PATH_DEFAULT;
    return strchr(path, '$') ? NULL : path;
}

/* Whether somebody else might run what we may not is not ours to say. */
static bool runs_for_nobody(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 &&
           (!S_ISREG(status.st_mode) || !(status.st_mode & (S_IXUSR | S_IXGRP | S_IXOTH)));
}

static void program_check(struct looking *looking, const struct service *service,
                          const char *directory)
{
    const char *program = service->argv[0];
    const char *path = path_of(service);
    char found[PATH_MAX];
    if (!path || strchr(program, '$'))
        return;
    int error = spawn_program_find(program, path, directory, found, sizeof found);
    bool slash = strchr(program, '/') != NULL;
    if (error == -EACCES && !(slash && runs_for_nobody(found)))
        return;
    if (error != -ENOENT && error != -EISDIR && error != -EACCES)
        return;
    struct place place = place_of(looking, service, &service->program_at);
    diagnostics_add(looking->diagnostics, DIAGNOSTIC_WARNING, &place, NULL,
                    "%s %s: the program `%s` %s", kind_of(service), service->name, program,
                    error == -EISDIR   ? "is a folder"
                    : error == -EACCES ? "is not executable"
                    : slash            ? "is not there"
                                       : "is not in PATH");
}

void prerequisites_check(const struct topology *topology, const struct bundle *bundle,
                         struct diagnostics *diagnostics)
{
    struct looking looking = {.topology = topology, .bundle = bundle, .diagnostics = diagnostics};
    for (size_t i = 0; i < topology->service_count; i++) {
        const struct service *service = &topology->services[i];
        if (diagnostics_full(diagnostics))
            return;
        user_check(&looking, service);
        if (service->absent || !service->argc)
            continue;
        const char *directory = directory_check(&looking, service);
        if (directory)
            program_check(&looking, service, directory);
    }
}
