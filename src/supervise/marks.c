#include "supervise/marks.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernel/process.h"
#include "supervise/launch.h"

struct marked {
    char *mark;
    pid_t pid;
};

struct member {
    pid_t session;
    pid_t pid;
};

struct marks {
    struct loop *loop;
    struct marked *marked; /* sorted by mark */
    size_t count;
    size_t room;
    struct member *members; /* of all sessions, sorted by session */
    size_t member_count;
    size_t member_room;
    uint64_t turn;  /* of the loop, in which it was read */
    unsigned walks; /* over /proc, that it is of; 0: not read */
    uint64_t walks_ever;
};

enum { WALKS_TO_ANSWER = 1, WALKS_TO_BE_SURE = 2 };

struct marks *marks_new(struct loop *loop)
{
    struct marks *marks = calloc(1, sizeof *marks);
    if (marks)
        marks->loop = loop;
    return marks;
}

static void marks_clear(struct marks *marks)
{
    for (size_t i = 0; i < marks->count; i++)
        free(marks->marked[i].mark);
    marks->count = marks->member_count = 0;
    marks->walks = 0;
}

void marks_free(struct marks *marks)
{
    if (!marks)
        return;
    marks_clear(marks);
    free(marks->marked);
    free(marks->members);
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
    int order = strcmp(one->mark, other->mark);
    return order ? order : (one->pid > other->pid) - (one->pid < other->pid);
}

static bool member_add(void *owner, pid_t pid)
{
    struct marks *marks = owner;
    if (marks->member_count == marks->member_room) {
        size_t room = marks->member_room ? marks->member_room * 2 : 256;
        struct member *members = reallocarray(marks->members, room, sizeof *members);
        if (!members)
            return false;
        marks->members = members;
        marks->member_room = room;
    }
    pid_t session = getsid(pid);
    if (session > 0)
        marks->members[marks->member_count++] = (struct member){.session = session, .pid = pid};
    return true;
}

static int member_compare(const void *left, const void *right)
{
    const struct member *one = left;
    const struct member *other = right;
    return (one->session > other->session) - (one->session < other->session);
}

static void marks_read(struct marks *marks, unsigned walks)
{
    if (marks->turn != loop_turns(marks->loop))
        marks_clear(marks);
    marks->turn = loop_turns(marks->loop);
    if (marks->walks >= walks)
        return;
    for (; marks->walks < walks; marks->walks++) {
        marks->walks_ever++;
        (void)processes_value_each(LAUNCH_MARK, marks_add, marks);
        (void)processes_each(member_add, marks);
    }
    if (marks->count)
        qsort(marks->marked, marks->count, sizeof *marks->marked, marked_compare);
    if (marks->member_count)
        qsort(marks->members, marks->member_count, sizeof *marks->members, member_compare);
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

static size_t members_first(const struct marks *marks, pid_t session)
{
    size_t low = 0;
    size_t high = marks->member_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (marks->members[middle].session < session)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool pid_stands(const pid_t *pids, size_t count, pid_t pid)
{
    for (size_t i = 0; i < count; i++)
        if (pids[i] == pid)
            return true;
    return false;
}

void marks_forget(struct marks *marks)
{
    marks_clear(marks);
}

uint64_t marks_walks(const struct marks *marks)
{
    return marks->walks_ever;
}

void marks_make_sure(struct marks *marks)
{
    marks_read(marks, WALKS_TO_BE_SURE);
}

size_t marks_processes(struct marks *marks, const char *mark, pid_t session, pid_t *ret_pids,
                       size_t max)
{
    size_t count = 0;
    marks_read(marks, WALKS_TO_ANSWER);
    for (size_t i = marks_first(marks, mark);
         i < marks->count && count < max && strcmp(marks->marked[i].mark, mark) == 0; i++)
        if (!count || ret_pids[count - 1] != marks->marked[i].pid)
            ret_pids[count++] = marks->marked[i].pid;
    if (session <= 0)
        return count;
    for (size_t i = members_first(marks, session);
         i < marks->member_count && count < max && marks->members[i].session == session; i++)
        if (!pid_stands(ret_pids, count, marks->members[i].pid) &&
            process_runs(marks->members[i].pid))
            ret_pids[count++] = marks->members[i].pid;
    return count;
}
