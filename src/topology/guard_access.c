/* `allow` and `deny`: the rules of a block, files of networks included, compiled. */
#include <string.h>

#include "topology/builder.h"

enum { OPTION_FILE, LINE_SHOWN_BYTES = 60 };

struct rules { /* of a block, in the order of the file */
    struct builder *builder;
    struct access_rule *list;
    size_t count, room;
    bool failed;
};

static const char blanks[] = " \t\r";

static void rule_add(struct rules *rules, const struct value_network *network,
                     enum access_verdict verdict)
{
    struct arena *arena = rules->builder->tree_arena;
    if (rules->count == rules->room) {
        size_t room = rules->room ? 2 * rules->room : 64;
        struct access_rule *list = arena_array(arena, room, sizeof *list);
        if (rules->count)
            memcpy(list, rules->list, rules->count * sizeof *list);
        rules->list = list;
        rules->room = room;
    }
    struct access_rule *rule = &rules->list[rules->count++];
    memcpy(rule->network.address, network->address, sizeof rule->network.address);
    rule->network.length = network->length;
    rule->verdict = verdict;
}

static void line_refuse(struct rules *rules, const struct value *value, size_t number,
                        const struct value_problem *problem)
{
    value_refuse(rules->builder, value, problem->hint[0] ? problem->hint : NULL,
                 "line %zu of `%s`: %s", number, value->text, problem->message);
    rules->failed = true;
}

/* A line of a file without its comment and its blanks; NULL: nothing is left. */
static char *line_trim(char *line)
{
    line[strcspn(line, "#")] = 0;
    line += strspn(line, blanks);
    size_t length = strlen(line);
    while (length && strchr(blanks, line[length - 1]))
        line[--length] = 0;
    return length ? line : NULL;
}

/* One network a line; `#` begins a comment. The first line that is wrong ends it. */
static void file_add(struct rules *rules, const struct value *value, enum access_verdict verdict)
{
    static const struct value_spec spec = {.name = "NETWORK", .type = VALUE_NETWORK};
    size_t length, number = 0;
    const char *bytes = builder_file_read(rules->builder, value, &length);
    if (!bytes)
        return;
    char *text = arena_strndup(rules->builder->tree_arena, bytes, length);
    for (char *line = text, *next; line < text + length; line = next) {
        size_t line_length = strcspn(line, "\n");
        next = line + line_length + 1;
        line[line_length] = 0;
        number++;
        struct value network;
        struct value_problem problem = {0};
        const char *trimmed = line_trim(line);
        if (!trimmed)
            continue;
        if (!value_parse(&spec, trimmed, &network, &problem)) {
            line_refuse(rules, value, number, &problem);
            return;
        }
        rule_add(rules, &network.network, verdict);
    }
}

static void statement_add(struct rules *rules, const struct statement *at)
{
    static const struct value_network all; /* length 0 */
    enum access_verdict verdict = at->directive->id == DIRECTIVE_ALLOW ? ACCESS_ALLOW : ACCESS_DENY;
    const struct value *file = &at->options[OPTION_FILE];
    if (!at->argument_count && !file->given) {
        statement_refuse(rules->builder, at, at->directive->example, "`%s` names nobody",
                         at->directive->name);
        rules->failed = true;
        return;
    }
    for (size_t i = 0; i < at->argument_count; i++) {
        const struct value *value = &at->arguments[i];
        rule_add(rules, value->choice == 0 ? &all : &value->network, verdict);
    }
    for (const struct value *value = file; value && value->given; value = value->next)
        file_add(rules, value, verdict);
    if (rules->count <= ACCESS_RULES_MAX)
        return;
    statement_refuse(rules->builder, at, NULL, "too many networks: at most %d", ACCESS_RULES_MAX);
    rules->failed = true;
}

const struct access_list *access_make(struct builder *builder, const struct statement *block)
{
    struct rules rules = {.builder = builder};
    bool any = false;
    for (const struct statement *at = block; at && !rules.failed; at = at->next) {
        enum directive_id id = at->directive->id;
        if (!at->valid || (id != DIRECTIVE_ALLOW && id != DIRECTIVE_DENY))
            continue;
        statement_add(&rules, at);
        any = true;
    }
    if (!any || rules.failed)
        return NULL;
    return access_list_make(builder->arena, builder->tree_arena, rules.list, rules.count);
}
