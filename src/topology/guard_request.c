/* `auth request`: a service says who may. */
#include <string.h>
#include <strings.h>

#include "topology/builder.h"
#include "topology/pattern.h"

enum { ARGUMENT_ARROW = 1, ARGUMENT_SERVICE, ARGUMENTS };

/* All that a service usually looks at, and what is asked for. */
static const char usual_key[] = "${header.Authorization} ${header.Cookie} ${method} ${host} ${uri}";

/* They say what a message is, and are the gateway's. */
static const char *const reserved[] = {
    "Connection", "Content-Length", "Host",   "Keep-Alive",       "TE",
    "Trailer",    "Upgrade",        "Expect", "Transfer-Encoding"};

static bool name_good(struct builder *builder, const struct value *value, const char *name,
                      size_t length)
{
    bool good = length > 0;
    for (size_t i = 0; good && i < length; i++)
        good = strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", name[i]);
    for (size_t i = 0; good && i < sizeof reserved / sizeof reserved[0]; i++)
        good = strlen(reserved[i]) != length || strncasecmp(reserved[i], name, length) != 0;
    if (!good)
        value_refuse(builder, value, "copy=X-User,X-Groups",
                     "`%.*s` is no header that can be copied", (int)length, name);
    return good;
}

static const char *const *copies_take(struct builder *builder, const struct value *value,
                                      bool *ret_good)
{
    const char **names = arena_array(builder->arena, GUARD_COPIES_MAX + 1, sizeof *names);
    size_t count = 0;
    *ret_good = true;
    for (const char *at = value->given ? value->text : ""; *at;) {
        size_t length = strcspn(at, ",");
        if (count == GUARD_COPIES_MAX) {
            value_refuse(builder, value, NULL, "too many headers: at most %d", GUARD_COPIES_MAX);
            *ret_good = false;
            break;
        }
        *ret_good &= name_good(builder, value, at, length);
        names[count++] = arena_strndup(builder->arena, at, length);
        at += length + (at[length] == ',');
    }
    return names;
}

bool auth_path_good(struct builder *builder, const struct value *value)
{
    bool good = value->text[0] == '/';
    for (const char *at = value->text; *at; at++)
        good &= *at > ' ' && *at < 0x7f && *at != '#';
    if (!good)
        value_refuse(builder, value, "path=/auth", "a path starts with `/`, and has no blanks");
    return good;
}

static uint64_t identity_of(const struct guard_request *request, const char *service)
{
    uint64_t hash = hash_bytes(service, strlen(service) + 1, hash_seed());
    hash = hash_bytes(request->path, strlen(request->path) + 1, hash);
    for (size_t i = 0; request->copy[i]; i++)
        hash = hash_bytes(request->copy[i], strlen(request->copy[i]) + 1, hash);
    hash = hash_bytes(request->key, strlen(request->key) + 1, hash);
    hash = hash_bytes(&request->redirects, sizeof request->redirects, hash);
    return request->user ? hash_bytes(request->user, strlen(request->user) + 1, hash) : hash;
}

bool auth_request_make(struct builder *builder, const struct guard_place *place,
                       const struct statement *at, struct guard *ret_guard)
{
    const struct value *options = at->options;
    bool arrow =
        at->argument_count == ARGUMENTS && strcmp(at->arguments[ARGUMENT_ARROW].text, "->") == 0;
    if (!arrow) {
        statement_refuse(builder, at, "auth request -> sessions path=/auth;",
                         "`auth request` needs `-> SERVICE`");
        return false;
    }
    const struct value *service = &at->arguments[ARGUMENT_SERVICE];
    struct guard_request *request = arena_alloc(builder->arena, sizeof *request);
    bool good;
    request->copy = copies_take(builder, &options[AUTH_COPY], &good);
    request->route = own_route_make(builder, place, service);
    good &= request->route && auth_path_good(builder, &options[AUTH_PATH]);
    request->path = builder_text(builder, options[AUTH_PATH].text);
    request->user =
        options[AUTH_USER].given ? builder_text(builder, options[AUTH_USER].text) : NULL;
    request->redirects = options[AUTH_REDIRECT].choice == 0;
    request->cache_ms = option_number(at, AUTH_CACHE);
    request->key = usual_key;
    if (options[AUTH_BY].given) {
        captures_check(builder, &options[AUTH_BY], place->captures);
        request->key = builder_text(builder, options[AUTH_BY].text);
        if (!request->cache_ms)
            value_refuse(builder, &options[AUTH_BY], "cache=10s by=$cookie.session",
                         "`by=` is for answers that are remembered: `cache=`");
    }
    request->identity = identity_of(request, service->text);
    *ret_guard =
        (struct guard){.kind = GUARD_REQUEST,
                       .text = arena_printf(builder->arena, "auth request -> %s", service->text),
                       .request = request};
    return good;
}
