#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/place.h"
#include "cli/top/top.h"
#include "conf/value.h"
#include "event/signals.h"

static const struct value_spec interval_spec = {
    .name = "interval", .type = VALUE_DURATION, .low = 100, .high = 3600000};

struct wishes { /* as given; NULL: not */
    const char *interval, *sort, *filter, *times, *view;
    bool batch, reversed;
};

static bool times_read(const char *text, uint64_t *ret_times)
{
    char *end = NULL;
    if (!text)
        return true;
    *ret_times = strtoull(text, &end, 10);
    return end != text && !*end && text[0] != '-' && *ret_times > 0;
}

/* CLI_OK; else it has said what is wrong. */
static int wishes_read(const struct wishes *wishes, struct top_options *ret_options)
{
    struct value value = {.number = 1000};
    struct value_problem problem = {0};
    struct arrangement *arrangement = &ret_options->arrangement;
    bool listeners = wishes->view && strcmp(wishes->view, "listeners") == 0;
    if (wishes->interval && !value_parse(&interval_spec, wishes->interval, &value, &problem)) {
        cli_fail("top: --interval: %s", problem.message);
        return CLI_USAGE;
    }
    arrangement->sort = wishes->sort ? column_named(wishes->sort) : COLUMN_NAME;
    if (arrangement->sort == COLUMN_COUNT) {
        cli_fail("top: there is no column %s", wishes->sort);
        return CLI_USAGE;
    }
    if (!times_read(wishes->times, &ret_options->times) ||
        (wishes->view && !listeners && strcmp(wishes->view, "services") != 0) ||
        (wishes->filter && strlen(wishes->filter) >= sizeof arrangement->filter))
        return cli_usage("top");
    if (wishes->filter)
        strcpy(arrangement->filter, wishes->filter);
    arrangement->view = listeners ? VIEW_LISTENERS : VIEW_SERVICES;
    arrangement->reversed = wishes->reversed;
    ret_options->interval_ms = value.number;
    return CLI_OK;
}

/* Ends as the signal would have ended it. */
static int end_by(int number)
{
    signals_unblock_all();
    raise(number);
    return CLI_FAILED;
}

int command_top(const struct cli *cli)
{
    struct wishes wishes = {0};
    struct top_options options = {0};
    char state[PLACE_BYTES], why[256];
    struct cli own = *cli;
    const struct cli_option table[] = {
        {"--batch", "-b", NULL, &wishes.batch},      {"--interval", "-i", &wishes.interval, NULL},
        {"--count", "-n", &wishes.times, NULL},      {"--sort", "-s", &wishes.sort, NULL},
        {"--reverse", NULL, NULL, &wishes.reversed}, {"--filter", NULL, &wishes.filter, NULL},
        {"--view", NULL, &wishes.view, NULL},
    };
    if (cli_options(&own, table, sizeof table / sizeof table[0], false) != 1)
        return cli_usage("top");
    int code = wishes_read(&wishes, &options);
    if (code == CLI_OK)
        code = place_find(&own, state);
    if (code != CLI_OK)
        return code;
    options.state = state;
    options.colours = !getenv("NO_COLOR");
    setlocale(LC_CTYPE, "");
    bool batch = wishes.batch || wishes.times || !isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO);
    int result = batch ? top_batch(&options, why, sizeof why) : top_run(&options, why, sizeof why);
    if (result > 0)
        return end_by(result);
    return result < 0 ? cli_fail("top: %s", why) : CLI_OK;
}
