#include <stdio.h>
#include <string.h>

#include "cli/ask.h"

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "-";
}

static void bans_print(const json_t *bans)
{
    size_t i;
    json_t *client;
    json_t *clients = json_object_get(bans, "clients");
    json_int_t count = json_integer_value(json_object_get(bans, "count"));
    if (count > 0)
        printf("%-26s %-22s %s\n", "CLIENT", "UNTIL", "WHY");
    else
        printf("nobody is banned\n");
    json_array_foreach (clients, i, client)
        printf("%-26s %-22s %s\n", text_of(client, "client"), text_of(client, "until"),
               text_of(client, "why"));
    if (count > (json_int_t)json_array_size(clients))
        printf("and %lld more\n", (long long)count - (long long)json_array_size(clients));
}

int command_bans(const struct cli *cli)
{
    const char *lift = NULL;
    bool json = false;
    struct cli own = *cli;
    const struct cli_option options[] = {{"--lift", NULL, &lift, NULL},
                                         {"--json", NULL, NULL, &json}};
    if (cli_options(&own, options, sizeof options / sizeof options[0], false) != 1)
        return cli_usage("bans");
    json_t *answer = ask(&own, json_pack("{s:s, s:s*}", "command", "bans", "lift", lift));
    if (!answer)
        return CLI_FAILED;
    json_t *bans = json_object_get(answer, "bans");
    json_int_t lifted = json_integer_value(json_object_get(bans, "lifted"));
    if (json)
        json_dumpf(bans, stdout, JSON_INDENT(2));
    else if (lift)
        printf("lifted: %lld", (long long)lifted);
    else
        bans_print(bans);
    if (json || lift)
        printf("\n");
    json_decref(answer);
    return CLI_OK;
}
