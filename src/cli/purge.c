#include <stdio.h>
#include <string.h>

#include "cli/ask.h"

enum { WHAT_BYTES = 8 * 1024 };

/* "tag=red,blue", "shop.example/news/1", "shop.example/news/…*" or "all". False: it is none. */
static bool what_make(const char *text, char what[WHAT_BYTES])
{
    size_t length = strlen(text);
    int made;
    if (strcmp(text, "all") == 0)
        made = snprintf(what, WHAT_BYTES, "all");
    else if (strncmp(text, "tag=", 4) == 0 && text[4])
        made = snprintf(what, WHAT_BYTES, "tags %s", text + 4);
    else if (strchr(text, '/') > text && text[length - 1] == '*')
        made = snprintf(what, WHAT_BYTES, "below %.*s", (int)length - 1, text);
    else if (strchr(text, '/') > text)
        made = snprintf(what, WHAT_BYTES, "target %s", text);
    else
        return false;
    return made < WHAT_BYTES;
}

int command_purge(const struct cli *cli)
{
    char what[WHAT_BYTES];
    const char *cache = NULL;
    struct cli own = *cli;
    const struct cli_option options[] = {{"--cache", NULL, &cache, NULL}};
    if (cli_options(&own, options, 1, false) != 2 || !what_make(own.argv[1], what))
        return cli_usage("purge");
    json_t *answer =
        ask(&own, json_pack("{s:s, s:s, s:s*}", "command", "purge", "what", what, "cache", cache));
    if (!answer)
        return CLI_FAILED;
    json_int_t count = json_integer_value(json_object_get(answer, "purged"));
    printf("purged: %lld\n", (long long)count);
    json_decref(answer);
    return CLI_OK;
}
