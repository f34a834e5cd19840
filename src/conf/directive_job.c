#include "conf/directive_private.h"

static const struct directive rows[] = {
    {.name = "every",
     .id = DIRECTIVE_JOB_EVERY,
     .contexts = CONTEXT_JOB,
     .arguments = {{.name = "DURATION", .type = VALUE_DURATION, .low = 1000, .high = 31536000000}},
     .help = "From the start of one run to the start of the next; the first starts so long after "
             "the job is known.",
     .example = "every 1h;"},
    {.name = "at",
     .id = DIRECTIVE_JOB_AT,
     .contexts = CONTEXT_JOB,
     .arguments = {{.name = "TIME", .type = VALUE_WORD}},
     .help = "Each day at this time, HH:MM or HH:MM:SS, of the machine's time zone. A time that a "
             "day does not have, since clocks are put forward, is the moment after; of one that "
             "it has twice, the job runs once.",
     .example = "at 03:00;"},
    {.name = "overlap",
     .id = DIRECTIVE_JOB_OVERLAP,
     .contexts = CONTEXT_JOB,
     .arguments = {{.name = "HOW",
                    .type = VALUE_CHOICE,
                    .choices = "skip queue replace",
                    .fallback = "skip"}},
     .help = "What happens at its time while the run before is not over: nothing, another run once "
             "that one is over (one at most waits), or that one is ended and another begins.",
     .example = "overlap queue;"},
    {.name = "timeout",
     .id = DIRECTIVE_JOB_TIMEOUT,
     .contexts = CONTEXT_JOB,
     .arguments = {{.name = "DURATION", .type = VALUE_DURATION, .low = 100, .high = 2592000000}},
     .help = "A run that takes longer is ended as `stop` says, and has failed. Without it a run "
             "may take as long as it likes.",
     .example = "timeout 10m;"},
    {.name = "history",
     .id = DIRECTIVE_JOB_HISTORY,
     .contexts = CONTEXT_JOB,
     .arguments = {{.name = "N", .type = VALUE_INTEGER, .low = 1, .high = 100, .fallback = "10"}},
     .help = "How many of the last runs `enginx status --json` tells of.",
     .example = "history 20;"},
};

const struct directive_rows directive_rows_job = {
    .rows = rows,
    .count = sizeof rows / sizeof rows[0],
    .contexts = CONTEXT_JOB,
};
