#include "cli/top/top.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/top/logs.h"
#include "cli/top/look.h"
#include "cli/top/orders.h"
#include "cli/top/paint.h"
#include "cli/top/screen.h"
#include "cli/top/typing.h"
#include "event/signals.h"

enum {
    MESSAGE_SHOWN_MS = 8000, /* how long a result stands in the last line */
    KEYS_PER_TURN = 64,
};

struct top {
    const struct top_options *options;
    struct loop *loop;
    struct look look;
    struct arrangement arrangement;
    struct page page;
    enum mode mode;
    size_t *rows; /* owned */
    size_t count, room;
    size_t first, chosen;
    enum item_kind chosen_kind; /* the item that the cursor follows */
    char chosen_name[256];
    char line[FILTER_BYTES]; /* what is typed */
    char line_before[FILTER_BYTES];
    size_t menu;
    enum action asked_action; /* what CONFIRM and SCALE will do, to what was chosen then */
    enum item_kind asked_kind;
    char asked_name[256];
    char asked[COMMAND_TEXT_BYTES + 32];
    struct paint_message message;
    struct timer message_over;
    struct orders orders;
    struct logs *logs;
    struct watch keys;
    struct deferred show; /* at the end of the turn */
    struct signals *signals;
    int ended_by; /* a signal's number */
};

/* ---- showing ----------------------------------------------------------------------------------
 */

static const struct item *item_chosen(const struct top *top)
{
    return top->look.model && top->chosen < top->count
               ? &top->look.model->items[top->rows[top->chosen]]
               : NULL;
}

static void chosen_note(struct top *top)
{
    const struct item *item = item_chosen(top);
    if (!item)
        return;
    top->chosen_kind = item->kind;
    snprintf(top->chosen_name, sizeof top->chosen_name, "%s", item->name);
}

/* Puts the items in order; the cursor stays with its item, or else where it is. */
static void rows_arrange(struct top *top)
{
    const struct model *model = top->look.model;
    if (!model)
        return;
    if (model->item_count > top->room) {
        size_t *rows = reallocarray(top->rows, model->item_count, sizeof *rows);
        if (!rows)
            return;
        top->rows = rows;
        top->room = model->item_count;
    }
    top->count = arrange(model, &top->arrangement, top->rows);
    for (size_t i = 0; i < top->count; i++) {
        const struct item *item = &model->items[top->rows[i]];
        if (item->kind == top->chosen_kind && strcmp(item->name, top->chosen_name) == 0) {
            top->chosen = i;
            return;
        }
    }
    if (top->chosen >= top->count)
        top->chosen = top->count ? top->count - 1 : 0;
    chosen_note(top);
}

static void show(struct deferred *deferred)
{
    struct top *top = deferred->owner;
    struct paint_message trouble = {.style = STYLE_BAD};
    bool troubled = top->look.trouble[0] != 0;
    if (troubled)
        snprintf(trouble.text, sizeof trouble.text, "%s; it is asked again", top->look.trouble);
    top->first =
        paint_first(top->first, top->chosen, top->count, paint_table_rows(top->page.height));
    struct paint paint = {.model = top->look.model,
                          .arrangement = &top->arrangement,
                          .rows = top->rows,
                          .count = top->count,
                          .first = top->first,
                          .chosen = top->chosen,
                          .mode = top->mode,
                          .line = top->line,
                          .menu = top->menu,
                          .asked = top->asked,
                          .message = troubled ? &trouble : &top->message};
    if (top->mode == MODE_LOGS && top->logs) {
        logs_paint(top->logs, &top->page);
        paint_bottom(&top->page, &paint);
    } else {
        paint_page(&top->page, &paint);
    }
    screen_show(&top->page);
}

static void show_soon(struct top *top)
{
    deferred_start(top->loop, &top->show, show, top);
}

static void message_end(struct timer *timer)
{
    struct top *top = timer->owner;
    top->message.text[0] = 0;
    show_soon(top);
}

static void say(void *owner, enum page_style style, const char *what, const char *more)
{
    struct top *top = owner;
    snprintf(top->message.text, sizeof top->message.text, "%s%s%s", what, more ? ": " : "",
             more ? more : "");
    top->message.style = style;
    (void)timer_start(top->loop, &top->message_over, MESSAGE_SHOWN_MS, message_end, top);
    show_soon(top);
}

