#include <string.h>

#include "topology/builder.h"

/* Options of the table, by their place in its row. */
enum { ROLE_EVERY, ROLE_TIMEOUT, ROLE_FALL, ROLE_USER, ROLE_DATABASE };

/* What goes into a startup message of PostgreSQL; its own names have 63 bytes at most. */
enum { POSTGRES_NAME_BYTES_MAX = 63 };

/* The choices of the table, in their order. */
static const enum role_check role_checks[] = {ROLE_CHECK_EXEC, ROLE_CHECK_POSTGRES,
                                              ROLE_CHECK_REDIS};

static void exec_apply(struct builder *builder, struct service_role *role,
                       const struct statement *statement)
{
    size_t count = statement->argument_count - 1;
    if (!count || !*statement->arguments[1].text) {
        value_refuse(builder, &statement->arguments[0], "role exec ./role.sh every=2s;",
                     "`role exec` needs a command, which prints `primary` or `replica`");
        return;
    }
    role->argv = arena_array(builder->arena, count + 1, sizeof *role->argv);
    for (size_t i = 0; i < count; i++)
        role->argv[i] = builder_text(builder, statement->arguments[1 + i].text);
}

static const char *name_take(struct builder *builder, const struct statement *statement, int option)
{
    const struct value *value = &statement->options[option];
    if (!value->given)
        return "postgres";
    if (strlen(value->text) > POSTGRES_NAME_BYTES_MAX)
        value_refuse(builder, value, NULL, "a name of PostgreSQL has at most %d bytes",
                     POSTGRES_NAME_BYTES_MAX);
    return builder_text(builder, value->text);
}

void role_apply(struct builder *builder, struct service *service, const struct statement *statement)
{
    struct service_role *role = &service->role;
    role->check = role_checks[statement->arguments[0].choice];
    role->every_ms = option_number(statement, ROLE_EVERY);
    role->timeout_ms = option_number(statement, ROLE_TIMEOUT);
    role->fall = option_number(statement, ROLE_FALL);
    if (role->check == ROLE_CHECK_EXEC)
        exec_apply(builder, role, statement);
    else if (statement->argument_count > 1)
        value_refuse(builder, &statement->arguments[1],
                     "its options: every= timeout= fall= user= database=",
                     "this kind of role has no arguments");
    if (role->check == ROLE_CHECK_POSTGRES) {
        role->user = name_take(builder, statement, ROLE_USER);
        role->database = name_take(builder, statement, ROLE_DATABASE);
        return;
    }
    for (int option = ROLE_USER; option <= ROLE_DATABASE; option++)
        if (statement->options[option].word)
            value_refuse(
                builder, &statement->options[option],
                role->check == ROLE_CHECK_EXEC ? "in quotation marks it is an argument" : NULL,
                "`%s=` belongs to `role postgres`", statement->directive->options[option].name);
}

bool role_wish_check(struct builder *builder, const struct place *place,
                     const struct service *service, enum role_wish wish)
{
    if (wish == ROLE_WISH_ANY || service->role.check != ROLE_CHECK_NONE)
        return true;
    diagnostics_add(builder->diagnostics, DIAGNOSTIC_ERROR, place,
                    "role postgres; or role redis; or role exec COMMAND; in the service",
                    "nothing finds out who is the primary of `%s`", service->name);
    return false;
}
