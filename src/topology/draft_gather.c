#include <string.h>
#include <sys/resource.h>

#include "topology/builder.h"

/* The choices of the table, in their order. */
static const int limit_resources[] = {RLIMIT_NOFILE,  RLIMIT_NPROC, RLIMIT_CORE,
                                      RLIMIT_MEMLOCK, RLIMIT_STACK, RLIMIT_FSIZE,
                                      RLIMIT_AS,      RLIMIT_DATA,  RLIMIT_CPU};

#define problem(builder, place, hint, ...)                                                         \
    diagnostics_add((builder)->diagnostics, DIAGNOSTIC_ERROR, place, hint, __VA_ARGS__)

/* Arguments of all valid statements of a kind. */
static size_t block_count(const struct builder *builder, enum directive_id id)
{
    size_t count = 0;
    for (const struct statement *at = builder->first[id]; at; at = at->next)
        if (at->directive->id == id && at->valid)
            count += at->argument_count;
    return count;
}
/* The length of `NAME=`. */
static size_t assignment_name(const char *text)
{
    return (size_t)(strchr(text, '=') - text) + 1;
}

/* A variable that is set again has the last value: execve(2) would pass both on. */
static void env_set(struct service *service, const char *text)
{
    size_t length = assignment_name(text);
    for (size_t i = 0; i < service->env_count; i++) {
        if (strncmp(service->env[i], text, length) == 0) {
            service->env[i] = text;
            return;
        }
    }
    service->env[service->env_count++] = text;
}

static void env_gather(struct builder *builder, struct draft *draft)
{
    struct service *service = &draft->service;
    size_t count = block_count(builder, DIRECTIVE_ENV);
    if (!count) {
        service->env = builder->defaults.env;
        return;
    }
    if (count > SERVICE_ENV_MAX) {
        struct place place = statement_place(builder_first(builder, DIRECTIVE_ENV));
        problem(builder, &place, NULL, "%zu variables are too many: at most %d", count,
                SERVICE_ENV_MAX);
        return;
    }
    service->env = arena_array(builder->arena, count + 1, sizeof *service->env);
    for (const struct statement *at = builder->first[DIRECTIVE_ENV]; at; at = at->next)
        for (size_t i = 0;
             at->directive->id == DIRECTIVE_ENV && at->valid && i < at->argument_count; i++)
            env_set(service, builder_text(builder, at->arguments[i].text));
}

static bool limit_known(const struct service_limit *limits, size_t count, int resource)
{
    for (size_t i = 0; i < count; i++)
        if (limits[i].resource == resource)
            return true;
    return false;
}

static void limits_gather(struct builder *builder, struct draft *draft)
{
    enum { LIMIT_KINDS = sizeof limit_resources / sizeof limit_resources[0] };
    struct service_limit limits[LIMIT_KINDS];
    size_t count = 0;
    for (const struct statement *at = builder->first[DIRECTIVE_LIMIT]; at; at = at->next) {
        if (at->directive->id != DIRECTIVE_LIMIT || !at->valid)
            continue;
        const struct value *value = &at->arguments[1];
        int resource = limit_resources[at->arguments[0].choice];
        if (limit_known(limits, count, resource)) {
            struct place place = value_place(&at->arguments[0]);
            problem(builder, &place, NULL, "this limit is given twice");
            continue;
        }
        limits[count].resource = resource;
        limits[count++].value = value->choice == 0 ? RLIM_INFINITY : value->number;
    }
    if (!count)
        return;
    struct service_limit *copy = arena_array(builder->arena, count, sizeof *copy);
    memcpy(copy, limits, count * sizeof *copy);
    draft->service.limits = copy;
    draft->service.limit_count = count;
}

