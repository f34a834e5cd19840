#include "topology/build.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "topology/builder.h"
#include "topology/order.h"
#include "topology/pattern.h"
#include "topology/template.h"

enum {
    HINT_BYTES = 1024,
    MESSAGE_BYTES = 512,
    CIRCLE_SHOWN_MAX = 8, /* members that a message names */
    TRIM_BYTES_MIN = 4 * 1024 * 1024,
};

static const enum steering_choice steering_choices[] = {STEERING_AUTO, STEERING_BPF,
                                                        STEERING_SECCOMP};

_Noreturn void builder_no_memory(struct builder *builder)
{
    longjmp(*builder->trap, 1);
}

const char *builder_text(struct builder *builder, const char *text)
{
    return arena_strdup(builder->arena, text);
}

/* `text` with its dollar signs doubled: as part of a template it means itself. */
static const char *template_quote(struct builder *builder, const char *text)
{
    char *quoted = arena_alloc(builder->arena, 2 * strlen(text) + 1);
    char *at = quoted;
    for (; *text; text++) {
        *at++ = *text;
        if (*text == '$')
            *at++ = '$';
    }
    return quoted;
}

const char *builder_path(struct builder *builder, const char *path, bool template)
{
    /* The state directory is absolute. */
    if (path[0] == '/' || (template && strncmp(path, "${state}", strlen("${state}")) == 0))
        return builder_text(builder, path);
    const char *directory = template ? builder->template_directory : builder->topology->directory;
    while (path[0] == '.' && path[1] == '/')
        path += 2;
    if (strcmp(path, ".") == 0)
        return directory;
    size_t length = strlen(directory) > 1 ? strlen(directory) : 0; /* "/" has its slash below */
    char *whole = arena_alloc(builder->arena, length + strlen(path) + 2);
    memcpy(whole, directory, length);
    whole[length] = '/';
    strcpy(whole + length + 1, path);
    return whole;
}

const char *builder_file(struct builder *builder, const struct statement *statement)
{
    const char *path = statement->node->name.source->path;
    if (builder->file_seen != path) {
        builder->file_seen = path;
        builder->file_copy = builder_text(builder, path);
    }
    return builder->file_copy;
}

const struct place *builder_claim(struct builder *builder, struct table *names, const char *name,
                                  const struct place *place)
{
    struct place *copy = arena_alloc(builder->tree_arena, sizeof *copy);
    void *other = NULL;
    *copy = *place;
    int error = table_add(names, name, copy, &other);
    if (error == -ENOMEM)
        builder_no_memory(builder);
    return error ? other : NULL;
}

__attribute__((format(printf, 4, 0))) static void refuse(struct builder *builder,
                                                         const struct place *place,
                                                         const char *hint, const char *format,
                                                         va_list list)
{
    char message[MESSAGE_BYTES];
    vsnprintf(message, sizeof message, format, list);
    diagnostics_add(builder->diagnostics, DIAGNOSTIC_ERROR, place, hint, "%s", message);
}

void value_refuse(struct builder *builder, const struct value *value, const char *hint,
                  const char *format, ...)
{
    va_list list;
    struct place place = value_place(value);
    va_start(list, format);
    refuse(builder, &place, hint, format, list);
    va_end(list);
}

void statement_refuse(struct builder *builder, const struct statement *statement, const char *hint,
                      const char *format, ...)
{
    va_list list;
    struct place place = statement_place(statement);
    va_start(list, format);
    refuse(builder, &place, hint, format, list);
    va_end(list);
}

const struct statement *statement_find(const struct statement *block, enum directive_id id)
{
    while (block && block->directive->id != id)
        block = block->next;
    return block;
}

const struct statement *statement_next(const struct statement *at, enum directive_id id)
{
    while (at && (at->directive->id != id || !at->valid))
        at = at->next;
    return at;
}

void builder_quota(struct quota *quota, const struct statement *statement)
{
    /* What is not given has number 0: no limit. */
    quota->memory_bytes = statement->options[0].number;
    quota->cpu_percent = (uint32_t)statement->options[1].number;
    quota->tasks = (uint32_t)statement->options[2].number;
    quota->memory_soft_bytes = statement->options[3].number;
    quota->io_weight = (uint32_t)statement->options[4].number;
}