static void looked(void *owner)
{
    struct top *top = owner;
    if (top->look.news[0])
        say(top, STYLE_WARNING, top->look.news, NULL);
    top->look.news[0] = 0;
    rows_arrange(top);
    show_soon(top);
}

static void size_take(struct top *top)
{
    unsigned width, height;
    screen_size(&width, &height);
    if (width != top->page.width || height != top->page.height)
        (void)page_resize(&top->page, width, height);
    show_soon(top);
}

/* ---- commands ---------------------------------------------------------------------------------
 */

static void order_done(void *owner)
{
    struct top *top = owner;
    look_soon(&top->look);
}

static void order_send(struct top *top, uint32_t count)
{
    const struct item *item =
        top->look.model ? model_find(top->look.model, top->asked_kind, top->asked_name) : NULL;
    char text[COMMAND_TEXT_BYTES];
    json_t *request = command_request(top->asked_action, item, count, text);
    if (request)
        orders_send(&top->orders, request, text);
    else
        say(top, STYLE_BAD, item ? text : "it is not there any more", NULL);
}

/* Remembers what is to be done to what, and asks; false: it cannot be done. */
static bool order_ask(struct top *top, enum action action)
{
    const struct item *item = item_chosen(top);
    char text[COMMAND_TEXT_BYTES];
    json_t *request = command_request(action, item, 1, text);
    if (!request) {
        say(top, STYLE_BAD, text, NULL);
        return false;
    }
    json_decref(request);
    top->asked_action = action;
    top->asked_kind = item->kind;
    snprintf(top->asked_name, sizeof top->asked_name, "%s", item->name);
    top->line[0] = 0;
    if (action == ACTION_SCALE_OPEN)
        snprintf(top->asked, sizeof top->asked, "%.150s: how many instances? ", item->service);
    else
        snprintf(top->asked, sizeof top->asked, "%.250s? (y/n) ", text);
    return true;
}

/* ---- the line that is typed -------------------------------------------------------------------
 */

static void filter_take(struct top *top)
{
    snprintf(top->arrangement.filter, sizeof top->arrangement.filter, "%s", top->line);
    rows_arrange(top);
}

static void line_act(struct top *top, enum action action, unsigned key)
{
    bool digit = key >= '0' && key <= '9';
    if (action == ACTION_TYPE && (digit || top->mode != MODE_SCALE))
        typing_add(top->line, sizeof top->line, key);
    else if (action == ACTION_ERASE)
        typing_erase(top->line);
    else if (action == ACTION_ERASE_ALL)
        top->line[0] = 0;
    if (top->mode == MODE_FILTER)
        filter_take(top); /* one sees what it finds while it is typed */
}

static void line_close(struct top *top, bool accepted)
{
    char *end;
    if (top->mode == MODE_FILTER) {
        if (!accepted)
            memcpy(top->line, top->line_before, sizeof top->line);
        filter_take(top);
    } else if (accepted && top->mode == MODE_SCALE) {
        unsigned long count = strtoul(top->line, &end, 10);
        if (top->line[0])
            order_send(top, count > UINT32_MAX ? UINT32_MAX : (uint32_t)count);
    } else if (accepted && top->mode == MODE_CONFIRM) {
        order_send(top, 0);
    }
}

/* ---- moving, folding, sorting -----------------------------------------------------------------
 */

static size_t moved(size_t at, enum action action, size_t count, size_t page)
{
    size_t last = count ? count - 1 : 0;
    size_t step = action == ACTION_PAGE_UP || action == ACTION_PAGE_DOWN ? page : 1;
    if (action == ACTION_FIRST)
        return 0;
    if (action == ACTION_LAST)
        return last;
    if (action == ACTION_UP || action == ACTION_PAGE_UP)
        return at > step ? at - step : 0;
    return at + step < last ? at + step : last;
}

static void logs_move(struct top *top, enum action action)
{
    long page = top->page.height > 2 ? (long)top->page.height - 2 : 1;
    if (action == ACTION_FIRST || action == ACTION_LAST)
        logs_scroll_end(top->logs, action == ACTION_FIRST);
    else
        logs_scroll(top->logs, action == ACTION_UP        ? -1
                               : action == ACTION_DOWN    ? 1
                               : action == ACTION_PAGE_UP ? -page
                                                          : page);
}

