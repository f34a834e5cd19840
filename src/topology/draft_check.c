#include <stdio.h>
#include <string.h>

#include "topology/builder.h"

/* Options of the table, by their place in its row. */
enum {
    CHECK_EVERY,
    CHECK_TIMEOUT,
    CHECK_RISE,
    CHECK_FALL,
    CHECK_OPTION_HOST,
    CHECK_OPTION_STATUS,
    CHECK_OPTION_MATCH,
    CHECK_OPTION_SEND,
    CHECK_OPTION_EXPECT,
};

/* The choices of the table, in their order. */
static const enum check_kind check_kinds[] = {CHECK_LISTEN, CHECK_NOTIFY, CHECK_EXEC, CHECK_HTTP,
                                              CHECK_TCP,    CHECK_REDIS,  CHECK_UDP,  CHECK_GRPC};

/* Which options are of one kind only. */
static const struct {
    int option;
    enum check_kind kind;
    const char *name;
} option_kinds[] = {
    {CHECK_OPTION_HOST, CHECK_HTTP, "http"},  {CHECK_OPTION_STATUS, CHECK_HTTP, "http"},
    {CHECK_OPTION_MATCH, CHECK_HTTP, "http"}, {CHECK_OPTION_SEND, CHECK_UDP, "udp"},
    {CHECK_OPTION_EXPECT, CHECK_UDP, "udp"},
};

static void options_check(struct builder *builder, const struct service *service,
                          const struct statement *statement)
{
    for (size_t i = 0; i < sizeof option_kinds / sizeof option_kinds[0]; i++) {
        const struct value *value = &statement->options[option_kinds[i].option];
        if (!value->word || option_kinds[i].kind == service->check)
            continue;
        value_refuse(builder, value,
                     service->check == CHECK_EXEC ? "in quotation marks it is an argument" : NULL,
                     "`%s=` belongs to `check %s`",
                     statement->directive->options[option_kinds[i].option].name,
                     option_kinds[i].name);
    }
}

static const char *option_text(struct builder *builder, const struct statement *statement,
                               int option)
{
    const struct value *value = &statement->options[option];
    return value->given ? builder_text(builder, value->text) : NULL;
}

/* The text that a template is; NULL: it has variables; reported. */
static const char *template_plain(struct builder *builder, const struct value *value)
{
    char *text = arena_alloc(builder->arena, strlen(value->text) + 1);
    char *out = text;
    for (const char *at = value->text; *at; at++) {
        if (at[0] == '$' && at[1] == '{') {
            value_refuse(builder, value, NULL, "the path of a check is the same for all instances");
            return NULL;
        }
        if (at[0] == '$' && at[1] == '$')
            at++;
        *out++ = *at;
    }
    return text;
}

static void http_apply(struct builder *builder, struct service *service,
                       const struct statement *statement)
{
    const struct value *path = &statement->arguments[1];
    const struct value *status = &statement->options[CHECK_OPTION_STATUS];
    if (statement->argument_count != 2) {
        const struct value *at = &statement->arguments[statement->argument_count > 2 ? 2 : 0];
        value_refuse(builder, at, "check http /healthz;", "`check http` needs one path");
        return;
    }
    service->gateway.check_path = template_plain(builder, path);
    if (path->text[0] != '/' || strpbrk(path->text, " \t\r\n#"))
        value_refuse(builder, path, "check http /healthz;",
                     "a path starts with `/` and has no blanks in it");
    service->gateway.check_host = option_text(builder, statement, CHECK_OPTION_HOST);
    service->gateway.check_status_low = (uint16_t)status->range.low;
    service->gateway.check_status_high = (uint16_t)status->range.high;
    service->gateway.check_match = option_text(builder, statement, CHECK_OPTION_MATCH);
}

/* The health service's name for it; without one, the server as a whole. */
static void grpc_apply(struct builder *builder, struct service *service,
                       const struct statement *statement)
{
    enum { GRPC_NAME_BYTES_MAX = 127 };
    if (statement->argument_count == 1)
        return;
    const struct value *name = &statement->arguments[1];
    if (statement->argument_count > 2)
        value_refuse(builder, &statement->arguments[2], "check grpc shop.Cart;",
                     "`check grpc` has one name at most");
    else if (strlen(name->text) > GRPC_NAME_BYTES_MAX)
        value_refuse(builder, name, NULL, "the name of a gRPC service is at most 127 bytes long");
    else
        service->gateway.check_path = template_plain(builder, name);
}

static void exec_apply(struct builder *builder, struct service *service,
                       const struct statement *statement)
{
    size_t count = statement->argument_count - 1;
    if (!count || !*statement->arguments[1].text) {
        value_refuse(builder, &statement->arguments[0], "check exec mariadb-admin ping every=2s;",
                     "`check exec` needs a command");
        return;
    }
    service->check_argv = arena_array(builder->arena, count + 1, sizeof *service->check_argv);
    for (size_t i = 0; i < count; i++)
        service->check_argv[i] = builder_text(builder, statement->arguments[1 + i].text);
}

void check_apply(struct builder *builder, struct service *service,
                 const struct statement *statement)
{
    service->check = check_kinds[statement->arguments[0].choice];
    service->check_every_ms = option_number(statement, CHECK_EVERY);
    service->check_timeout_ms = option_number(statement, CHECK_TIMEOUT);
    service->check_rise = option_number(statement, CHECK_RISE);
    service->check_fall = option_number(statement, CHECK_FALL);
    options_check(builder, service, statement);
    if (service->check == CHECK_EXEC) {
        exec_apply(builder, service, statement);
    } else if (service->check == CHECK_HTTP) {
        http_apply(builder, service, statement);
    } else if (service->check == CHECK_GRPC) {
        grpc_apply(builder, service, statement);
    } else if (statement->argument_count > 1) {
        value_refuse(builder, &statement->arguments[1], "its options: every= timeout= rise= fall=",
                     "this kind of check has no arguments");
    }
    if (service->check == CHECK_UDP) {
        service->gateway.check_send = option_text(builder, statement, CHECK_OPTION_SEND);
        service->gateway.check_expect = option_text(builder, statement, CHECK_OPTION_EXPECT);
    }
}