/* False: reported. */
static bool port_fits(struct builder *builder, const struct statement *at,
                      const struct service_port *ports, size_t count,
                      const struct service_port *port)
{
    struct place place = value_place(&at->arguments[0]);
    if (count == SERVICE_PORTS_MAX) {
        problem(builder, &place, NULL, "too many ports: at most %d", SERVICE_PORTS_MAX);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (ports[i].port == port->port && ports[i].protocol == port->protocol) {
            problem(builder, &place, NULL, "port %u is given twice", port->port);
            return false;
        }
    }
    return true;
}

static void ports_gather(struct builder *builder, struct draft *draft)
{
    struct service_port ports[SERVICE_PORTS_MAX];
    const struct statement *none = NULL;
    struct service *service = &draft->service;
    size_t count = 0;
    for (const struct statement *at = builder->first[DIRECTIVE_PORT]; at; at = at->next) {
        if (at->directive->id != DIRECTIVE_PORT || !at->valid)
            continue;
        if (at->arguments[0].choice == 0) {
            none = at;
            continue;
        }
        struct service_port port = {
            .port = (uint16_t)at->arguments[0].number,
            .protocol = at->argument_count > 1 && at->arguments[1].choice == 1 ? PROTOCOL_UDP
                                                                               : PROTOCOL_TCP,
            .activation = at->options[0].choice == 1,
        };
        if (port_fits(builder, at, ports, count, &port))
            ports[count++] = port;
    }
    service->listens = !none;
    if (none && (count || none->argument_count > 1 || none->options[0].word)) {
        struct place place = value_place(&none->arguments[0]);
        problem(builder, &place, "it says that the program listens nowhere",
                "`port none` stands alone");
    }
    if (!count)
        return;
    struct service_port *copy = arena_array(builder->arena, count, sizeof *copy);
    memcpy(copy, ports, count * sizeof *copy);
    service->ports = copy;
    service->port_count = count;
}

static void weights_gather(struct builder *builder, struct draft *draft)
{
    const struct statement *at = builder_first(builder, DIRECTIVE_WEIGHT);
    struct service *service = &draft->service;
    if (!at || !at->valid || builder_first(builder, DIRECTIVE_AT))
        return;
    struct place place = statement_place(at);
    size_t count = at->argument_count;
    const struct statement *instances = builder_first(builder, DIRECTIVE_INSTANCES);
    if (count > service_instances_most(service) && (!instances || instances->valid))
        problem(builder, &place, "one weight for each instance, in their order",
                "%zu weights for %u instance%s", count, service->instances,
                service->instances == 1 ? "" : "s");
    if (service->balance != BALANCE_WEIGHTED && builder_first(builder, DIRECTIVE_BALANCE))
        problem(builder, &place, "balance weighted;", "only `balance weighted` has weights");
    uint32_t *weights = arena_array(builder->arena, count, sizeof *weights);
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += weights[i] = (uint32_t)at->arguments[i].number;
    if (!sum && count >= service->instances)
        problem(builder, &place, NULL, "with all weights 0 no instance gets a connection");
    service->balance = BALANCE_WEIGHTED;
    service->weights = weights;
    service->weight_count = count;
}

/* The names are resolved later, when the block's statements are gone. */
static void uses_gather(struct builder *builder, struct draft *draft)
{
    size_t count = block_count(builder, DIRECTIVE_USES);
    struct value *uses = arena_array(builder->tree_arena, count, sizeof *uses);
    for (const struct statement *at = builder_first(builder, DIRECTIVE_USES); at; at = at->next) {
        if (at->directive->id != DIRECTIVE_USES || !at->valid)
            continue;
        memcpy(uses + draft->uses_count, at->arguments, at->argument_count * sizeof *uses);
        draft->uses_count += at->argument_count;
    }
    draft->uses = uses;
}
void draft_gather(struct builder *builder, struct draft *draft)
{
    env_gather(builder, draft);
    limits_gather(builder, draft);
    ports_gather(builder, draft);
    weights_gather(builder, draft);
    uses_gather(builder, draft);
    steps_gather(builder, draft);
    scale_check(builder, &draft->service);
}
