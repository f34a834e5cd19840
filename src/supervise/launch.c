#include "supervise/launch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "supervise/supervisor.h"
#include "topology/addresses.h"
#include "topology/template.h"

struct texts { /* what the template values point to */
    char state[STATE_PATH_BYTES_MAX + INSTANCE_NAME_BYTES];
    char address[ADDRESS_TEXT_BYTES];
    char home[ADDRESS_TEXT_BYTES];
};

static struct template_values values_of(const struct instance *instance, struct texts *texts)
{
    const struct unit *unit = instance->unit;
    const struct service *service = rolling_service(instance);
    snprintf(texts->state, sizeof texts->state, "%s/data/%s",
             unit->supervisor->options.state_directory, instance->name);
    return (struct template_values){
        .cluster = unit->supervisor->topology->name,
        .service = service->name,
        .realm = service->realm,
        .instance = instance->number,
        .port = service->port_count ? service->ports[0].port : 0,
        .state = texts->state,
        .address = address_format(instance->address, texts->address),
        .home = address_format(unit->home, texts->home),
    };
}

void launch_mark(const struct instance *instance, char *text, size_t size)
{
    snprintf(text, size, LAUNCH_MARK "=%s/%s", instance->unit->supervisor->topology->name,
             instance->name);
}

/* ---- environment ---------------------------------------------------------------------------- */

/* Takes the text over. An entry of the same name is replaced. */
static int env_take(struct launch *launch, char *assignment)
{
    if (!assignment)
        return -ENOMEM;
    size_t name = (size_t)(strchrnul(assignment, '=') - assignment) + 1;
    for (size_t i = 0; i < launch->env_count; i++) {
        if (strncmp(launch->env[i], assignment, name) != 0)
            continue;
        free(launch->env[i]);
        launch->env[i] = assignment;
        return 0;
    }
    if (launch->env_count + 1 >= launch->env_room) {
        size_t room = launch->env_room ? launch->env_room * 2 : 64;
        char **env = reallocarray(launch->env, room, sizeof *env);
        if (!env) {
            free(assignment);
            return -ENOMEM;
        }
        launch->env = env;
        launch->env_room = room;
    }
    launch->env[launch->env_count++] = assignment;
    launch->env[launch->env_count] = NULL;
    launch->plan.env = launch->env;
    return 0;
}

int launch_env_set(struct launch *launch, const char *name, const char *value)
{
    char *assignment = NULL;
    if (asprintf(&assignment, "%s=%s", name, value) < 0)
        return -ENOMEM;
    return env_take(launch, assignment);
}

static const char *env_get(const struct launch *launch, const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < launch->env_count; i++)
        if (strncmp(launch->env[i], name, length) == 0 && launch->env[i][length] == '=')
            return launch->env[i] + length + 1;
    return NULL;
}