static void log_apply(struct builder *builder, const struct statement *statement)
{
    struct topology *topology = builder->topology;
    if (statement->options[0].given)
        topology->log_directory = builder_path(builder, statement->options[0].text, false);
    topology->log_file_bytes_max = statement->options[1].number;
    topology->log_files_max = (uint32_t)statement->options[2].number;
}

static void gateway_apply(struct topology *topology, const struct statement *statement)
{
    topology->gateway.threads = option_number(statement, 0);
    topology->gateway.connections_max = option_number(statement, 1);
}

static bool realm_known(const struct statement *statement, size_t index)
{
    for (size_t i = 0; i < index; i++)
        if (strcmp(statement->arguments[i].text, statement->arguments[index].text) == 0)
            return true;
    return false;
}

static void block_apply(struct builder *builder, const struct node *first, enum context context,
                        const struct variables *variables);

static void realm_apply(struct builder *builder, const struct statement *statement)
{
    struct variables variables = builder->variables;
    /* Without names the block is still checked for its own errors. */
    size_t count = statement->valid ? statement->argument_count : 0;
    for (size_t i = 0; i < count; i++) {
        if (realm_known(statement, i)) {
            struct place place = value_place(&statement->arguments[i]);
            diagnostics_add(builder->diagnostics, DIAGNOSTIC_ERROR, &place, NULL,
                            "realm `%s` is given twice", statement->arguments[i].text);
            continue;
        }
        variables.realm = statement->arguments[i].text;
        variables.index = (uint32_t)i + 1;
        block_apply(builder, statement->node->children, CONTEXT_REALM, &variables);
    }
}

static void statement_apply(struct builder *builder, const struct statement *statement,
                            const struct variables *variables)
{
    struct topology *topology = builder->topology;
    switch ((int)statement->directive->id) {
    case DIRECTIVE_SERVICE:
    case DIRECTIVE_JOB:
        draft_add(builder, statement, variables);
        return;
    case DIRECTIVE_LISTEN:
    case DIRECTIVE_METRICS:
        publication_add(builder, statement, variables);
        return;
    case DIRECTIVE_REALM:
        realm_apply(builder, statement);
        return;
    default:
        break;
    }
    if (!statement->valid)
        return;
    switch ((int)statement->directive->id) {
    case DIRECTIVE_CLUSTER:
        topology->name = builder_text(builder, statement->arguments[0].text);
        break;
    case DIRECTIVE_QUOTA:
        builder_quota(&topology->quota, statement);
        break;
    case DIRECTIVE_STEERING:
        topology->steering = steering_choices[statement->arguments[0].choice];
        break;
    case DIRECTIVE_LOG:
        log_apply(builder, statement);
        break;
    case DIRECTIVE_GATEWAY:
        gateway_apply(topology, statement);
        break;
    case DIRECTIVE_CACHE:
        cache_add(builder, statement);
        break;
    case DIRECTIVE_ACCESS_LOG:
        builder->access_log = access_log_take(builder, statement);
        break;
    default:
        break;
    }
}

static void block_apply(struct builder *builder, const struct node *first, enum context context,
                        const struct variables *variables)
{
    const struct statement *list = check_block(&builder->checker, first, context, variables);
    for (const struct statement *at = list; at; at = at->next)
        statement_apply(builder, at, variables);
}

/* "/etc/enginx/My Shop.conf" gives "My-Shop". */
static const char *name_of_file(struct builder *builder, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *name = arena_strndup(builder->arena, slash ? slash + 1 : path,
                               strnlen(slash ? slash + 1 : path, NAME_BYTES_MAX));
    char *dot = strrchr(name, '.');
    if (dot && dot > name)
        *dot = 0;
    for (char *at = name; *at; at++)
        if (!isalnum((unsigned char)*at) && *at != '_' && (*at != '-' || at == name))
            *at = at == name ? 'x' : '-';
    return *name ? name : "cluster";
}

