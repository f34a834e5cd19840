/* `auth jwt`: tokens, and what they must say. */
#include <string.h>

#include "topology/builder.h"

enum { ARGUMENT_ARROW = 1, ARGUMENT_SERVICE, ARGUMENTS, MS_PER_S = 1000 };

/* Whichever of the three files is named; NULL: none. Two: reported. */
static const struct value *keys_file(struct builder *builder, const struct statement *at,
                                     enum guard_keys *ret_keys, bool *ret_good)
{
    static const struct {
        unsigned option;
        enum guard_keys keys;
    } files[] = {
        {AUTH_KEY, GUARD_KEYS_PEM}, {AUTH_SECRET, GUARD_KEYS_SECRET}, {AUTH_JWKS, GUARD_KEYS_JSON}};
    const struct value *found = NULL;
    *ret_good = true;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const struct value *value = &at->options[files[i].option];
        if (!value->given)
            continue;
        if (found) {
            value_refuse(builder, value, NULL,
                         "keys come from one place: key=, secret=, jwks= or a service");
            *ret_good = false;
        }
        found = value;
        *ret_keys = files[i].keys;
    }
    return found;
}

/* What can be seen without cryptography; the gateway sees the rest. */
static bool text_good(struct builder *builder, const struct value *file,
                      const struct guard_jwt *jwt)
{
    enum { SECRET_BYTES_MIN = 32 };
    size_t length = jwt->length;
    const char *problem = NULL;
    while (length && strchr("\r\n", jwt->text[length - 1]))
        length--;
    if (jwt->keys == GUARD_KEYS_SECRET && length < SECRET_BYTES_MIN)
        problem = "has less than 32 bytes, which is no secret";
    else if (jwt->keys == GUARD_KEYS_PEM && strstr(jwt->text, "PRIVATE KEY-----"))
        problem = "has a private key in it: only the public one is needed";
    else if (jwt->keys == GUARD_KEYS_PEM && !strstr(jwt->text, "-----BEGIN PUBLIC KEY-----") &&
             !strstr(jwt->text, "-----BEGIN CERTIFICATE-----"))
        problem = "has no public key in PEM in it";
    else if (jwt->keys == GUARD_KEYS_JSON && !strstr(jwt->text, "\"keys\""))
        problem = "is no JWK set";
    if (problem)
        value_refuse(builder, file, NULL, "`%s` %s", file->text, problem);
    return !problem;
}

static bool file_take(struct builder *builder, const struct value *file, struct guard_jwt *jwt)
{
    size_t length = 0;
    const char *text = builder_file_read(builder, file, &length);
    if (!text)
        return !builder->reads_files;
    jwt->file = builder_text(builder, file->text);
    jwt->text = arena_strndup(builder->arena, text, length);
    jwt->length = length;
    return text_good(builder, file, jwt);
}

static bool keys_take(struct builder *builder, const struct guard_place *place,
                      const struct statement *at, struct guard_jwt *jwt)
{
    bool good;
    const struct value *file = keys_file(builder, at, &jwt->keys, &good);
    bool arrow =
        at->argument_count == ARGUMENTS && strcmp(at->arguments[ARGUMENT_ARROW].text, "->") == 0;
    jwt->text = "";
    if (at->argument_count > 1 && !arrow) {
        statement_refuse(builder, at, "auth jwt -> idp path=/jwks.json;",
                         "`auth jwt` has no file, but key=, secret=, jwks= or `-> SERVICE`");
        return false;
    }
    if ((file != NULL) == arrow) {
        statement_refuse(builder, at, "auth jwt key=issuer.pem;",
                         "keys come from one place: key=, secret=, jwks= or a service");
        return false;
    }
    if (file)
        return good && file_take(builder, file, jwt);
    jwt->keys = GUARD_KEYS_SERVICE;
    jwt->route = own_route_make(builder, place, &at->arguments[ARGUMENT_SERVICE]);
    jwt->path = builder_text(builder, at->options[AUTH_PATH].text);
    return jwt->route && auth_path_good(builder, &at->options[AUTH_PATH]);
}

static bool claims_take(struct builder *builder, const struct value *first, struct guard_jwt *jwt)
{
    struct guard_rule *rules = arena_array(builder->arena, GUARD_CLAIMS_MAX, sizeof *rules);
    for (const struct value *at = first; at && at->given; at = at->next) {
        const char *sign = strchr(at->text, '=');
        if (!sign || sign == at->text || jwt->claim_count == GUARD_CLAIMS_MAX) {
            value_refuse(builder, at, "claim=role=admin",
                         jwt->claim_count == GUARD_CLAIMS_MAX ? "too many claims: at most 16"
                                                              : "a claim is NAME=VALUE");
            return false;
        }
        rules[jwt->claim_count++] = (struct guard_rule){
            .name = arena_strndup(builder->arena, at->text, (size_t)(sign - at->text)),
            .value = builder_text(builder, sign + 1)};
    }
    jwt->claims = rules;
    return true;
}

static bool token_note(struct builder *builder, const struct statement *at, struct guard_jwt *jwt)
{
    if (builder->token_count == GUARD_TOKENS_MAX) {
        statement_refuse(builder, at, NULL, "too many `auth jwt`: at most %d", GUARD_TOKENS_MAX);
        return false;
    }
    if (builder->token_count == builder->token_room) {
        size_t room = builder->token_room ? 2 * builder->token_room : 8;
        const struct guard_jwt **list = arena_array(builder->arena, room, sizeof *list);
        if (builder->token_count)
            memcpy(list, builder->tokens, builder->token_count * sizeof(struct guard_jwt *));
        builder->tokens = list;
        builder->token_room = room;
    }
    jwt->number = (uint32_t)builder->token_count;
    builder->tokens[builder->token_count++] = jwt;
    return true;
}

static const char *text_take(struct builder *builder, const struct value *value)
{
    return value->given ? builder_text(builder, value->text) : NULL;
}

bool auth_jwt_make(struct builder *builder, const struct guard_place *place,
                   const struct statement *at, struct guard *ret_guard)
{
    const struct value *options = at->options;
    struct guard_jwt *jwt = arena_alloc(builder->arena, sizeof *jwt);
    bool good = keys_take(builder, place, at, jwt);
    good &= claims_take(builder, &options[AUTH_CLAIM], jwt);
    good &= auth_realm_good(builder, &options[AUTH_REALM]);
    if (options[AUTH_PATH].word && !jwt->route && good) {
        value_refuse(builder, &options[AUTH_PATH], NULL, "`path=` is of a service");
        good = false;
    }
    jwt->realm = builder_text(builder, options[AUTH_REALM].text);
    jwt->issuer = text_take(builder, &options[AUTH_ISSUER]);
    jwt->audience = text_take(builder, &options[AUTH_AUDIENCE]);
    jwt->leeway_s = option_number(at, AUTH_LEEWAY) / MS_PER_S;
    jwt->endless = options[AUTH_EXP].choice == 1;
    *ret_guard = (struct guard){.kind = GUARD_JWT, .text = "auth jwt", .jwt = jwt};
    return good && token_note(builder, at, jwt);
}

void auth_jwts_finish(struct builder *builder)
{
    builder->topology->tokens = builder->tokens;
    builder->topology->token_count = builder->token_count;
}
