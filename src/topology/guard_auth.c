/* `auth`: who asks. */
#include <stdlib.h>
#include <string.h>

#include "topology/builder.h"
#include "topology/htpasswd.h"

enum { ARGUMENT_KIND, ARGUMENT_FIRST };
enum { CHOICE_BASIC, CHOICE_REQUEST, CHOICE_JWT };
enum { USERS_MAX = 20000 };

/* ---- basic ---------------------------------------------------------------------------------- */

struct users {
    struct builder *builder;
    const struct value *file;
    struct guard_user *list;
    size_t count, room;
};

static void user_add(struct users *users, const struct htpasswd_line *line)
{
    struct builder *builder = users->builder;
    if (users->count == users->room) {
        size_t room = users->room ? 2 * users->room : 16;
        struct guard_user *list = arena_array(builder->arena, room, sizeof *list);
        if (users->count)
            memcpy(list, users->list, users->count * sizeof *list);
        users->list = list;
        users->room = room;
    }
    users->list[users->count++] = (struct guard_user){
        .name = arena_strndup(builder->arena, line->name, line->name_length),
        .hash = arena_strndup(builder->arena, line->hash, line->hash_length),
    };
}

/* Never shows the line: it has a hash in it, or a password. */
static bool users_read(struct users *users, const char *text, size_t length)
{
    size_t number = 0;
    for (const char *at = text, *end = text + length; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t line_length = newline ? (size_t)(newline - at) : (size_t)(end - at);
        struct htpasswd_line line;
        number++;
        enum htpasswd_result result = htpasswd_read(at, line_length, &line);
        if (result == HTPASSWD_BAD || (result == HTPASSWD_USER && users->count == USERS_MAX)) {
            value_refuse(users->builder, users->file, "htpasswd -B FILE NAME writes a good one",
                         "line %zu of `%s` %s", number, users->file->text,
                         result == HTPASSWD_BAD ? line.problem : "is one user too many");
            return false;
        }
        if (result == HTPASSWD_USER)
            user_add(users, &line);
        at += line_length + 1;
    }
    return true;
}

static int user_compare(const void *left, const void *right)
{
    return strcmp(((const struct guard_user *)left)->name,
                  ((const struct guard_user *)right)->name);
}

static bool users_unique(const struct users *users)
{
    for (size_t i = 1; i < users->count; i++) {
        if (strcmp(users->list[i - 1].name, users->list[i].name) != 0)
            continue;
        value_refuse(users->builder, users->file, NULL, "`%s` has the user `%.64s` twice",
                     users->file->text, users->list[i].name);
        return false;
    }
    return true;
}

bool auth_realm_good(struct builder *builder, const struct value *realm)
{
    size_t length = strlen(realm->text);
    bool good = length <= 100;
    for (const char *at = realm->text; *at; at++)
        good &= (unsigned char)*at >= ' ' && *at != 0x7f && *at != '"' && *at != '\\';
    if (!good)
        value_refuse(builder, realm, NULL,
                     "a realm is text of up to 100 bytes without quotation marks and backslashes");
    return good;
}

static bool basic_make(struct builder *builder, const struct statement *at, struct guard *guard)
{
    const struct value *realm = &at->options[AUTH_REALM];
    if (at->argument_count != ARGUMENT_FIRST + 1) {
        statement_refuse(builder, at, "auth basic users.htpasswd;", "`auth basic` needs one file");
        return false;
    }
    struct users users = {.builder = builder, .file = &at->arguments[ARGUMENT_FIRST]};
    size_t length;
    const char *text = builder_file_read(builder, users.file, &length);
    if (builder->reads_files && (!text || !users_read(&users, text, length)))
        return false;
    if (users.count)
        qsort(users.list, users.count, sizeof *users.list, user_compare);
    if (!users_unique(&users) || !auth_realm_good(builder, realm))
        return false;
    struct guard_basic *basic = arena_alloc(builder->arena, sizeof *basic);
    *basic = (struct guard_basic){.realm = builder_text(builder, realm->text),
                                  .users = users.list,
                                  .user_count = users.count};
    *guard = (struct guard){.kind = GUARD_BASIC, .text = "auth basic", .basic = basic};
    return true;
}

