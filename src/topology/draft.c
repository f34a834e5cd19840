#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "conf/nearest.h"
#include "topology/addresses.h"
#include "topology/builder.h"
#include "topology/definition.h"

enum { HINT_BYTES = 256 };

static_assert((int)SERVICE_INSTANCES_MAX == (int)DIRECTIVE_INSTANCES_MAX,
              "the table bounds `instances`");

/* The choices of the table, in their order. */
static const int limit_resources[] = {RLIMIT_NOFILE,  RLIMIT_NPROC, RLIMIT_CORE,
                                      RLIMIT_MEMLOCK, RLIMIT_STACK, RLIMIT_FSIZE,
                                      RLIMIT_AS,      RLIMIT_DATA,  RLIMIT_CPU};
static const enum restart_policy restart_policies[] = {RESTART_ALWAYS, RESTART_ON_FAILURE,
                                                       RESTART_NEVER};

#define problem(builder, place, hint, ...)                                                         \
    diagnostics_add((builder)->diagnostics, DIAGNOSTIC_ERROR, place, hint, __VA_ARGS__)

/* The first statement of a kind in the block of the draft being read; NULL: none. */
static const struct statement *block_find(const struct builder *builder, enum directive_id id)
{
    return builder->first[id];
}

/* Arguments of all valid statements of a kind. */
static size_t block_count(const struct builder *builder, enum directive_id id)
{
    size_t count = 0;
    for (const struct statement *at = builder->first[id]; at; at = at->next)
        if (at->directive->id == id && at->valid)
            count += at->argument_count;
    return count;
}

static const char **texts_take(struct builder *builder, const struct value *values, size_t count)
{
    const char **texts = arena_array(builder->arena, count + 1, sizeof *texts);
    for (size_t i = 0; i < count; i++)
        texts[i] = builder_text(builder, values[i].text);
    return texts;
}

static void restart_apply(struct service *service, const struct statement *statement)
{
    service->restart = restart_policies[statement->arguments[0].choice];
    service->backoff_min_ms = (uint32_t)statement->options[0].range.low;
    service->backoff_max_ms = (uint32_t)statement->options[0].range.high;
    service->restart_tries = option_number(statement, 1);
    service->restart_reset_ms = option_number(statement, 2);
}

static void instances_apply(struct builder *builder, struct service *service,
                            const struct statement *statement)
{
    const struct value *value = &statement->arguments[0];
    if (value->range.low != value->range.high) {
        struct place place = value_place(value);
        problem(builder, &place, "available: one number",
                "a range of instances is not in this version yet");
    }
    service->instances = (uint32_t)value->range.low;
}

static void shell_apply(struct builder *builder, struct service *service,
                        const struct statement *statement)
{
    service->argc = 3;
    service->argv = arena_array(builder->arena, service->argc + 1, sizeof *service->argv);
    service->argv[0] = "/bin/sh";
    service->argv[1] = "-c";
    service->argv[2] = builder_text(builder, statement->arguments[0].text);
    service->shell = true;
}

static void user_apply(struct builder *builder, struct service *service,
                       const struct statement *statement)
{
    service->user = builder_text(builder, statement->arguments[0].text);
    if (statement->options[0].given)
        service->group = builder_text(builder, statement->options[0].text);
}

