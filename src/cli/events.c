#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cli/ask.h"
#include "cli/place.h"
#include "control/client.h"

enum { TEXT_BYTES = 4096, LAST_MAX = 1000000 };

struct following {
    bool json, follow;
    bool ended;  /* all of it came, until the supervisor went */
    char *error; /* NULL: none was told */
};

static void field_print(const char *key, const json_t *value)
{
    char text[TEXT_BYTES];
    if (json_is_integer(value))
        printf(" %s=%lld", key, (long long)json_integer_value(value));
    else if (json_is_string(value))
        printf(" %s=%s", key, log_text(json_string_value(value), text, sizeof text));
}

static void event_print(const json_t *event)
{
    const char *key;
    json_t *value;
    const char *const heads[] = {"time", "level", "event"};
    const json_t *lost = json_object_get(event, "lost");
    if (lost) {
        printf("# %lld events lost\n", (long long)json_integer_value(lost));
        return;
    }
    for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
        const char *text = json_string_value(json_object_get(event, heads[i]));
        printf("%s%s", i ? " " : "", text ? text : "-");
    }
    json_object_foreach((json_t *)json_object_get(event, "fields"), key, value)
        field_print(key, value);
    printf("\n");
}

static bool event_take(void *owner, const json_t *object)
{
    struct following *following = owner;
    const char *error = json_string_value(json_object_get(object, "error"));
    following->ended |= json_object_get(object, "end") || json_object_get(object, "ok");
    if (error)
        following->error = strdup(error);
    if (error || following->ended)
        return false;
    if (following->json) {
        json_dumpf(object, stdout, JSON_COMPACT);
        printf("\n");
    } else {
        event_print(object);
    }
    return fflush(stdout) == 0;
}

/* 0: nobody is there. */
static bool events_ask(const char *state, long last, struct following *following)
{
    int fd = control_connect(state);
    if (fd < 0)
        return false;
    control_follow(fd,
                   json_pack("{s:s, s:I, s:b}", "command", "events", "last", (json_int_t)last,
                             "follow", following->follow),
                   event_take, following);
    return true;
}

int command_events(const struct cli *cli)
{
    struct following following = {0};
    const char *lines = NULL;
    char *end = NULL;
    char state[PLACE_BYTES];
    struct cli own = *cli;
    const struct cli_option options[] = {{"--json", NULL, NULL, &following.json},
                                         {"--follow", "-f", NULL, &following.follow},
                                         {"--lines", "-n", &lines, NULL}};
    int words = cli_options(&own, options, 3, false);
    long last = lines ? strtol(lines, &end, 10) : following.follow ? 0 : LAST_MAX;
    if (words != 1 || (lines && (end == lines || *end || last < 0 || last > LAST_MAX)))
        return cli_usage("events");
    if (place_find(&own, state) != CLI_OK)
        return CLI_FAILED;
    if (!events_ask(state, last, &following))
        return cli_fail("cannot connect to %s/control", state);
    /* After an upgrade another supervisor goes on behind the same socket, with events of its own.
     */
    bool ended = following.ended;
    while (following.follow && following.ended) {
        following.ended = false;
        if (!events_ask(state, LAST_MAX, &following))
            break; /* it went down */
    }
    int code = CLI_OK;
    if (following.error || !ended)
        code = cli_fail("%s", following.error ? following.error : "the cluster went away");
    free(following.error);
    return code;
}
