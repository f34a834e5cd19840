#include "cli/top/logs.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scoped.h"
#include "event/signals.h"
#include "proc/logread.h"

enum { LINES_BEFORE = 500, READ_BYTES = 16 * 1024 };

struct logs {
    struct loop *loop;
    pid_t reader;
    int fd; /* what it prints; owned; -1: it has ended */
    struct watch watch;
    char *lines[LOGS_LINES_MAX]; /* a ring; owned */
    size_t next, count;          /* the next place of the ring; how many are in it */
    size_t back;                 /* lines below the page; 0: it follows */
    char part[LOGS_LINE_BYTES_MAX];
    size_t part_length;
    logs_changed *changed;
    void *owner;
};

/* In the child; does not come back. */
static void reader_run(int out_fd, const struct logread_options *options)
{
    signals_unblock_all();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    FILE *out = fdopen(out_fd, "w");
    if (out)
        (void)logread_follow(out, options);
    _exit(0);
}

/* ---- lines ------------------------------------------------------------------------------------
 */

static void line_add(struct logs *logs)
{
    char *line = strndup(logs->part, logs->part_length);
    logs->part_length = 0;
    if (!line)
        return;
    free(logs->lines[logs->next]);
    logs->lines[logs->next] = line;
    logs->next = (logs->next + 1) % LOGS_LINES_MAX;
    logs->count += logs->count < LOGS_LINES_MAX;
    if (logs->back && logs->back + 1 < logs->count)
        logs->back++; /* what is looked at stays where it is */
}

static void bytes_take(struct logs *logs, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i] == '\n')
            line_add(logs);
        else if (logs->part_length + 1 < sizeof logs->part)
            logs->part[logs->part_length++] = bytes[i] ? bytes[i] : '?';
}

static void ready(struct watch *watch, unsigned events)
{
    struct logs *logs = watch->owner;
    char bytes[READ_BYTES];
    (void)events;
    ssize_t count = read(logs->fd, bytes, sizeof bytes);
    if (count > 0)
        bytes_take(logs, bytes, (size_t)count);
    else if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
        watch_stop(logs->loop, watch);
        fd_drop(&logs->fd);
    }
    logs->changed(logs->owner);
}

/* ---- life -------------------------------------------------------------------------------------
 */

struct logs *logs_open(struct loop *loop, const char *directory, const char *service,
                       uint32_t instance, logs_changed *changed, void *owner)
{
    int pipe_fds[2];
    struct logread_options options = {
        .directory = directory, .service = service, .instance = instance, .lines = LINES_BEFORE};
    struct logs *logs = calloc(1, sizeof *logs);
    if (!logs || pipe2(pipe_fds, O_CLOEXEC) < 0) {
        free(logs);
        return NULL;
    }
    logs->loop = loop;
    logs->fd = pipe_fds[0];
    logs->changed = changed;
    logs->owner = owner;
    logs->reader = fork();
    if (logs->reader == 0) {
        close(logs->fd);
        reader_run(pipe_fds[1], &options);
    }
    close(pipe_fds[1]);
    (void)fcntl(logs->fd, F_SETFL, O_NONBLOCK);
    if (logs->reader < 0 ||
        watch_start(loop, &logs->watch, logs->fd, WATCH_READ, ready, logs) < 0) {
        logs_close(logs);
        return NULL;
    }
    return logs;
}

void logs_close(struct logs *logs)
{
    if (!logs)
        return;
    watch_stop(logs->loop, &logs->watch);
    fd_drop(&logs->fd);
    if (logs->reader > 0) {
        kill(logs->reader, SIGKILL);
        waitpid(logs->reader, NULL, 0);
    }
    for (size_t i = 0; i < LOGS_LINES_MAX; i++)
        free(logs->lines[i]);
    free(logs);
}

/* ---- looking ----------------------------------------------------------------------------------
 */

void logs_scroll(struct logs *logs, long rows)
{
    long back = (long)logs->back - rows;
    long most = logs->count ? (long)logs->count - 1 : 0;
    logs->back = (size_t)(back < 0 ? 0 : back > most ? most : back);
}

void logs_scroll_end(struct logs *logs, bool first)
{
    logs->back = first && logs->count ? logs->count - 1 : 0;
}

void logs_paint(const struct logs *logs, struct page *page)
{
    unsigned rows = page->height > 1 ? page->height - 1 : page->height;
    size_t left = logs->count - logs->back;
    size_t shown = left < rows ? left : rows;
    page_clear(page);
    for (size_t i = 0; i < shown; i++) {
        size_t behind = logs->back + shown - i; /* of the newest */
        const char *line = logs->lines[(logs->next + LOGS_LINES_MAX - behind) % LOGS_LINES_MAX];
        page_text(page, (unsigned)i, 0, page->width, STYLE_PLAIN, line);
    }
    if (!logs->count)
        page_text(page, 0, 0, page->width, STYLE_DIM, "nothing was printed yet");
}