/* Directives that say everything by themselves. */
static void statement_apply(struct builder *builder, struct service *service,
                            const struct statement *statement)
{
    const struct value *first = &statement->arguments[0];
    switch ((int)statement->directive->id) {
    case DIRECTIVE_RUN:
        service->argc = statement->argument_count;
        service->argv = texts_take(builder, first, service->argc);
        break;
    case DIRECTIVE_SHELL:
        shell_apply(builder, service, statement);
        break;
    case DIRECTIVE_DIRECTORY:
        service->directory = builder_path(builder, first->text, true);
        break;
    case DIRECTIVE_USER:
        user_apply(builder, service, statement);
        break;
    case DIRECTIVE_ENVIRONMENT:
        service->env_clear = first->choice == 1;
        break;
    case DIRECTIVE_UMASK:
        service->umask = (int)first->number;
        break;
    case DIRECTIVE_QUOTA:
        builder_quota(&service->quota, statement);
        break;
    case DIRECTIVE_INSTANCES:
        instances_apply(builder, service, statement);
        break;
    case DIRECTIVE_PUBLISH:
        service->publish = first->choice == 1;
        break;
    case DIRECTIVE_BALANCE:
        balance_apply(builder, service, statement);
        break;
    case DIRECTIVE_CHECK:
        check_apply(builder, service, statement);
        break;
    case DIRECTIVE_START:
        service->start_within_ms = option_number(statement, 0);
        break;
    case DIRECTIVE_RESTART:
        restart_apply(service, statement);
        break;
    case DIRECTIVE_STOP:
        service->stop_signal = first->signal;
        service->stop_within_ms = option_number(statement, 0);
        service->stop_drain_ms = option_number(statement, 1);
        break;
    default: /* those that may repeat are gathered below */
        draft_gateway_apply(builder, service, statement);
        break;
    }
}

