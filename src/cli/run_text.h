/* The configuration that `enginx run` writes for itself: one service, as its options and the words
 * behind them say. Pure; the text goes the way of every other configuration. */
#pragma once

#include <stdbool.h>

#include "base/buffer.h"

struct run_options { /* as given; NULL: not given */
    const char *count;
    const char *port;
    const char *name;
    const char *user;
    const char *memory;
    const char *cpu;
    const char *tasks;
    const char *steering;
    const char *restart;
};

/* `program` ends with NULL and has a first word. Look at text->overflowed afterwards. Words are taken
 * as they stand, but for the variables of a template ($instance, …), which are expanded. */
void run_text_build(struct buffer *text, const struct run_options *options, char *const *program);
/* "8080", "8080/tcp", "53/udp". */
bool run_port_valid(const char *text);
