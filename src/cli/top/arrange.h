/* Which items of a look are shown, in which order: sorted, filtered, as a tree or flat. Pure. */
#pragma once

#include "cli/top/model.h"

enum { FILTER_BYTES = 128 };
enum arrange_view { VIEW_SERVICES, VIEW_LISTENERS };

struct arrangement {
    enum arrange_view view;
    enum column sort;
    bool reversed;             /* the other way round than the column's own */
    bool flat;                 /* instances alone, without their services */
    char filter[FILTER_BYTES]; /* part of a name, state or note, whatever its case; "": all */
};

/* Writes the shown items' places into `ret_rows`, which has room for all of the model; how many. In
 * the tree, instances follow their service; a service whose name fits shows all of its instances,
 * one that does not those that fit. */
size_t arrange(const struct model *model, const struct arrangement *arrangement, size_t *ret_rows);
/* The next column to sort by, to the right (1) or to the left (-1), of those that are shown. */
enum column arrange_sort_step(enum column sort, const bool shown[COLUMN_COUNT], int step);
