#include <string.h>

#include "topology/builder.h"

enum { STEP_TIMEOUT };
enum { STEP_TEXT_BYTES = 128 };

/* As it was written, but in one line: cut where it is too long, and at the end of a line. */
static const char *words_show(struct builder *builder, const struct value *words, size_t count)
{
    char text[STEP_TEXT_BYTES] = "";
    size_t length = 0;
    for (size_t i = 0; i < count && length < sizeof text - 1; i++) {
        if (i)
            text[length++] = ' ';
        for (const char *at = words[i].text; *at && length < sizeof text - 1; at++) {
            if ((unsigned char)*at < ' ')
                return builder_text(builder, text);
            at += at[0] == '$' && at[1] == '$';
            text[length++] = *at == '"' ? '\'' : *at;
        }
        text[length] = 0;
    }
    return builder_text(builder, text);
}

/* The words before the program: what is left begins behind them. */
static size_t words_take(const struct statement *at, bool may_be_once, bool *ret_once,
                         bool *ret_shell)
{
    size_t taken = 0;
    *ret_once = may_be_once && strcmp(at->arguments[0].text, "once") == 0;
    taken += *ret_once;
    *ret_shell = at->argument_count > taken && strcmp(at->arguments[taken].text, "shell") == 0;
    return taken + *ret_shell;
}

static void step_take(struct builder *builder, const struct statement *at, bool before,
                      struct service_step *ret_step)
{
    struct service_step step = {.timeout_ms = option_number(at, STEP_TIMEOUT)};
    bool shell;
    size_t first = words_take(at, before, &step.once, &shell);
    const struct value *words = at->arguments + first;
    size_t count = at->argument_count - first;
    size_t prefix = shell ? 2 : 0;
    if (!count || !*words->text || (shell && count > 1)) {
        statement_refuse(builder, at,
                         shell ? "a command line in one pair of quotation marks: shell '…'"
                               : "before-start ./migrate --all;",
                         "`%s` needs a command", at->directive->name);
        return;
    }
    step.text = words_show(builder, words, count);
    step.argv = arena_array(builder->arena, prefix + count + 1, sizeof *step.argv);
    if (shell) {
        step.argv[0] = "/bin/sh";
        step.argv[1] = "-c";
    }
    for (size_t i = 0; i < count; i++)
        step.argv[prefix + i] = builder_text(builder, words[i].text);
    *ret_step = step;
}

static const struct service_step *steps_of(struct builder *builder, enum directive_id id,
                                           size_t *ret_count)
{
    struct service_step steps[SERVICE_STEPS_MAX];
    size_t count = 0;
    for (const struct statement *at = builder_first(builder, id); at; at = at->next) {
        if (at->directive->id != id || !at->valid)
            continue;
        if (count == SERVICE_STEPS_MAX) {
            statement_refuse(builder, at, NULL, "too many steps: at most %d", SERVICE_STEPS_MAX);
            break;
        }
        steps[count] = (struct service_step){0};
        step_take(builder, at, id == DIRECTIVE_BEFORE_START, &steps[count]);
        count += steps[count].argv != NULL;
    }
    *ret_count = count;
    if (!count)
        return NULL;
    struct service_step *copy = arena_array(builder->arena, count, sizeof *copy);
    memcpy(copy, steps, count * sizeof *copy);
    return copy;
}

void steps_gather(struct builder *builder, struct draft *draft)
{
    struct service *service = &draft->service;
    service->before_start = steps_of(builder, DIRECTIVE_BEFORE_START, &service->before_start_count);
    service->after_stop = steps_of(builder, DIRECTIVE_AFTER_STOP, &service->after_stop_count);
}
