#include "supervise/marks.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/process.h"
#include "supervise/launch.h"

struct marked {
    char *mark;
    pid_t pid;
};

struct marks {
    struct loop *loop;
    struct marked *marked; /* sorted by mark */
    size_t count;
    size_t room;
    uint64_t turn; /* of the loop, in which it was read */
    bool read;
};

struct marks *marks_new(struct loop *loop)
{
    struct marks *marks = calloc(1, sizeof *marks);
    if (marks)
        marks->loop = loop;
    return marks;
}

static void marks_forget(struct marks *marks)
{
    for (size_t i = 0; i < marks->count; i++)
        free(marks->marked[i].mark);
    marks->count = 0;
    marks->read = false;
}

void marks_free(struct marks *marks)
{
    if (!marks)
        return;
    marks_forget(marks);
    free(marks->marked);
    free(marks);
}

static void marks_add(void *owner, pid_t pid, const char *mark)
{
    struct marks *marks = owner;
    if (marks->count == marks->room) {
        size_t room = marks->room ? marks->room * 2 : 64;
        struct marked *marked = reallocarray(marks->marked, room, sizeof *marked);
        if (!marked)
            return;
        marks->marked = marked;
        marks->room = room;
    }
    char *copy = strdup(mark);
    if (copy)
        marks->marked[marks->count++] = (struct marked){.mark = copy, .pid = pid};
}

static int marked_compare(const void *left, const void *right)
{
    const struct marked *one = left;
    const struct marked *other = right;
    return strcmp(one->mark, other->mark);
}

static void marks_read(struct marks *marks)
{
    if (marks->read && marks->turn == loop_turns(marks->loop))
        return;
    marks_forget(marks);
    (void)processes_with_environment(LAUNCH_MARK, marks_add, marks);
    if (marks->count)
        qsort(marks->marked, marks->count, sizeof *marks->marked, marked_compare);
    marks->turn = loop_turns(marks->loop);
    marks->read = true;
}

/* The place of the first that is not before `mark`. */
static size_t marks_first(const struct marks *marks, const char *mark)
{
    size_t low = 0;
    size_t high = marks->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(marks->marked[middle].mark, mark) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t marks_processes(struct marks *marks, const char *mark, pid_t *ret_pids, size_t max)
{
    size_t count = 0;
    marks_read(marks);
    for (size_t i = marks_first(marks, mark);
         i < marks->count && count < max && strcmp(marks->marked[i].mark, mark) == 0; i++)
        ret_pids[count++] = marks->marked[i].pid;
    return count;
}