static size_t help_lines(void)
{
    unsigned count = 0;
    while (key_help(count))
        count++;
    return count;
}

static void move(struct top *top, enum action action)
{
    unsigned rows = paint_table_rows(top->page.height);
    if (top->mode == MODE_LOGS && top->logs)
        logs_move(top, action);
    else if (top->mode == MODE_SORT)
        top->menu = moved(top->menu, action, COLUMN_COUNT, 5);
    else if (top->mode == MODE_HELP)
        top->menu = moved(top->menu, action, help_lines(), top->page.height);
    else
        top->chosen = moved(top->chosen, action, top->count, rows ? rows : 1);
    chosen_note(top);
}

static void fold(struct top *top, bool all)
{
    const struct item *item = item_chosen(top);
    struct model *model = top->look.model;
    bool any = false;
    if (!item || item->kind == ITEM_JOB || item->kind == ITEM_LISTENER || top->arrangement.flat)
        return;
    struct item *service = &model->items[item->parent];
    for (size_t i = 0; i < model->item_count; i++)
        any |= model->items[i].kind == ITEM_SERVICE && !model->items[i].folded;
    for (size_t i = 0; i < model->item_count; i++)
        if (all && model->items[i].kind == ITEM_SERVICE)
            model->items[i].folded = any;
    if (!all)
        service->folded = !service->folded;
    top->chosen_kind = ITEM_SERVICE;
    snprintf(top->chosen_name, sizeof top->chosen_name, "%s", service->name);
    rows_arrange(top);
}

static void sort_set(struct top *top, enum column column)
{
    if (column == COLUMN_COUNT)
        return;
    top->arrangement.reversed &= column == top->arrangement.sort;
    top->arrangement.sort = column;
    rows_arrange(top);
}

static void sort_step(struct top *top, int step)
{
    struct column_layout layout;
    if (!top->look.model)
        return;
    paint_layout(top->look.model, top->rows, top->count, top->page.width, top->arrangement.flat,
                 &layout);
    sort_set(top, arrange_sort_step(top->arrangement.sort, layout.shown, step));
}

static enum column column_by_key(unsigned key)
{
    for (unsigned i = 0; i < COLUMN_COUNT; i++)
        if (column_row((enum column)i)->key &&
            (unsigned char)column_row((enum column)i)->key == key)
            return (enum column)i;
    return COLUMN_COUNT;
}

/* ---- logs -------------------------------------------------------------------------------------
 */

static void logs_shown(void *owner)
{
    show_soon(owner);
}

static bool logs_begin(struct top *top)
{
    const struct item *item = item_chosen(top);
    if (!top->look.model)
        return false;
    top->logs = logs_open(top->loop, top->look.model->logs, item ? item->service : NULL,
                          item ? item->number : 0, logs_shown, top);
    if (!top->logs)
        say(top, STYLE_BAD, "the logs cannot be read", strerror(errno));
    return top->logs != NULL;
}

/* ---- keys -------------------------------------------------------------------------------------
 */

