#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "conf/nearest.h"
#include "topology/addresses.h"
#include "topology/builder.h"
#include "topology/definition.h"

enum { HINT_BYTES = 256 };

static_assert((int)SERVICE_INSTANCES_MAX == (int)DIRECTIVE_INSTANCES_MAX,
              "the table bounds `instances`");

/* The choices of the table, in their order. */
static const enum restart_policy restart_policies[] = {RESTART_ALWAYS, RESTART_ON_FAILURE,
                                                       RESTART_NEVER};

#define problem(builder, place, hint, ...)                                                         \
    diagnostics_add((builder)->diagnostics, DIAGNOSTIC_ERROR, place, hint, __VA_ARGS__)

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

enum { ROLL_SURGE, ROLL_UNAVAILABLE, ROLL_WITHIN, ROLL_PAUSE, ROLL_WATCH, ROLL_ERRORS };
enum { ROLL_ERRORS_PERCENT = 5 }; /* where it is watched, and nothing else is stated */

static void roll_apply(struct builder *builder, struct service *service,
                       const struct statement *statement)
{
    const struct value *surge = &statement->options[ROLL_SURGE];
    const struct value *unavailable = &statement->options[ROLL_UNAVAILABLE];
    service->roll = (struct service_roll){
        .surge = surge->given ? (uint32_t)surge->number : (uint32_t)ROLL_SURGE_BY_NUMBER,
        .unavailable = option_number(statement, ROLL_UNAVAILABLE),
        .within_ms = option_number(statement, ROLL_WITHIN),
        .pause_ms = option_number(statement, ROLL_PAUSE),
        .watch_ms = option_number(statement, ROLL_WATCH),
        .errors_percent = option_number(statement, ROLL_ERRORS),
    };
    if (service->roll.watch_ms && !statement->options[ROLL_ERRORS].given)
        service->roll.errors_percent = ROLL_ERRORS_PERCENT;
    if (surge->given && unavailable->given && !surge->number && !unavailable->number) {
        struct place place = value_place(unavailable);
        problem(builder, &place, "surge=1: one is added; unavailable=1: one is replaced in place",
                "with `surge=0 unavailable=0` nothing can be replaced");
    }
}

static struct spot spot_of(struct builder *builder, const struct statement *statement)
{
    const struct place place = value_place(&statement->arguments[0]);
    return (struct spot){.file = builder_file(builder, statement),
                         .line = (uint32_t)place.line,
                         .column = (uint32_t)place.column,
                         .length = (uint32_t)place.length};
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

static void directory_apply(struct builder *builder, struct service *service,
                            const struct value *value)
{
    if (strstr(value->text, "${directory}")) {
        struct place place = value_place(value);
        problem(builder, &place, "a relative path starts at the configuration's folder",
                "$directory is what is said here");
    }
    service->directory = builder_path(builder, value->text, true);
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
        service->program_at = spot_of(builder, statement);
        break;
    case DIRECTIVE_SHELL:
        shell_apply(builder, service, statement);
        break;
    case DIRECTIVE_DIRECTORY:
        directory_apply(builder, service, first);
        service->directory_at = spot_of(builder, statement);
        break;
    case DIRECTIVE_USER:
        user_apply(builder, service, statement);
        service->user_at = spot_of(builder, statement);
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
    case DIRECTIVE_PRIORITY:
        service->priority = (uint32_t)statement->arguments[0].number;
        break;
    case DIRECTIVE_ROLE:
        role_apply(builder, service, statement);
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
    case DIRECTIVE_ROLL:
        roll_apply(builder, service, statement);
        break;
    default: /* those that may repeat are gathered below */
        draft_gateway_apply(builder, service, statement);
        break;
    }
}

void draft_defaults(struct builder *builder)
{
    static const enum directive_id ids[] = {
        DIRECTIVE_INSTANCES, DIRECTIVE_PRIORITY,        DIRECTIVE_ENVIRONMENT,
        DIRECTIVE_PUBLISH,   DIRECTIVE_BALANCE,         DIRECTIVE_CHECK,
        DIRECTIVE_START,     DIRECTIVE_RESTART,         DIRECTIVE_STOP,
        DIRECTIVE_CAPACITY,  DIRECTIVE_SERVICE_TIMEOUT, DIRECTIVE_RETRY,
        DIRECTIVE_HOLD,      DIRECTIVE_EJECT,           DIRECTIVE_ROLL};
    struct service *defaults = &builder->defaults;
    *defaults = (struct service){.realm = "", .umask = -1, .listens = true};
    defaults->env = arena_array(builder->arena, 1, sizeof *defaults->env);
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        statement_apply(builder, defaults, check_defaults(&builder->checker, ids[i]));
    job_defaults(builder);
}

static void program_check(struct builder *builder, const struct draft *draft)
{
    const struct statement *run = builder_first(builder, DIRECTIVE_RUN);
    const struct statement *shell = builder_first(builder, DIRECTIVE_SHELL);
    if (!run && !shell && !builder_first(builder, DIRECTIVE_AT)) {
        struct place place = value_place(&draft->statement->arguments[0]);
        if (draft->service.job)
            problem(builder, &place, "run PROGRAM ARGUMENTS…; or shell \"…\";",
                    "job `%s` has no program", draft->service.name);
        else
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
    const struct statement *check = builder_first(builder, DIRECTIVE_CHECK);
    program_check(builder, draft);
    if (check && check->valid && draft->service.check == CHECK_LISTEN && !draft->service.listens) {
        struct place place = statement_place(check);
        problem(builder, &place, "leave it out: with `port none` a program is up when it runs",
                "`check listen` never succeeds with `port none`");
    }
}

/* The log file of that name is the access log. */
static bool name_is_taken(struct builder *builder, const struct draft *draft)
{
    if (strcmp(draft->service.name, "access") != 0)
        return false;
    struct place place = value_place(&draft->statement->arguments[0]);
    problem(builder, &place, "its output would be mixed with lines of requests",
            "`access` is the name of the access log");
    return true;
}

/* The name is free; false: reported. */
static bool draft_register(struct builder *builder, struct draft *draft)
{
    void *other = NULL;
    if (name_is_taken(builder, draft))
        return false;
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
    draft_speaks_settle(builder, &draft->service);
    draft_gather(builder, draft);
    remotes_gather(builder, draft);
    if (draft->statement->directive->id == DIRECTIVE_JOB)
        job_gather(builder, draft);
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
        check_block(&builder->checker, statement->node->children,
                    (enum context)statement->directive->block, variables);
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
        problem(builder, place, draft->service.job ? "it is a job" : "its `port none` says so",
                "`%s` listens nowhere", draft->service.name);
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
    else if (used->service.job)
        problem(builder, &place, "it runs at times, and is not there otherwise",
                "`%s` is a job, which nobody can use", used->service.name);
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
        blocks += addresses_blocks_needed(service_instances_most(&at->service));
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
