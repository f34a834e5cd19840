#include "cli/top/arrange.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct ordering { /* what the comparison needs */
    const struct model *model;
    const struct arrangement *arrangement;
};

static const char *text_in(const struct item *item, enum column column)
{
    return column == COLUMN_STATE ? item->state : column == COLUMN_NOTE ? item->note : item->name;
}

static int values_compare(const struct item *one, const struct item *other, enum column column)
{
    double a = one->value[column], b = other->value[column];
    return a > b ? -1 : a < b; /* the highest first */
}

/* Items of one level; what is not known comes last, either way round. Equal ones by their names,
 * and those as in the status. */
static int items_compare(const struct item *one, const struct item *other,
                         const struct arrangement *arrangement)
{
    enum column column = arrangement->sort;
    int order;
    if (one->kind != other->kind && (one->kind == ITEM_JOB || other->kind == ITEM_JOB))
        return one->kind == ITEM_JOB ? 1 : -1;
    if (column_row(column)->text) {
        order = strverscmp(text_in(one, column), text_in(other, column));
    } else {
        bool unknown = isnan(one->value[column]), too = isnan(other->value[column]);
        if (unknown != too)
            return unknown ? 1 : -1;
        order = unknown ? 0 : values_compare(one, other, column);
    }
    if (arrangement->reversed)
        order = -order;
    if (!order)
        order = strverscmp(one->name, other->name);
    return order ? order : one < other ? -1 : one > other;
}

static int rows_compare(const void *left, const void *right, void *owner)
{
    const struct ordering *ordering = owner;
    const struct item *items = ordering->model->items;
    const struct item *one = &items[*(const size_t *)left], *other = &items[*(const size_t *)right];
    const struct item *above = &items[one->parent], *beside = &items[other->parent];
    if (ordering->arrangement->flat || above == beside)
        /* A service stands above its instances, whatever the order. */
        return one == other                                   ? 0
               : one == above && !ordering->arrangement->flat ? -1
               : other == above && !ordering->arrangement->flat
                   ? 1
                   : items_compare(one, other, ordering->arrangement);
    return items_compare(above, beside, ordering->arrangement);
}

static bool fits(const struct item *item, const char *filter)
{
    return !*filter || strcasestr(item->name, filter) || strcasestr(item->state, filter) ||
           strcasestr(item->note, filter);
}

static bool service_shown(const struct model *model, size_t at, const char *filter)
{
    if (fits(&model->items[at], filter))
        return true;
    for (size_t i = at + 1; i < model->item_count && model->items[i].parent == at; i++)
        if (fits(&model->items[i], filter))
            return true;
    return false;
}

static bool item_shown(const struct model *model, size_t at, const struct arrangement *arrangement)
{
    const struct item *item = &model->items[at];
    const struct item *parent = &model->items[item->parent];
    bool listener = item->kind == ITEM_LISTENER;
    if (listener != (arrangement->view == VIEW_LISTENERS))
        return false;
    if (item->kind == ITEM_SERVICE)
        return !arrangement->flat && service_shown(model, at, arrangement->filter);
    if (item->kind == ITEM_INSTANCE && !arrangement->flat)
        return !parent->folded && (fits(item, arrangement->filter) ||
                                   strcasestr(parent->name, arrangement->filter) != NULL);
    return fits(item, arrangement->filter);
}

size_t arrange(const struct model *model, const struct arrangement *arrangement, size_t *ret_rows)
{
    size_t count = 0;
    struct ordering ordering = {model, arrangement};
    for (size_t i = 0; i < model->item_count; i++)
        if (item_shown(model, i, arrangement))
            ret_rows[count++] = i;
    qsort_r(ret_rows, count, sizeof *ret_rows, rows_compare, &ordering);
    return count;
}

enum column arrange_sort_step(enum column sort, const bool shown[COLUMN_COUNT], int step)
{
    int at = (int)sort;
    do
        at = (at + step + COLUMN_COUNT) % COLUMN_COUNT;
    while (!shown[at] && at != (int)sort);
    return (enum column)at;
}