/* What enginx was given itself, without what was meant for enginx alone. */
static int env_inherit(struct launch *launch)
{
    static const char *const own[] = {
        "NOTIFY_SOCKET=", "LISTEN_FDS=",   "LISTEN_PID=",    "LISTEN_FDNAMES=",
        "WATCHDOG_USEC=", "WATCHDOG_PID=", "JOURNAL_STREAM="};
    for (char **entry = environ; *entry; entry++) {
        bool passed = true;
        for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
            if (strncmp(*entry, own[i], strlen(own[i])) == 0)
                passed = false;
        if (passed && env_take(launch, strdup(*entry)) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int env_of_user(struct launch *launch, const struct spawn_user *user)
{
    if (!user->change)
        return 0;
    if (launch_env_set(launch, "HOME", user->home[0] ? user->home : "/") < 0 ||
        launch_env_set(launch, "USER", user->name) < 0)
        return -ENOMEM;
    return launch_env_set(launch, "LOGNAME", user->name);
}

static int env_build(struct launch *launch, const struct instance *instance,
                     const struct template_values *values)
{
    const struct service *service = rolling_service(instance);
    char mark[INSTANCE_NAME_BYTES * 2];
    char number[16];
    launch_mark(instance, mark, sizeof mark);
    snprintf(number, sizeof number, "%u", instance->number);
    int error = service->env_clear ? launch_env_set(launch, "PATH", LAUNCH_PATH_DEFAULT)
                                   : env_inherit(launch);
    if (!error && service->env_clear)
        error = launch_env_set(launch, "LANG", "C.UTF-8");
    if (!error)
        error = env_of_user(launch, rolling_user(instance));
    if (!error)
        error = env_take(launch, strdup(mark));
    if (!error)
        error = launch_env_set(launch, "ENGINX_CLUSTER", values->cluster);
    if (!error)
        error = launch_env_set(launch, "ENGINX_SERVICE", values->service);
    if (!error)
        error = launch_env_set(launch, "ENGINX_NUMBER", number);
    if (!error)
        error = launch_env_set(launch, "ENGINX_ADDRESS", values->address);
    if (!error)
        error = launch_env_set(launch, "ENGINX_HOME", values->home);
    for (size_t i = 0; !error && i < service->env_count; i++)
        error = env_take(launch, template_expand(service->env[i], values));
    return error;
}

/* ---- arguments, program, directory ------------------------------------------------------------
 */

static int argv_build(struct launch *launch, const char *const *command,
                      const struct template_values *values)
{
    size_t count = 0;
    while (command[count])
        count++;
    launch->argv = calloc(count + 1, sizeof *launch->argv);
    if (!launch->argv)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        launch->argv[i] = template_expand(command[i], values);
        if (!launch->argv[i])
            return -ENOMEM;
    }
    return 0;
}

static int directory_build(struct launch *launch, const struct instance *instance,
                           const struct template_values *values)
{
    const struct supervisor *supervisor = instance->unit->supervisor;
    const char *text = rolling_service(instance)->directory;
    char *expanded = template_expand(text ? text : ".", values);
    if (!expanded)
        return -ENOMEM;
    if (expanded[0] == '/') {
        launch->directory = expanded;
        return 0;
    }
    const char *base = supervisor->topology->directory;
    int length = text ? asprintf(&launch->directory, "%s/%s", base, expanded)
                      : asprintf(&launch->directory, "%s", base);
    free(expanded);
    if (length < 0)
        launch->directory = NULL;
    return length < 0 ? -ENOMEM : 0;
}

static int program_find(struct launch *launch, char *why, size_t why_size)
{
    const char *path = env_get(launch, "PATH");
    int error = spawn_program_find(launch->argv[0], path ? path : LAUNCH_PATH_DEFAULT,
                                   launch->directory, launch->program, sizeof launch->program);
    const char *said = error == -ENOENT   ? "no such file, in PATH or as stated"
                       : error == -EACCES ? "it is not executable"
                       : error == -EISDIR ? "it is a directory"
                                          : strerror(-error);
    if (error)
        snprintf(why, why_size, "the program %s: %s", launch->argv[0], said);
    return error;
}

int launch_prepare(struct launch *launch, const struct instance *instance,
                   const char *const *command, char *why, size_t why_size)
{
    const struct unit *unit = instance->unit;
    const struct service *service = rolling_service(instance);
    struct texts texts;
    struct template_values values = values_of(instance, &texts);
    *launch = (struct launch){0};
    int error = directory_build(launch, instance, &values);
    values.directory = launch->directory; /* known from here on */
    if (!error)
        error = argv_build(launch, command, &values);
    if (!error)
        error = env_build(launch, instance, &values);
    if (error) {
        snprintf(why, why_size, "its arguments and environment: %s", strerror(-error));
        return error;
    }
    error = program_find(launch, why, why_size);
    if (error)
        return error;
    launch->plan = (struct spawn_plan){
        .program = launch->program,
        .argv = launch->argv,
        .env = launch->env,
        .directory = launch->directory,
        .user = rolling_user(instance),
        .umask = service->umask,
        .descriptors = &unit->supervisor->descriptors_inherited,
        .limits = service->limits,
        .limit_count = service->limit_count,
        .cgroups = unit->supervisor->cgroups,
        .cgroup = instance->grouped ? &instance->cgroup : NULL,
        .output_fd = -1,
        .privileged = unit->supervisor->privileged,
    };
    return 0;
}

static void texts_free(char **texts)
{
    for (char **text = texts; text && *text; text++)
        free(*text);
    free(texts);
}

void launch_done(struct launch *launch)
{
    texts_free(launch->argv);
    texts_free(launch->env);
    free(launch->directory);
    *launch = (struct launch){0};
}