/* False: it cannot be done, and the mode stays. */
static bool act(struct top *top, enum action action, unsigned key)
{
    switch (action) {
    case ACTION_NOTHING:
    case ACTION_QUIT:
        break;
    case ACTION_UP:
    case ACTION_DOWN:
    case ACTION_PAGE_UP:
    case ACTION_PAGE_DOWN:
    case ACTION_FIRST:
    case ACTION_LAST:
        move(top, action);
        break;
    case ACTION_FOLD:
    case ACTION_FOLD_ALL:
        fold(top, action == ACTION_FOLD_ALL);
        break;
    case ACTION_FLAT:
        top->arrangement.flat = !top->arrangement.flat;
        rows_arrange(top);
        break;
    case ACTION_VIEW:
        top->arrangement.view =
            top->arrangement.view == VIEW_SERVICES ? VIEW_LISTENERS : VIEW_SERVICES;
        rows_arrange(top);
        break;
    case ACTION_SORT_LEFT:
    case ACTION_SORT_RIGHT:
        sort_step(top, action == ACTION_SORT_LEFT ? -1 : 1);
        break;
    case ACTION_SORT_BY:
        sort_set(top, column_by_key(key));
        break;
    case ACTION_SORT_OTHER_WAY:
        top->arrangement.reversed = !top->arrangement.reversed;
        rows_arrange(top);
        break;
    case ACTION_SORT_OPEN:
        top->menu = top->arrangement.sort;
        break;
    case ACTION_SORT_ACCEPT:
        sort_set(top, (enum column)top->menu);
        break;
    case ACTION_HELP:
        top->menu = 0;
        break;
    case ACTION_FILTER_OPEN:
        memcpy(top->line, top->arrangement.filter, sizeof top->line);
        memcpy(top->line_before, top->line, sizeof top->line);
        break;
    case ACTION_UNDRAIN:
        if (order_ask(top, action))
            order_send(top, 0);
        break;
    case ACTION_SCALE_OPEN:
    case ACTION_DRAIN:
    case ACTION_RESTART:
    case ACTION_ROLL:
    case ACTION_JOB:
        return order_ask(top, action);
    case ACTION_LOGS:
        return logs_begin(top);
    case ACTION_REDRAW:
        screen_forget();
        break;
    case ACTION_TYPE:
    case ACTION_ERASE:
    case ACTION_ERASE_ALL:
        if (top->mode == MODE_LIST) {
            top->line[0] = 0; /* Escape: all rows again */
            filter_take(top);
        }
        line_act(top, action, key);
        break;
    case ACTION_ACCEPT:
    case ACTION_CLOSE:
        line_close(top, action == ACTION_ACCEPT);
        logs_close(top->logs);
        top->logs = NULL;
        break;
    }
    return true;
}

static void key_take(struct top *top, unsigned key)
{
    enum action action = key_action(top->mode, key);
    if (act(top, action, key))
        top->mode = key_mode_after(top->mode, action);
    if (top->mode == MODE_QUIT)
        loop_stop(top->loop);
    show_soon(top);
}

static void keys_ready(struct watch *watch, unsigned events)
{
    struct top *top = watch->owner;
    bool ended = (events & WATCH_HANGUP) && !(events & WATCH_READ);
    unsigned key;
    for (int i = 0; i < KEYS_PER_TURN && top->mode != MODE_QUIT && !ended; i++) {
        if (!(key = screen_key(&ended)))
            break;
        key_take(top, key);
    }
    if (ended)
        loop_stop(top->loop);
}

/* ---- life -------------------------------------------------------------------------------------
 */

static void signal_came(void *owner, int number, int sender)
{
    struct top *top = owner;
    (void)sender;
    if (number == SIGWINCH) {
        size_take(top);
        return;
    }
    top->ended_by = number;
    loop_stop(top->loop);
}

static int begin(struct top *top, char *why, size_t why_size)
{
    static const int numbers[] = {SIGWINCH, SIGTERM, SIGHUP, SIGINT, SIGQUIT, 0};
    top->loop = loop_new();
    top->signals = top->loop ? signals_new(top->loop, numbers, signal_came, top) : NULL;
    if (!top->signals) {
        snprintf(why, why_size, "%s", strerror(errno));
        return -1;
    }
    if (!screen_open(top->options->colours, why, why_size))
        return -1;
    int error = watch_start(top->loop, &top->keys, STDIN_FILENO, WATCH_READ, keys_ready, top);
    if (error) {
        snprintf(why, why_size, "standard input: %s", strerror(-error));
        return -1;
    }
    orders_begin(&top->orders, top->loop, top->options->state, say, order_done, top);
    look_begin(&top->look, top->loop, top->options->state, top->options->interval_ms, looked, top);
    size_take(top);
    return 0;
}

static void end(struct top *top)
{
    screen_close();
    logs_close(top->logs);
    orders_end(&top->orders);
    if (top->look.loop)
        look_end(&top->look);
    if (top->loop)
        watch_stop(top->loop, &top->keys);
    signals_free(top->signals);
    loop_free(top->loop);
    page_done(&top->page);
    free(top->rows);
}

int top_run(const struct top_options *options, char *why, size_t why_size)
{
    struct top *top = calloc(1, sizeof *top);
    if (!top) {
        snprintf(why, why_size, "no memory");
        return -1;
    }
    top->options = options;
    top->arrangement = options->arrangement;
    int result = begin(top, why, why_size);
    if (!result)
        result = loop_run(top->loop) < 0 ? -1 : top->ended_by;
    end(top);
    free(top);
    return result;
}
