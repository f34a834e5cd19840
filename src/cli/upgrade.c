#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/ask.h"
#include "cli/place.h"
#include "control/client.h"

enum { LOOK_MS = 50, PATIENCE_MS = 60000 };

/* What the cluster says of upgrades: {"status": {…, "upgrade": …}}; NULL: nobody answers. */
static json_t *status_ask(const char *state)
{
    char why[256];
    int fd = control_connect(state);
    return fd < 0 ? NULL
                  : control_ask(fd, json_pack("{s:s}", "command", "status"), NULL, NULL, why,
                                sizeof why);
}

static const json_t *upgrade_in(const json_t *answer)
{
    return json_object_get(json_object_get(answer, "status"), "upgrade");
}

static json_int_t count_in(const json_t *answer)
{
    return json_integer_value(json_object_get(upgrade_in(answer), "count"));
}

static int outcome_tell(const json_t *answer)
{
    const json_t *upgrade = upgrade_in(answer), *status = json_object_get(answer, "status");
    const char *why = json_string_value(json_object_get(upgrade, "why"));
    const char *from = json_string_value(json_object_get(upgrade, "from"));
    const char *version = json_string_value(json_object_get(status, "version"));
    if (why)
        return cli_fail("rolled back to %s: %s", version, why);
    printf("upgraded from %s to %s\n", from ? from : "an unknown version", version);
    size_t draining = json_array_size(json_object_get(status, "gateways_draining"));
    if (draining)
        printf("%zu gateway%s of before serve%s the connections that were open\n", draining,
               draining == 1 ? "" : "s", draining == 1 ? "s" : "");
    return CLI_OK;
}

/* Until the new executable has served for a while, or the old one is back. */
static int outcome_await(const char *state, json_int_t before)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000L};
    for (int waited_ms = 0; waited_ms < PATIENCE_MS; waited_ms += LOOK_MS) {
        json_t *answer = status_ask(state);
        const char *outcome = json_string_value(json_object_get(upgrade_in(answer), "outcome"));
        bool over = count_in(answer) > before && outcome && strcmp(outcome, "watching") != 0;
        int code = over ? outcome_tell(answer) : CLI_OK;
        json_decref(answer);
        if (over)
            return code;
        nanosleep(&pause, NULL);
    }
    return cli_fail("nobody answers any more; `enginx up` adopts what runs");
}

int command_upgrade(const struct cli *cli)
{
    struct cli own = *cli;
    const char *binary = NULL;
    char state[PLACE_BYTES];
    const struct cli_option options[] = {{"--binary", NULL, &binary, NULL}};
    if (cli_options(&own, options, 1, false) != 1)
        return cli_usage("upgrade");
    char *path = binary ? realpath(binary, NULL) : NULL;
    if (binary && !path)
        return cli_fail("%s: there is no such file", binary);
    json_t *request = json_pack("{s:s}", "command", "upgrade");
    if (path)
        json_object_set_new(request, "executable", json_string(path));
    free(path);
    json_t *before = place_find(&own, state) == CLI_OK ? status_ask(state) : NULL;
    json_int_t count = count_in(before);
    json_decref(before);
    json_t *answer = before ? ask(&own, request) : NULL;
    if (!before)
        json_decref(request);
    json_decref(answer);
    return answer ? outcome_await(state, count) : CLI_FAILED;
}