static void name_settle(struct builder *builder, const struct builder_input *input)
{
    static const struct value_spec spec = {.type = VALUE_NAME};
    struct topology *topology = builder->topology;
    if (input->name_override) {
        struct value value;
        struct value_problem problem;
        struct place place = {.file = "-c"};
        if (!value_parse(&spec, input->name_override, &value, &problem))
            diagnostics_add(builder->diagnostics, DIAGNOSTIC_ERROR, &place, problem.hint, "%s",
                            problem.message);
        topology->name = builder_text(builder, input->name_override);
    } else if (!topology->name) {
        topology->name = name_of_file(builder, input->path);
    }
}

static const struct value *use_find(const struct draft *draft, struct builder *builder,
                                    uint32_t used)
{
    for (size_t i = 0; i < draft->uses_count; i++) {
        struct place place = value_place(&draft->uses[i]);
        const struct draft *other =
            draft_resolve(builder, draft->uses[i].text, &place, draft->service.realm);
        if (other && other->service.index == used)
            return &draft->uses[i];
    }
    return NULL;
}

/* Called by order_make; names the members and where each says that it uses the next. */
static void circle_found(void *context, const uint32_t *members, size_t count)
{
    struct builder *builder = context;
    const struct service *services = builder->topology->services;
    char hint[HINT_BYTES] = "";
    for (size_t i = 0; i < count && i < CIRCLE_SHOWN_MAX; i++) {
        const struct service *service = &services[members[i]];
        size_t at = strlen(hint);
        snprintf(hint + at, sizeof hint - at, "%s (%s:%zu) uses ", service->name, service->file,
                 service->line);
    }
    size_t at = strlen(hint);
    snprintf(hint + at, sizeof hint - at, "%s%s", count > CIRCLE_SHOWN_MAX ? "… uses " : "",
             services[members[0]].name);
    const struct draft *last = table_get(builder->names, services[members[count - 1]].name);
    const struct value *use = use_find(last, builder, members[0]);
    assert(use);
    struct place place = value_place(use);
    diagnostics_add(builder->diagnostics, DIAGNOSTIC_ERROR, &place, hint,
                    "services use each other in a circle: nothing could start first");
}

static void order_settle(struct builder *builder)
{
    struct topology *topology = builder->topology;
    size_t count = topology->service_count;
    uint32_t *order = arena_array(builder->arena, count, sizeof *order);
    uint32_t *scratch = arena_array(builder->tree_arena, 3 * count, sizeof *scratch);
    order_make(topology, order, scratch, circle_found, builder);
    topology->start_order = order;
    topology->start_count = topology->service_count;
}

static void topology_begin(struct builder *builder, const struct builder_input *input)
{
    struct topology *topology = arena_alloc(builder->arena, sizeof *topology);
    topology->arena = builder->arena;
    topology->file = builder_text(builder, input->file);
    topology->directory = builder_text(builder, input->directory ? input->directory : "/");
    builder->topology = topology;
    builder->reads_files = input->directory != NULL;
    builder->template_directory = template_quote(builder, topology->directory);
    log_apply(builder, check_defaults(&builder->checker, DIRECTIVE_LOG));
    gateway_apply(topology, check_defaults(&builder->checker, DIRECTIVE_GATEWAY));
    site_defaults(builder);
    draft_defaults(builder);
}

/* The main text, wherever it is. */
static const struct source *source_get(struct builder *builder, const struct builder_input *input,
                                       char problem[SOURCE_PROBLEM_BYTES])
{
    struct sources *sources = &builder->sources;
    if (!input->text)
        return sources_read(sources, input->path, problem);
    const struct source *source = sources_copy(sources, input->text, input->length, input->path,
                                               input->source_directory, problem);
    if (source && sources->collect &&
        bundle_add(sources->collect, BUNDLE_SOURCE, input->path, source->text, source->length)) {
        snprintf(problem, SOURCE_PROBLEM_BYTES, "cannot be kept: there is no memory");
        return NULL;
    }
    return source;
}

static const struct source *source_open(struct builder *builder, const struct builder_input *input)
{
    char problem[SOURCE_PROBLEM_BYTES];
    const struct source *source = source_get(builder, input, problem);
    struct place place = {.file = input->path};
    if (!source)
        diagnostics_add(builder->diagnostics, DIAGNOSTIC_ERROR, &place, NULL,
                        "the configuration %s", problem);
    else if (builder->sources.collect &&
             input_keep(input, source->directory, builder->sources.collect))
        builder_no_memory(builder);
    return source;
}

