#include <stdio.h>
#include <stdlib.h>

#include "cli/top/look.h"
#include "cli/top/paint.h"
#include "cli/top/top.h"

enum { BATCH_WIDTH = 200 };

struct batch {
    const struct top_options *options;
    struct look look;
    struct page line; /* two rows, for one line after the other */
    uint64_t printed;
    bool broken; /* nobody reads */
};

static void row_print(struct batch *batch, unsigned row)
{
    page_row_print(&batch->line, row, stdout);
    page_clear(&batch->line);
}

static void table_print(struct batch *batch)
{
    const struct model *model = batch->look.model;
    const struct arrangement *arrangement = &batch->options->arrangement;
    struct column_layout layout;
    size_t *rows = calloc(model->item_count + 1, sizeof *rows);
    if (!rows)
        return;
    size_t count = arrange(model, arrangement, rows);
    page_clear(&batch->line);
    paint_head(&batch->line, model, 0);
    page_row_print(&batch->line, 0, stdout);
    row_print(batch, 1);
    paint_layout(model, rows, count, BATCH_WIDTH, arrangement->flat, &layout);
    paint_titles(&batch->line, 0, &layout, arrangement);
    row_print(batch, 0);
    for (size_t i = 0; i < count; i++) {
        paint_item(&batch->line, 0, &layout, &model->items[rows[i]], arrangement->flat, false);
        row_print(batch, 0);
    }
    free(rows);
}

/* What is printed first has rates already. */
static void changed(void *owner)
{
    struct batch *batch = owner;
    struct look *look = &batch->look;
    if (look->trouble[0])
        printf("# %s\n", look->trouble);
    else if (!look->rated)
        return;
    if (batch->printed++ && !look->trouble[0])
        printf("\n");
    if (look->news[0])
        printf("# %s\n", look->news);
    look->news[0] = 0;
    if (!look->trouble[0])
        table_print(batch);
    batch->broken = fflush(stdout) != 0;
    if (batch->broken || batch->printed == batch->options->times)
        loop_stop(look->loop);
}

int top_batch(const struct top_options *options, char *why, size_t why_size)
{
    struct batch batch = {.options = options};
    struct loop *loop = loop_new();
    if (!loop || !page_resize(&batch.line, BATCH_WIDTH, 2)) {
        snprintf(why, why_size, "no memory");
        loop_free(loop);
        return -1;
    }
    look_begin(&batch.look, loop, options->state, options->interval_ms, changed, &batch);
    int error = loop_run(loop);
    bool failed = error || (batch.look.trouble[0] && !batch.broken);
    snprintf(why, why_size, "%s", batch.look.trouble);
    look_end(&batch.look);
    page_done(&batch.line);
    loop_free(loop);
    return failed ? -1 : 0;
}
