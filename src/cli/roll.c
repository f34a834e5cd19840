#include <stdio.h>
#include <string.h>

#include "cli/ask.h"
#include "conf/directive.h"
#include "conf/value.h"

/* What only the command has. */
static const struct value_spec own_options[] = {
    {.name = "canary",
     .type = VALUE_PERCENT,
     .low = 1,
     .high = 99,
     .help = "of the traffic, for the first new instances; doubled with each step"},
    {.name = "step",
     .type = VALUE_DURATION,
     .low = 1,
     .high = 604800000,
     .fallback = "30s",
     .help = "how long each share lasts"},
};

static bool is_named(const struct value_spec *spec, const char *word, size_t length)
{
    return spec->name && strlen(spec->name) == length && strncmp(spec->name, word, length) == 0;
}

/* The options of `roll` in a configuration hold for the command, too. */
static const struct value_spec *option_named(const char *word, size_t length)
{
    const struct directive *directive = directive_by_id(DIRECTIVE_ROLL);
    for (size_t i = 0; i < DIRECTIVE_OPTIONS_MAX; i++)
        if (is_named(&directive->options[i], word, length))
            return &directive->options[i];
    for (size_t i = 0; i < sizeof own_options / sizeof own_options[0]; i++)
        if (is_named(&own_options[i], word, length))
            return &own_options[i];
    return NULL;
}

/* "pause=5s" becomes "pause": 5000. */
static bool option_take(const char *word, json_t *request)
{
    const char *equals = strchr(word, '=');
    const struct value_spec *spec = equals ? option_named(word, (size_t)(equals - word)) : NULL;
    struct value value = {0};
    struct value_problem problem = {0};
    if (!spec) {
        cli_fail("roll: there is no option %s", word);
        return false;
    }
    if (!value_parse(spec, equals + 1, &value, &problem)) {
        cli_fail("roll: %s: %s", word, problem.message);
        return false;
    }
    json_object_set_new(request, spec->name, json_integer((json_int_t)value.number));
    return true;
}

int command_roll(const struct cli *cli)
{
    if (cli->argc < 2 || strchr(cli->argv[1], '='))
        return cli_usage("roll");
    json_t *request = json_pack("{s:s, s:s}", "command", "roll", "service", cli->argv[1]);
    for (int i = 2; i < cli->argc; i++)
        if (!option_take(cli->argv[i], request)) {
            json_decref(request);
            return CLI_USAGE;
        }
    if (json_object_get(request, "step") && !json_object_get(request, "canary")) {
        json_decref(request);
        cli_fail("roll: step= says how long each share of a canary lasts: canary=5%% step=30s");
        return CLI_USAGE;
    }
    return ask_simply(cli, request);
}