static void topology_build(struct builder *builder, const struct builder_input *input)
{
    const struct source *source = source_open(builder, input);
    if (!source)
        return;
    topology_begin(builder, input);
    const struct node *first = tree_read(&builder->reader, source);
    block_apply(builder, first, CONTEXT_TOP, &builder->variables);
    name_settle(builder, input);
    drafts_finish(builder);
    publications_finish(builder);
    order_settle(builder);
    if (!builder->topology->service_count && !builder->topology->listener_count &&
        !diagnostics_errors(builder->diagnostics)) {
        struct place place = {.file = input->path};
        diagnostics_add(builder->diagnostics, DIAGNOSTIC_WARNING, &place,
                        "service web { run node server.js; }", "there is no service");
    }
}

static void memory_report(struct builder *builder, const struct builder_input *input)
{
    struct place place = {.file = input->path};
    diagnostics_add(builder->diagnostics, DIAGNOSTIC_ERROR, &place, NULL,
                    "the configuration is too large for the memory that it may take");
}

/* Apart from its caller, whose variables a longjmp would leave undefined. */
static void topology_build_trapped(struct builder *builder, const struct builder_input *input)
{
    jmp_buf trap;
    if (setjmp(trap)) {
        memory_report(builder, input);
        return;
    }
    builder->trap = &trap;
    arena_trap_set(builder->arena, &trap);
    arena_trap_set(builder->tree_arena, &trap);
    topology_build(builder, input);
}

static bool builder_init(struct builder *builder, const struct topology_options *options,
                         struct diagnostics *diagnostics)
{
    size_t bytes_max = options && options->bytes_max ? options->bytes_max : TOPOLOGY_BYTES_MAX;
    builder->arena = arena_new(bytes_max);
    builder->tree_arena = arena_new(bytes_max);
    builder->names = table_new();
    builder->addresses = table_new();
    builder->files = table_new();
    builder->diagnostics = diagnostics;
    builder->sources.collect = builder->variables.collect = options ? options->collect : NULL;
    builder->drafts_tail = &builder->drafts;
    builder->publications_tail = &builder->publications;
    builder->variables.environment = options ? options->environment : NULL;
    builder->variables.run_time = template_names;
    builder->variables.request = pattern_names;
    buffer_init(&builder->scratch, WORD_BYTES_MAX);
    builder->checker = (struct checker){
        .arena = builder->tree_arena,
        .diagnostics = diagnostics,
        .scratch = &builder->scratch,
    };
    builder->reader = (struct tree_reader){
        .sources = &builder->sources,
        .arena = builder->tree_arena,
        .diagnostics = diagnostics,
        .variables = &builder->variables,
        .scratch = &builder->scratch,
    };
    return builder->arena && builder->tree_arena && builder->names && builder->addresses &&
           builder->files;
}

static void builder_done(struct builder *builder)
{
    /* The chunks of a large tree lie between those of the topology; the supervisor lives for long,
     * and would keep that memory. */
    bool large = builder->tree_arena && arena_used(builder->tree_arena) >= TRIM_BYTES_MIN;
    tree_reader_done(&builder->reader);
    sources_done(&builder->sources);
    buffer_done(&builder->scratch);
    table_free(builder->names);
    table_free(builder->addresses);
    table_free(builder->hosts);
    table_free(builder->routes);
    table_free(builder->files);
    arena_free(builder->tree_arena);
    arena_free(builder->arena);
    if (large)
        malloc_trim(0);
}

struct topology *builder_run(const struct builder_input *input,
                             const struct topology_options *options,
                             struct diagnostics *diagnostics)
{
    struct builder builder = {.sources = {.bundle = input->bundle}};
    size_t errors_before = diagnostics_errors(diagnostics);
    if (builder_init(&builder, options, diagnostics))
        topology_build_trapped(&builder, input);
    else
        memory_report(&builder, input);
    struct topology *topology = NULL;
    if (diagnostics_errors(diagnostics) == errors_before) {
        topology = builder.topology;
        builder.arena = NULL; /* the topology's own now */
        arena_trap_set(topology->arena, NULL);
    }
    builder_done(&builder);
    return topology;
}
