#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "topology/builder.h"
#include "topology/pattern.h"

enum { OPTION_STRIP, OPTION_PREFIX };
enum { ARGUMENT_WHICH, ARGUMENT_ACTION, ARGUMENT_NAME, ARGUMENT_VALUE };

static const enum header_action actions[] = {HEADER_SET, HEADER_ADD, HEADER_REMOVE};

/* What frames a message belongs to the connection, and the gateway writes it. */
static const char *const framing[] = {"Connection", "Content-Length",    "Keep-Alive", "TE",
                                      "Trailer",    "Transfer-Encoding", "Upgrade"};

void captures_check(struct builder *builder, const struct value *value, uint32_t captures)
{
    unsigned wanted = pattern_captures(value->text);
    if (wanted <= captures)
        return;
    if (!captures)
        value_refuse(builder, value, "route ~^/u/([0-9]+)$ …, or rewrite ~REGEX REPLACEMENT",
                     "`$%u` has a value only with a regular expression that has `(…)`", wanted);
    else
        value_refuse(builder, value, NULL,
                     "`$%u` has no value: the regular expression has %u `(…)`", wanted, captures);
}

static bool value_has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' && *text != '\t')
            return true;
    return false;
}

/* False: reported. */
static bool rule_build(struct builder *builder, const struct statement *at, uint32_t captures,
                       struct header_rule *rule)
{
    const struct value *name = &at->arguments[ARGUMENT_NAME];
    const struct value *value =
        at->argument_count > ARGUMENT_VALUE ? &at->arguments[ARGUMENT_VALUE] : NULL;
    rule->response = at->arguments[ARGUMENT_WHICH].choice == 1;
    rule->action = actions[at->arguments[ARGUMENT_ACTION].choice];
    for (size_t i = 0; i < sizeof framing / sizeof framing[0]; i++) {
        if (strcasecmp(framing[i], name->text) != 0)
            continue;
        value_refuse(builder, name, "it says where messages and connections end",
                     "the gateway writes `%s` itself", framing[i]);
        return false;
    }
    if ((rule->action == HEADER_REMOVE) != !value) {
        if (value)
            value_refuse(builder, value, NULL, "`remove` needs no value");
        else
            value_refuse(builder, name, "header response set X-Frame-Options DENY;",
                         "a value is missing behind `%.64s`", name->text);
        return false;
    }
    if (value && value_has_control(value->text)) {
        value_refuse(builder, value, NULL, "a header's value has no line breaks in it");
        return false;
    }
    if (value)
        captures_check(builder, value, captures);
    rule->name = builder_text(builder, name->text);
    rule->value = value ? builder_text(builder, value->text) : NULL;
    return true;
}

static bool prefix_good(struct builder *builder, const struct value *value)
{
    if (!value->given || value->text[0] == '/')
        return true;
    value_refuse(builder, value, "rewrite strip=/api;", "a path starts with `/`");
    return false;
}

static bool rewrite_regex(struct builder *builder, const struct statement *at,
                          struct rewrite *rewrite)
{
    const struct value *regex = &at->arguments[0];
    uint32_t captures;
    if (regex->text[0] != '~') {
        value_refuse(builder, regex, at->directive->syntax, "a regular expression starts with `~`");
        return false;
    }
    if (at->argument_count < 2) {
        value_refuse(builder, regex, at->directive->syntax, "a replacement is missing");
        return false;
    }
    if (!regex_check(builder, regex, &captures))
        return false;
    captures_check(builder, &at->arguments[1], captures);
    rewrite->regex = builder_text(builder, regex->text + 1);
    rewrite->replacement = builder_text(builder, at->arguments[1].text);
    return true;
}

/* Up to two rules of it, since strip= and prefix= are one each. The number; 0: reported. */
static size_t rewrite_build(struct builder *builder, const struct statement *at,
                            struct rewrite rewrites[2])
{
    const struct value *strip = &at->options[OPTION_STRIP], *prefix = &at->options[OPTION_PREFIX];
    size_t count = 0;
    if ((at->argument_count > 0) == (strip->given || prefix->given)) {
        statement_refuse(builder, at, at->directive->syntax,
                         at->argument_count
                             ? "a regular expression and strip= or prefix= exclude each other"
                             : "`rewrite` says nothing");
        return 0;
    }
    if (at->argument_count)
        return rewrite_regex(builder, at, &rewrites[0]) ? 1 : 0;
    if (!prefix_good(builder, strip) || !prefix_good(builder, prefix))
        return 0;
    if (strip->given)
        rewrites[count++].strip = builder_text(builder, strip->text);
    if (prefix->given)
        rewrites[count++].prefix = builder_text(builder, prefix->text);
    return count;
}

static size_t statements_count(const struct statement *block, enum directive_id id)
{
    size_t count = 0;
    for (block = statement_next(block, id); block; block = statement_next(block->next, id))
        count++;
    return count;
}

static void headers_make(struct builder *builder, const struct statement *block, uint32_t captures,
                         struct site_scope *scope)
{
    size_t own = statements_count(block, DIRECTIVE_HEADER);
    if (!own)
        return;
    size_t count = scope->header_count;
    struct header_rule *rules = arena_array(builder->arena, count + own, sizeof *rules);
    if (count)
        memcpy(rules, scope->headers, count * sizeof *rules);
    for (const struct statement *at = statement_next(block, DIRECTIVE_HEADER); at;
         at = statement_next(at->next, DIRECTIVE_HEADER)) {
        if (count == HEADER_RULES_MAX) {
            statement_refuse(builder, at, NULL, "too many rules for headers: at most %d",
                             HEADER_RULES_MAX);
            break;
        }
        if (rule_build(builder, at, captures, &rules[count]))
            count++;
    }
    scope->headers = rules;
    scope->header_count = count;
}

static void rewrites_make(struct builder *builder, const struct statement *block,
                          struct site_scope *scope)
{
    size_t own = 2 * statements_count(block, DIRECTIVE_REWRITE);
    if (!own)
        return;
    size_t count = scope->rewrite_count;
    struct rewrite *rewrites = arena_array(builder->arena, count + own, sizeof *rewrites);
    if (count)
        memcpy(rewrites, scope->rewrites, count * sizeof *rewrites);
    for (const struct statement *at = statement_next(block, DIRECTIVE_REWRITE); at;
         at = statement_next(at->next, DIRECTIVE_REWRITE)) {
        if (count + 2 > REWRITES_MAX) {
            statement_refuse(builder, at, NULL, "too many rewrites: at most %d", REWRITES_MAX);
            break;
        }
        count += rewrite_build(builder, at, &rewrites[count]);
    }
    scope->rewrites = rewrites;
    scope->rewrite_count = count;
}

void site_scope_make(struct builder *builder, const struct statement *block,
                     const struct site_scope *outer, uint32_t captures,
                     struct site_scope *ret_scope)
{
    *ret_scope = outer ? *outer : (struct site_scope){0};
    headers_make(builder, block, captures, ret_scope);
    rewrites_make(builder, block, ret_scope);
    const struct statement *cache = statement_next(block, DIRECTIVE_ROUTE_CACHE);
    if (cache)
        ret_scope->cache = route_cache_build(builder, cache, captures);
    ret_scope->compression = compression_make(builder, block, ret_scope->compression);
}
