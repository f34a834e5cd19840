#include <string.h>

#include "topology/builder.h"

/* What the block of a route says of responses that lead elsewhere: `x-accel-redirect`, `x-sendfile
 * DIR`, and `internal` of where they lead. */

static bool directory_add(struct builder *builder, const struct value *value, uint32_t *places,
                          size_t *count)
{
    const char *path = builder_path(builder, value->text, false);
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    if (*count == FOLLOW_DIRECTORIES_MAX) {
        value_refuse(builder, value, NULL, "too many directories of one route: at most %d",
                     FOLLOW_DIRECTORIES_MAX);
        return false;
    }
    path = arena_strndup(builder->arena, path, length);
    return directory_place(builder, value, path, &places[(*count)++]);
}

static bool directories_gather(struct builder *builder, const struct statement *block,
                               struct route_follow *follow)
{
    uint32_t places[FOLLOW_DIRECTORIES_MAX];
    size_t count = 0;
    for (const struct statement *at = statement_next(block, DIRECTIVE_SENDFILE); at;
         at = statement_next(at->next, DIRECTIVE_SENDFILE))
        for (size_t i = 0; i < at->argument_count; i++)
            if (!directory_add(builder, &at->arguments[i], places, &count))
                return false;
    if (!count)
        return true;
    uint32_t *copy = arena_array(builder->arena, count, sizeof *copy);
    memcpy(copy, places, count * sizeof *copy);
    follow->directories = copy;
    follow->directory_count = count;
    return true;
}

/* Only a service's response can ask for it. */
static bool follow_none(struct builder *builder, const struct statement *at)
{
    if (!at)
        return true;
    statement_refuse(builder, at, "route /download/ -> app { x-accel-redirect; }",
                     "`%s` is for routes to a service", at->directive->name);
    return false;
}

bool route_follow_build(struct builder *builder, const struct statement *block, struct route *route)
{
    const struct statement *accel = statement_find(block, DIRECTIVE_ACCEL_REDIRECT);
    const struct statement *send = statement_find(block, DIRECTIVE_SENDFILE);
    route->internal = statement_find(block, DIRECTIVE_INTERNAL) != NULL;
    if (route->kind != ROUTE_PROXY)
        return follow_none(builder, accel) && follow_none(builder, send);
    if (!accel && !send)
        return true;
    struct route_follow *follow = arena_alloc(builder->arena, sizeof *follow);
    *follow = (struct route_follow){.accel = accel != NULL};
    route->follow = follow;
    return directories_gather(builder, block, follow);
}
