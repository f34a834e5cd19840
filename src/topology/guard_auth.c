/* `auth`: who asks. */
#include <stdlib.h>
#include <string.h>

#include "topology/builder.h"
#include "topology/htpasswd.h"

enum { ARGUMENT_KIND, ARGUMENT_FIRST };
enum { OPTION_REALM };
enum { CHOICE_BASIC };
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

static bool realm_good(struct builder *builder, const struct value *realm)
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
    const struct value *realm = &at->options[OPTION_REALM];
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
    if (!users_unique(&users) || !realm_good(builder, realm))
        return false;
    struct guard_basic *basic = arena_alloc(builder->arena, sizeof *basic);
    *basic = (struct guard_basic){.realm = builder_text(builder, realm->text),
                                  .users = users.list,
                                  .user_count = users.count};
    *guard = (struct guard){.kind = GUARD_BASIC, .text = "auth basic", .basic = basic};
    return true;
}

bool auth_make(struct builder *builder, const struct statement *at, struct guard *ret_guard)
{
    switch (at->arguments[ARGUMENT_KIND].choice) {
    case CHOICE_BASIC:
        return basic_make(builder, at, ret_guard);
    default:
        return false;
    }
}
