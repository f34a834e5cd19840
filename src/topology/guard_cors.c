/* `cors` and `security-headers`: what is said to browsers. */
#include <inttypes.h>
#include <string.h>

#include "topology/builder.h"

enum { CORS_ORIGIN, CORS_METHODS, CORS_HEADERS, CORS_EXPOSE, CORS_CREDENTIALS, CORS_MAX_AGE };
enum { SECURITY_HSTS, SECURITY_FRAME, SECURITY_REFERRER, SECURITY_CSP };
enum { ORIGINS_MAX = 64, SECURITY_RULES_MAX = 5, MS_PER_S = 1000 };

/* "a, b" of a,b. */
static const char *list_spread(struct builder *builder, const char *text)
{
    size_t length = strlen(text), commas = 0;
    for (size_t i = 0; i < length; i++)
        commas += text[i] == ',';
    char *spread = arena_alloc(builder->arena, length + commas + 1), *to = spread;
    for (size_t i = 0; i < length; i++) {
        *to++ = text[i];
        if (text[i] == ',')
            *to++ = ' ';
    }
    return spread;
}

/* A list of names of fields; NULL: not given. */
static const char *names_take(struct builder *builder, const struct value *value, bool *good)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_,*";
    if (!value->given)
        return NULL;
    if (value->text[strspn(value->text, letters)]) {
        value_refuse(builder, value, "X-A,X-B", "headers are names with commas between them");
        *good = false;
    }
    return list_spread(builder, value->text);
}

/* SCHEME://HOST[:PORT], HOST maybe with `*.` in front. */
static bool origin_good(const char *origin)
{
    const char *host = strstr(origin, "://");
    if (!host || host == origin)
        return false;
    host += 3;
    if (host[0] == '*' && host[1] == '.')
        host += 2;
    return *host && !strpbrk(host, "/*?#@ \\\"") && !strpbrk(origin, " \t\r\n");
}

static bool origins_take(struct builder *builder, const struct value *value,
                         struct guard_cors *cors)
{
    const char **origins = arena_array(builder->arena, ORIGINS_MAX + 1, sizeof *origins);
    size_t count = 0;
    cors->origins = origins;
    for (const char *at = value->text; *at;) {
        size_t length = strcspn(at, ",");
        const char *origin = arena_strndup(builder->arena, at, length);
        at += length + (at[length] == ',');
        if (strcmp(origin, "*") == 0) {
            cors->any = true;
            continue;
        }
        if (!origin_good(origin) || count == ORIGINS_MAX) {
            value_refuse(builder, value, "https://shop.example, https://*.shop.example or *",
                         count == ORIGINS_MAX ? "too many origins" : "`%.80s` is no origin",
                         origin);
            return false;
        }
        origins[count++] = origin;
    }
    return true;
}

bool cors_make(struct builder *builder, const struct statement *at, struct guard *ret_guard)
{
    const struct value *options = at->options;
    struct guard_cors *cors = arena_alloc(builder->arena, sizeof *cors);
    bool good = true;
    if (!options[CORS_ORIGIN].given) {
        statement_refuse(builder, at, at->directive->example, "`cors` needs origin=");
        return false;
    }
    good &= origins_take(builder, &options[CORS_ORIGIN], cors);
    cors->methods = list_spread(builder, options[CORS_METHODS].text);
    cors->headers = names_take(builder, &options[CORS_HEADERS], &good);
    cors->expose = names_take(builder, &options[CORS_EXPOSE], &good);
    cors->credentials = options[CORS_CREDENTIALS].choice == 0;
    cors->max_age =
        arena_printf(builder->arena, "%" PRIu64, options[CORS_MAX_AGE].number / MS_PER_S);
    if (cors->any && cors->credentials) {
        value_refuse(builder, &options[CORS_CREDENTIALS], "name the origins",
                     "cookies for the pages of all origins would be nobody's secret");
        good = false;
    }
    *ret_guard = (struct guard){.kind = GUARD_CORS, .text = "cors", .cors = cors};
    return good;
}

/* ---- security-headers ------------------------------------------------------------------------ */

static void rule_put(struct header_rule *rules, size_t *count, const char *name, const char *value)
{
    rules[(*count)++] =
        (struct header_rule){.response = true, .action = HEADER_SET, .name = name, .value = value};
}

static size_t security_rules(struct builder *builder, const struct guard_place *place,
                             const struct statement *at, struct header_rule *rules)
{
    static const char *const frames[] = {"DENY", "SAMEORIGIN", NULL};
    static const char *const referrers[] = {"no-referrer", "same-origin", "strict-origin",
                                            "strict-origin-when-cross-origin"};
    const struct value *hsts = &at->options[SECURITY_HSTS], *csp = &at->options[SECURITY_CSP];
    bool tls = listen_has_tls(place->publication->statement);
    const char *frame = frames[at->options[SECURITY_FRAME].choice];
    size_t count = 0;
    rule_put(rules, &count, "X-Content-Type-Options", "nosniff");
    if (frame)
        rule_put(rules, &count, "X-Frame-Options", frame);
    rule_put(rules, &count, "Referrer-Policy", referrers[at->options[SECURITY_REFERRER].choice]);
    if (hsts->word && !tls)
        value_refuse(builder, hsts, "listen 443 http tls { … }",
                     "`hsts=` has a meaning only with TLS");
    if (tls && hsts->number >= MS_PER_S)
        rule_put(rules, &count, "Strict-Transport-Security",
                 arena_printf(builder->arena, "max-age=%" PRIu64, hsts->number / MS_PER_S));
    if (csp->given) {
        captures_check(builder, csp, place->captures);
        rule_put(rules, &count, "Content-Security-Policy", builder_text(builder, csp->text));
    }
    return count;
}

/* Before the block's own `header`, which may change them. */
void security_headers_make(struct builder *builder, const struct guard_place *place,
                           const struct statement *block, struct site_scope *scope)
{
    const struct statement *at = statement_next(block, DIRECTIVE_SECURITY_HEADERS);
    if (!at)
        return;
    size_t own = 0, count = scope->header_count;
    for (const struct statement *rule = statement_next(block, DIRECTIVE_HEADER); rule;
         rule = statement_next(rule->next, DIRECTIVE_HEADER))
        own++;
    own = own < count ? own : count;
    struct header_rule *rules =
        arena_array(builder->arena, count + SECURITY_RULES_MAX, sizeof *rules);
    if (count - own)
        memcpy(rules, scope->headers, (count - own) * sizeof *rules);
    size_t made = security_rules(builder, place, at, rules + count - own);
    if (own)
        memcpy(rules + count - own + made, scope->headers + count - own, own * sizeof *rules);
    scope->headers = rules;
    scope->header_count = count + made;
}
