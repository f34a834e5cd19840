#include <string.h>
#include <sys/un.h>

#include "topology/builder.h"

/* What speaks of a program that enginx runs. */
static const enum directive_id program_directives[] = {
    DIRECTIVE_RUN,     DIRECTIVE_SHELL,       DIRECTIVE_DIRECTORY,    DIRECTIVE_USER,
    DIRECTIVE_ENV,     DIRECTIVE_ENVIRONMENT, DIRECTIVE_UMASK,        DIRECTIVE_LIMIT,
    DIRECTIVE_QUOTA,   DIRECTIVE_INSTANCES,   DIRECTIVE_PRIORITY,     DIRECTIVE_PORT,
    DIRECTIVE_PUBLISH, DIRECTIVE_WEIGHT,      DIRECTIVE_START,        DIRECTIVE_RESTART,
    DIRECTIVE_STOP,    DIRECTIVE_ROLL,        DIRECTIVE_BEFORE_START, DIRECTIVE_AFTER_STOP,
};

static void program_refuse(struct builder *builder)
{
    for (size_t i = 0; i < sizeof program_directives / sizeof program_directives[0]; i++) {
        const struct statement *at = builder->first[program_directives[i]];
        if (!at)
            continue;
        bool weight = at->directive->id == DIRECTIVE_WEIGHT;
        statement_refuse(builder, at,
                         weight ? "at 10.0.0.7:8080 weight=2;"
                                : "`at` names servers that somebody else runs",
                         "`%s` and `at` exclude each other", at->directive->name);
    }
}

static void remote_take(struct builder *builder, const struct value *value, uint32_t weight,
                        struct remote *remote)
{
    const struct value_endpoint *endpoint = &value->endpoint;
    struct sockaddr_un unix_address;
    remote->weight = weight;
    remote->port = endpoint->port;
    if (endpoint->host) {
        remote->host = arena_strndup(builder->arena, endpoint->host, endpoint->host_length);
        bool six = strchr(remote->host, ':') != NULL;
        remote->text =
            arena_printf(builder->arena, six ? "[%s]:%u" : "%s:%u", remote->host, endpoint->port);
        return;
    }
    remote->path = builder_path(builder, endpoint->path, false);
    remote->text = arena_printf(builder->arena, "unix:%s", remote->path);
    if (strlen(remote->path) >= sizeof unix_address.sun_path)
        value_refuse(builder, value, NULL, "the path of a socket has at most %zu bytes",
                     sizeof unix_address.sun_path - 1);
}

static bool remote_known(const struct remote *remotes, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(remotes[i].text, text) == 0)
            return true;
    return false;
}

static size_t remotes_count(const struct statement *first)
{
    size_t count = 0;
    for (const struct statement *at = statement_next(first, DIRECTIVE_AT); at;
         at = statement_next(at->next, DIRECTIVE_AT))
        count += at->argument_count;
    return count;
}

static void remotes_take(struct builder *builder, struct draft *draft,
                         const struct statement *first, struct remote *remotes)
{
    size_t count = 0;
    uint64_t sum = 0;
    bool weighted = false;
    for (const struct statement *at = statement_next(first, DIRECTIVE_AT); at;
         at = statement_next(at->next, DIRECTIVE_AT)) {
        uint32_t weight = option_number(at, 0);
        weighted |= at->options[0].word != NULL;
        for (size_t i = 0; i < at->argument_count; i++) {
            remote_take(builder, &at->arguments[i], weight, &remotes[count]);
            if (remote_known(remotes, count, remotes[count].text))
                value_refuse(builder, &at->arguments[i], NULL, "`%s` is given twice",
                             remotes[count].text);
            else
                sum += remotes[count++].weight;
        }
    }
    if (count && !sum)
        statement_refuse(builder, first, NULL, "with all weights 0 no endpoint gets a connection");
    if (weighted && !builder->first[DIRECTIVE_BALANCE])
        draft->service.balance = BALANCE_WEIGHTED;
    draft->service.gateway.remotes = remotes;
    draft->service.gateway.remote_count = count;
}

void remotes_gather(struct builder *builder, struct draft *draft)
{
    const struct statement *first = builder->first[DIRECTIVE_AT];
    const struct statement *check = builder->first[DIRECTIVE_CHECK];
    if (!first)
        return;
    program_refuse(builder);
    draft->service.instances = 0;
    if (check && check->valid && !check_by_gateway(draft->service.check))
        value_refuse(builder, &check->arguments[0], "check tcp; or check http PATH;",
                     "this check looks at a program, and `at` names servers that somebody else "
                     "runs");
    const struct statement *role = builder->first[DIRECTIVE_ROLE];
    if (role && role->valid && !role_check_by_gateway(draft->service.role.check))
        value_refuse(builder, &role->arguments[0], "role postgres; or role redis;",
                     "the command runs beside a program, and `at` names servers that somebody else "
                     "runs");
    size_t count = remotes_count(first);
    if (count > SERVICE_REMOTES_MAX)
        statement_refuse(builder, first, NULL, "%zu endpoints are too many: at most %d", count,
                         SERVICE_REMOTES_MAX);
    else if (count)
        remotes_take(builder, draft, first,
                     arena_array(builder->arena, count, sizeof(struct remote)));
}