/* ---- services ------------------------------------------------------------------------------- */

static void own_route_note(struct builder *builder, const struct route *route)
{
    if (builder->own_route_count == builder->own_route_room) {
        size_t room = builder->own_route_room ? 2 * builder->own_route_room : 8;
        const struct route **list = arena_array(builder->arena, room, sizeof *list);
        if (builder->own_route_count)
            memcpy(list, builder->own_routes, builder->own_route_count * sizeof(struct route *));
        builder->own_routes = list;
        builder->own_route_room = room;
    }
    builder->own_routes[builder->own_route_count++] = route;
}

const struct route *own_route_make(struct builder *builder, const struct guard_place *place,
                                   const struct value *value)
{
    struct place of_value = value_place(value);
    const struct draft *draft =
        draft_published(builder, value->text, &of_value, &place->publication->variables);
    if (!draft || !draft->service.listens)
        return NULL;
    enum service_speaks speaks = draft->service.gateway.speaks;
    if (speaks != SPEAKS_HTTP && speaks != SPEAKS_HTTP2) {
        value_refuse(builder, value, NULL, "`%s` does not speak HTTP", value->text);
        return NULL;
    }
    struct route_target *target = arena_alloc(builder->arena, sizeof *target);
    struct route *route = arena_alloc(builder->arena, sizeof *route);
    *target = (struct route_target){.service = draft->service.index, .weight = 1};
    *route = (struct route){
        .path_kind = PATH_PREFIX,
        .path = "/",
        .kind = ROUTE_PROXY,
        .targets = target,
        .target_count = 1,
        .speaks = speaks,
        .name = arena_printf(builder->arena, "auth %s", value->text),
        .file = "",
    };
    own_route_note(builder, route);
    return route;
}

/* ---- which of them -------------------------------------------------------------------------- */

/* Options that the kind has no use for. */
static bool options_good(struct builder *builder, const struct statement *at)
{
    static const unsigned taken[] = {
        [CHOICE_BASIC] = 1u << AUTH_REALM,
        [CHOICE_REQUEST] = 1u << AUTH_PATH | 1u << AUTH_COPY | 1u << AUTH_USER |
                           1u << AUTH_REDIRECT | 1u << AUTH_CACHE | 1u << AUTH_BY,
        [CHOICE_JWT] = 1u << AUTH_REALM | 1u << AUTH_PATH | 1u << AUTH_KEY | 1u << AUTH_SECRET |
                       1u << AUTH_JWKS | 1u << AUTH_ISSUER | 1u << AUTH_AUDIENCE |
                       1u << AUTH_LEEWAY | 1u << AUTH_CLAIM | 1u << AUTH_EXP,
    };
    bool good = true;
    for (unsigned i = 0; i < AUTH_OPTIONS; i++) {
        const struct value *value = &at->options[i];
        if (!value->word || taken[at->arguments[ARGUMENT_KIND].choice] >> i & 1)
            continue;
        value_refuse(builder, value, at->directive->syntax, "`%s=` is nothing for `auth %s`",
                     at->directive->options[i].name, at->arguments[ARGUMENT_KIND].word->text);
        good = false;
    }
    return good;
}

bool auth_make(struct builder *builder, const struct guard_place *place, const struct statement *at,
               struct guard *ret_guard)
{
    if (!options_good(builder, at))
        return false;
    switch (at->arguments[ARGUMENT_KIND].choice) {
    case CHOICE_BASIC:
        return basic_make(builder, at, ret_guard);
    case CHOICE_REQUEST:
        return auth_request_make(builder, place, at, ret_guard);
    case CHOICE_JWT:
        return auth_jwt_make(builder, place, at, ret_guard);
    default:
        return false;
    }
}