void draft_defaults(struct builder *builder)
{
    static const enum directive_id ids[] = {
        DIRECTIVE_INSTANCES, DIRECTIVE_ENVIRONMENT,     DIRECTIVE_PUBLISH, DIRECTIVE_BALANCE,
        DIRECTIVE_CHECK,     DIRECTIVE_START,           DIRECTIVE_RESTART, DIRECTIVE_STOP,
        DIRECTIVE_CAPACITY,  DIRECTIVE_SERVICE_TIMEOUT, DIRECTIVE_RETRY,   DIRECTIVE_HOLD,
        DIRECTIVE_EJECT};
    struct service *defaults = &builder->defaults;
    *defaults = (struct service){.realm = "", .umask = -1, .listens = true};
    defaults->env = arena_array(builder->arena, 1, sizeof *defaults->env);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        statement_apply(builder, defaults, check_defaults(&builder->checker, ids[i]));
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
        struct place place = statement_place(block_find(builder, DIRECTIVE_ENV));
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
    const struct statement *at = block_find(builder, DIRECTIVE_WEIGHT);
    struct service *service = &draft->service;
    if (!at || !at->valid || block_find(builder, DIRECTIVE_AT))
        return;
    struct place place = statement_place(at);
    size_t count = at->argument_count;
    const struct statement *instances = block_find(builder, DIRECTIVE_INSTANCES);
    if (count > service->instances && (!instances || instances->valid))
        problem(builder, &place, "one weight for each instance, in their order",
                "%zu weights for %u instance%s", count, service->instances,
                service->instances == 1 ? "" : "s");
    if (service->balance != BALANCE_WEIGHTED && block_find(builder, DIRECTIVE_BALANCE))
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

static void program_check(struct builder *builder, const struct draft *draft)
{
    const struct statement *run = block_find(builder, DIRECTIVE_RUN);
    const struct statement *shell = block_find(builder, DIRECTIVE_SHELL);
    if (!run && !shell && !block_find(builder, DIRECTIVE_AT)) {
        struct place place = value_place(&draft->statement->arguments[0]);
        problem(builder, &place, "run PROGRAM ARGUMENTS…; or shell \"…\"; or at HOST:PORT;",
                "service `%s` has no program", draft->service.name);
    } else if (run && shell) {
        struct place place = statement_place(shell);
        problem(builder, &place, "one of them says what the program is",
                "`run` and `shell` exclude each other");
    }
}

static void block_check(struct builder *builder, const struct draft *draft)
{
    const struct statement *check = block_find(builder, DIRECTIVE_CHECK);
    program_check(builder, draft);
    if (check && check->valid && draft->service.check == CHECK_LISTEN && !draft->service.listens) {
        struct place place = statement_place(check);
        problem(builder, &place, "leave it out: with `port none` a program is up when it runs",
                "`check listen` never succeeds with `port none`");
    }
}

/* The name is free; false: reported. */
static bool draft_register(struct builder *builder, struct draft *draft)
{
    void *other = NULL;
    int error = table_add(builder->names, draft->service.name, draft, &other);
    if (error == -ENOMEM)
        builder_no_memory(builder);
    if (!error)
        return true;
    const struct draft *first = other;
    char hint[HINT_BYTES];
    struct place place = value_place(&draft->statement->arguments[0]);
    snprintf(hint, sizeof hint, "the first stands in %s:%zu", first->service.file,
             first->service.line);
    problem(builder, &place, hint, "there are two services `%s`", draft->service.name);
    return false;
}

static void draft_name(struct builder *builder, struct draft *draft,
                       const struct variables *variables)
{
    struct service *service = &draft->service;
    draft->local_name = builder_text(builder, draft->statement->arguments[0].text);
    service->name = draft->local_name;
    if (variables->realm) {
        service->realm = builder_text(builder, variables->realm);
        service->name = arena_printf(builder->arena, "%s.%s", service->realm, draft->local_name);
    }
    service->line = draft->statement->node->name.line;
    service->file = builder_file(builder, draft->statement);
}

/* The names are resolved later, when the block's statements are gone. */
static void uses_gather(struct builder *builder, struct draft *draft)
{
    size_t count = block_count(builder, DIRECTIVE_USES);
    struct value *uses = arena_array(builder->tree_arena, count, sizeof *uses);
    for (const struct statement *at = block_find(builder, DIRECTIVE_USES); at; at = at->next) {
        if (at->directive->id != DIRECTIVE_USES || !at->valid)
            continue;
        memcpy(uses + draft->uses_count, at->arguments, at->argument_count * sizeof *uses);
        draft->uses_count += at->argument_count;
    }
    draft->uses = uses;
}

/* Everything that the block says. */
static void block_apply(struct builder *builder, struct draft *draft, const struct statement *block)
{
    memset(builder->first, 0, sizeof builder->first);
    for (const struct statement *at = block; at; at = at->next) {
        if (!builder->first[at->directive->id])
            builder->first[at->directive->id] = at;
        if (at->valid)
            statement_apply(builder, &draft->service, at);
    }
    env_gather(builder, draft);
    limits_gather(builder, draft);
    ports_gather(builder, draft);
    weights_gather(builder, draft);
    uses_gather(builder, draft);
    remotes_gather(builder, draft);
    block_check(builder, draft);
}

static void draft_enlist(struct builder *builder, struct draft *draft)
{
    if (builder->topology->service_count == TOPOLOGY_SERVICES_MAX) {
        struct place place = statement_place(draft->statement);
        problem(builder, &place, NULL, "too many services: at most %d", TOPOLOGY_SERVICES_MAX);
        return;
    }
    if (!draft_register(builder, draft))
        return;
    draft->service.index = (uint32_t)builder->topology->service_count++;
    *builder->drafts_tail = draft;
    builder->drafts_tail = &draft->next;
}

void draft_add(struct builder *builder, const struct statement *statement,
               const struct variables *variables)
{
    size_t mark = check_pool_begin(&builder->checker);
    const struct statement *block =
        check_block(&builder->checker, statement->node->children, CONTEXT_SERVICE, variables);
    if (statement->valid) { /* otherwise without a name; the block was checked for its own errors */
        struct draft *draft = arena_alloc(builder->tree_arena, sizeof *draft);
        draft->service = builder->defaults;
        draft->statement = statement;
        draft_name(builder, draft, variables);
        block_apply(builder, draft, block);
        draft_enlist(builder, draft);
    }
    check_pool_end(&builder->checker, mark);
}

static void draft_unknown(struct builder *builder, const char *name, const struct place *place,
                          const char *realm)
{
    char hint[HINT_BYTES];
    struct nearest nearest = {.word = name};
    /* A hint looks at every service; for one that nobody sees that is too much. */
    for (const struct draft *at = diagnostics_full(builder->diagnostics) ? NULL : builder->drafts;
         at; at = at->next) {
        nearest_try(&nearest, at->service.name);
        if (strcmp(at->service.realm, realm) == 0)
            nearest_try(&nearest, at->local_name);
    }
    if (nearest.best)
        snprintf(hint, sizeof hint, "did you mean `%s`?", nearest.best);
    problem(builder, place, nearest.best ? hint : NULL, "there is no service `%s`", name);
}

const struct draft *draft_resolve(struct builder *builder, const char *name,
                                  const struct place *place, const char *realm)
{
    const struct draft *draft = NULL;
    if (*realm) {
        buffer_clear(&builder->scratch);
        buffer_printf(&builder->scratch, "%s.%s", realm, name);
        if (builder->scratch.overflowed)
            builder_no_memory(builder);
        draft = table_get(builder->names, builder->scratch.data);
    }
    if (!draft)
        draft = table_get(builder->names, name);
    if (!draft)
        draft_unknown(builder, name, place, realm);
    return draft;
}

const struct draft *draft_published(struct builder *builder, const char *name,
                                    const struct place *place, const struct variables *variables)
{
    const struct draft *draft =
        draft_resolve(builder, name, place, variables->realm ? variables->realm : "");
    if (draft && !draft->service.listens)
        problem(builder, place, "its `port none` says so", "`%s` listens nowhere",
                draft->service.name);
    return draft;
}

static bool uses_known(const uint32_t *uses, size_t count, uint32_t index)
{
    for (size_t i = 0; i < count; i++)
        if (uses[i] == index)
            return true;
    return false;
}

static void use_add(struct builder *builder, struct draft *draft, const struct value *value,
                    uint32_t uses[SERVICE_USES_MAX])
{
    struct service *service = &draft->service;
    struct place place = value_place(value);
    const struct draft *used = draft_resolve(builder, value->text, &place, service->realm);
    if (!used || uses_known(uses, service->uses_count, used->service.index))
        return;
    if (used == draft)
        problem(builder, &place, NULL, "`%s` cannot use itself", service->name);
    else if (service->uses_count == SERVICE_USES_MAX)
        problem(builder, &place, NULL, "too many services used: at most %d", SERVICE_USES_MAX);
    else
        uses[service->uses_count++] = used->service.index;
}

static void uses_resolve(struct builder *builder, struct draft *draft)
{
    uint32_t uses[SERVICE_USES_MAX];
    for (size_t i = 0; i < draft->uses_count; i++)
        use_add(builder, draft, &draft->uses[i], uses);
    size_t count = draft->service.uses_count;
    if (!count)
        return;
    uint32_t *copy = arena_array(builder->arena, count, sizeof *copy);
    memcpy(copy, uses, count * sizeof *copy);
    draft->service.uses = copy;
}

/* Each instance has an address of its own, and there is an end to them. */
static void blocks_check(struct builder *builder)
{
    uint32_t blocks = 0;
    for (const struct draft *at = builder->drafts; at; at = at->next) {
        blocks += addresses_blocks_needed(at->service.instances);
        if (blocks <= BLOCK_COUNT)
            continue;
        struct place place = statement_place(at->statement);
        problem(builder, &place, "127.64.0.0/10 gives each 254 instances of a service a block",
                "there are more instances than addresses for them");
        return;
    }
}

void drafts_finish(struct builder *builder)
{
    struct topology *topology = builder->topology;
    topology->services =
        arena_array(builder->arena, topology->service_count, sizeof *topology->services);
    for (struct draft *at = builder->drafts; at; at = at->next) {
        uses_resolve(builder, at);
        topology->services[at->service.index] = at->service;
    }
    for (size_t i = 0; i < topology->service_count; i++)
        topology->services[i].definition = service_definition(topology, &topology->services[i]);
    blocks_check(builder);
}
