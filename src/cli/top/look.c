#include "cli/top/look.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

static void ask(struct timer *timer);

/* What went wrong; NULL: nothing. */
static void over(struct look *look, const char *trouble)
{
    uint64_t spent = loop_now(look->loop) - look->asked_ms;
    timer_stop(look->loop, &look->patience);
    look->conversation = NULL;
    snprintf(look->trouble, sizeof look->trouble, "%s", trouble ? trouble : "");
    (void)timer_start(look->loop, &look->next,
                      spent < look->interval_ms ? look->interval_ms - spent : 1, ask, look);
    look->changed(look->owner);
}

static void model_take(struct look *look, const json_t *status)
{
    struct model *before = look->model;
    struct model *model = model_new(status, before, loop_now(look->loop), clock_wall_ms());
    if (!model) {
        over(look, "no memory for what the cluster says");
        return;
    }
    if (before && (before->pid != model->pid || strcmp(before->version, model->version) != 0))
        snprintf(look->news, sizeof look->news,
                 "another supervisor answers: process %lld, version %s", (long long)model->pid,
                 model->version);
    else if (before && look->trouble[0])
        snprintf(look->news, sizeof look->news, "the cluster answers again");
    look->rated = before != NULL;
    look->model = model;
    model_free(before);
    over(look, NULL);
}

static void heard(void *owner, const json_t *object)
{
    struct look *look = owner;
    const json_t *status = json_object_get(object, "status");
    const char *error = json_string_value(json_object_get(object, "error"));
    if (json_is_object(status))
        model_take(look, status);
    else
        over(look, error ? error : "the cluster went away while it was asked");
}

static void out_of_patience(struct timer *timer)
{
    struct look *look = timer->owner;
    conversation_end(look->conversation);
    over(look, "the supervisor does not answer");
}

static void ask(struct timer *timer)
{
    struct look *look = timer->owner;
    char text[LOOK_TEXT_BYTES];
    look->asked_ms = loop_now(look->loop);
    int error = conversation_begin(look->loop, look->state, json_pack("{s:s}", "command", "status"),
                                   heard, look, &look->conversation);
    if (!error) {
        (void)timer_start(look->loop, &look->patience, LOOK_PATIENCE_MS, out_of_patience, look);
        return;
    }
    snprintf(text, sizeof text, "the cluster does not run, or cannot be reached: %s",
             strerror(-error));
    over(look, text);
}

void look_begin(struct look *look, struct loop *loop, const char *state, uint64_t interval_ms,
                void (*changed)(void *owner), void *owner)
{
    *look = (struct look){.loop = loop,
                          .state = state,
                          .interval_ms = interval_ms,
                          .changed = changed,
                          .owner = owner};
    (void)timer_start(loop, &look->next, 0, ask, look);
}

void look_end(struct look *look)
{
    timer_stop(look->loop, &look->next);
    timer_stop(look->loop, &look->patience);
    conversation_end(look->conversation);
    model_free(look->model);
}

void look_soon(struct look *look)
{
    if (!look->conversation)
        (void)timer_start(look->loop, &look->next, 0, ask, look);
}
