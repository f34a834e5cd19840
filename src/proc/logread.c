#include "proc/logread.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "base/scoped.h"
#include "base/table.h"
#include "proc/logline.h"
#include "proc/logrow.h"
#include "proc/logtail.h"

struct stream {    /* one service's log */
    char *service; /* owned */
    /* How far it has been read, for following: */
    ino_t inode; /* 0: nothing of it was ever seen */
    off_t offset;
};

struct reader {
    const struct logread_options *options;
    FILE *out;
    int directory_fd;
    bool following;
    struct stream *streams;
    size_t stream_count;
    size_t stream_slots;
    char block[LOGTAIL_BLOCK_BYTES];
};

/* ---- streams -------------------------------------------------------------------------------- */

static int stream_add(struct reader *reader, const char *service, size_t length)
{
    for (size_t i = 0; i < reader->stream_count; i++)
        if (!strncmp(reader->streams[i].service, service, length) &&
            !reader->streams[i].service[length])
            return 0;
    if (reader->stream_count == reader->stream_slots) {
        size_t slots = reader->stream_slots ? reader->stream_slots * 2 : 16;
        struct stream *streams = reallocarray(reader->streams, slots, sizeof *streams);
        if (!streams)
            return -ENOMEM;
        reader->streams = streams;
        reader->stream_slots = slots;
    }
    char *name = strndup(service, length);
    if (!name)
        return -ENOMEM;
    reader->streams[reader->stream_count++] = (struct stream){.service = name};
    return 0;
}

static int stream_compare(const void *left, const void *right)
{
    const struct stream *a = left, *b = right;
    return strcmp(a->service, b->service);
}

/* "api.log" → 3, the length of the service's name; 0: not the name of a current log. */
static size_t service_of_file(const char *name)
{
    size_t length = strlen(name), ending = strlen(".log");
    return length > ending && !strcmp(name + length - ending, ".log") ? length - ending : 0;
}

static int streams_find(struct reader *reader)
{
    if (reader->options->service)
        return stream_add(reader, reader->options->service, strlen(reader->options->service));
    scoped_fd int fd = openat(reader->directory_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    scoped_dir DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (!directory)
        return -errno;
    fd_take(&fd);
    int error = 0;
    for (struct dirent *entry; !error && (entry = readdir(directory));) {
        size_t length = service_of_file(entry->d_name);
        if (length)
            error = stream_add(reader, entry->d_name, length);
    }
    /* Lines of the same millisecond come out in the order of names, the same each time. */
    if (reader->stream_count)
        qsort(reader->streams, reader->stream_count, sizeof *reader->streams, stream_compare);
    return error;
}

/* ---- printing ------------------------------------------------------------------------------- */

static const char *colour_of(const char *service, size_t length)
{
    static const char *const colours[] = {"\033[36m", "\033[32m", "\033[33m", "\033[35m",
                                          "\033[34m", "\033[96m", "\033[92m", "\033[93m",
                                          "\033[95m", "\033[94m"};
    uint64_t hash = hash_bytes(service, length, hash_seed());
    return colours[hash % (sizeof colours / sizeof *colours)];
}

static bool line_wanted(const struct reader *reader, const char *text, size_t length)
{
    struct logline line;
    uint32_t instance;
    if (!reader->options->instance || !logline_parse(text, length, &line))
        return true;
    logline_service(line.source, line.source_bytes, &instance);
    return instance == 0 || instance == reader->options->instance;
}

static void line_print(const struct reader *reader, const char *text, size_t length)
{
    struct logline line;
    uint32_t instance;
    if (!reader->options->colour || !logline_parse(text, length, &line)) {
        fwrite(text, 1, length, reader->out);
    } else {
        size_t service = logline_service(line.source, line.source_bytes, &instance);
        fprintf(reader->out, "\033[2m%.*s\033[0m %s%.*s\033[0m ", (int)LOGLINE_TIME_BYTES, text,
                colour_of(line.source, service), (int)line.source_bytes, line.source);
        fwrite(line.text, 1, line.text_bytes, reader->out);
    }
    fputc('\n', reader->out);
}

/* ---- the last lines: a heap of the newest ---------------------------------------------------- */

struct found { /* a line that may be among the last */
    uint64_t wall_ms;
    size_t stream;
    uint64_t back; /* how many lines of its stream are newer */
    char *text;    /* owned */
    size_t length;
};

struct newest { /* a binary heap, the oldest line first */
    struct found *lines;
    size_t count;
    size_t max;
};

/* Older first; within a stream its own order counts, between streams of one time their row. */
static int found_compare(const void *left, const void *right)
{
    const struct found *a = left, *b = right;
    if (a->wall_ms != b->wall_ms)
        return a->wall_ms < b->wall_ms ? -1 : 1;
    if (a->stream != b->stream)
        return a->stream < b->stream ? -1 : 1;
    return a->back > b->back ? -1 : a->back < b->back;
}

static void newest_sink(struct newest *newest, size_t at)
{
    struct found moved = newest->lines[at];
    for (size_t child; (child = at * 2 + 1) < newest->count; at = child) {
        if (child + 1 < newest->count &&
            found_compare(&newest->lines[child + 1], &newest->lines[child]) < 0)
            child++;
        if (found_compare(&moved, &newest->lines[child]) <= 0)
            break;
        newest->lines[at] = newest->lines[child];
    }
    newest->lines[at] = moved;
}

static void newest_rise(struct newest *newest, size_t at)
{
    struct found moved = newest->lines[at];
    while (at > 0 && found_compare(&moved, &newest->lines[(at - 1) / 2]) < 0) {
        newest->lines[at] = newest->lines[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    newest->lines[at] = moved;
}

/* 1: taken; 0: it is older than all, and so is whatever stands before it; -ENOMEM. */
static int newest_offer(struct newest *newest, struct found found, const char *text)
{
    bool full = newest->count == newest->max;
    if (full && found_compare(&found, &newest->lines[0]) <= 0)
        return 0;
    found.text = malloc(found.length + 1);
    if (!found.text)
        return -ENOMEM;
    memcpy(found.text, text, found.length);
    if (full) {
        free(newest->lines[0].text);
        newest->lines[0] = found;
        newest_sink(newest, 0);
    } else {
        newest->lines[newest->count++] = found;
        newest_rise(newest, newest->count - 1);
    }
    return 1;
}

static void newest_done(struct newest *newest)
{
    for (size_t i = 0; i < newest->count; i++)
        free(newest->lines[i].text);
    free(newest->lines);
}

/* Walks one stream backwards for as long as its lines are among the newest. A line without a time,
 * or with one later than its successor's (the clock was set), counts as old as its successor, so
 * that a file's own order is always kept. */
static int stream_collect(struct reader *reader, size_t index, struct newest *newest)
{
    struct logtail tail;
    const struct stream *stream = &reader->streams[index];
    if (reader->following && !stream->inode)
        return 0; /* there was nothing when the marks were set: all of it is new */
    logtail_init(&tail, reader->directory_fd, stream->service, reader->block, stream->inode,
                 stream->inode ? stream->offset : -1);
    struct found found = {.wall_ms = UINT64_MAX, .stream = index};
    int result = 1;
    while (result == 1) {
        const char *text;
        result = logtail_line(&tail, &text, &found.length);
        if (result != 1)
            break;
        struct logline line;
        if (logline_parse(text, found.length, &line) && line.wall_ms < found.wall_ms)
            found.wall_ms = line.wall_ms;
        if (line_wanted(reader, text, found.length))
            result = newest_offer(newest, found, text);
        found.back++;
    }
    logtail_done(&tail);
    return result;
}

static int last_print(struct reader *reader)
{
    uint32_t lines = reader->options->lines;
    struct newest newest = {.max = lines < LOGREAD_LINES_MAX ? lines : LOGREAD_LINES_MAX};
    if (!newest.max)
        return 0;
    newest.lines = calloc(newest.max, sizeof *newest.lines);
    int error = newest.lines ? 0 : -ENOMEM;
    for (size_t i = 0; i < reader->stream_count && !error; i++)
        error = stream_collect(reader, i, &newest);
    qsort(newest.lines, newest.count, sizeof *newest.lines, found_compare);
    for (size_t i = 0; i < newest.count && !error; i++)
        line_print(reader, newest.lines[i].text, newest.lines[i].length);
    newest_done(&newest);
    return error;
}

/* ---- following ------------------------------------------------------------------------------ */

/* Prints the whole lines of the file from the offset on; the new offset. */
static off_t file_print(struct reader *reader, int fd, off_t offset)
{
    for (;;) {
        ssize_t count = pread(fd, reader->block, sizeof reader->block, offset);
        if (count <= 0)
            return offset;
        const char *line = reader->block, *end = reader->block + count;
        for (const char *newline; (newline = memchr(line, '\n', (size_t)(end - line)));
             line = newline + 1)
            if (line_wanted(reader, line, (size_t)(newline - line)))
                line_print(reader, line, (size_t)(newline - line));
        if (line == reader->block && count == (ssize_t)sizeof reader->block)
            line =
                end; /* no line of ours is that long: passed over, or it would stop us for ever */
        if (line == reader->block)
            return offset;
        offset += line - reader->block;
    }
}

/* Opens the file that was read last, or, when it is gone or nothing was read yet, the oldest. */
static int stream_open(const struct reader *reader, struct stream *stream, struct stat *ret_status)
{
    int fd = -ESRCH;
    if (stream->inode)
        fd = logrow_file(reader->directory_fd, stream->service, stream->inode, ret_status);
    if (fd != -ESRCH)
        return fd;
    stream->offset = 0;
    return logrow_oldest(reader->directory_fd, stream->service, ret_status);
}

/* Prints what is new: the rest of the file that was read last, whole files that were written and
 * rotated meanwhile, and the current one. */
static void stream_advance(struct reader *reader, struct stream *stream)
{
    struct stat status;
    int fd = stream_open(reader, stream, &status);
    while (fd >= 0) {
        stream->inode = status.st_ino;
        if (status.st_size < stream->offset)
            stream->offset = 0; /* somebody has cut it */
        /* First whether there is a newer one, then the rest of this one: it grows no more then. */
        int newer = logrow_newer(reader->directory_fd, stream->service, stream->inode, &status);
        stream->offset = file_print(reader, fd, stream->offset);
        close(fd);
        fd = newer;
        if (fd >= 0)
            stream->offset = 0;
    }
}

/* Remembers where the current file ends, so that following begins there. */
static void stream_mark(struct reader *reader, struct stream *stream)
{
    struct stat status;
    scoped_fd int fd = logrow_newest(reader->directory_fd, stream->service, &status);
    if (fd < 0)
        fd = logrow_oldest(reader->directory_fd, stream->service, &status);
    if (fd < 0)
        return;
    stream->inode = status.st_ino;
    stream->offset = status.st_size;
}

/* Takes one event; *ret_all: anything may have changed. */
static int event_take(struct reader *reader, const struct inotify_event *event, bool *ret_all)
{
    if (event->mask & (IN_Q_OVERFLOW | IN_IGNORED))
        *ret_all = true;
    size_t length = event->len ? service_of_file(event->name) : 0;
    if (!length)
        return 0;
    const char *wanted = reader->options->service;
    if (wanted && (strncmp(wanted, event->name, length) != 0 || wanted[length]))
        return 0;
    int error = stream_add(reader, event->name, length);
    for (size_t i = 0; i < reader->stream_count && !error; i++)
        if (!strncmp(reader->streams[i].service, event->name, length) &&
            !reader->streams[i].service[length])
            stream_advance(reader, &reader->streams[i]);
    return error;
}

static int events_take(struct reader *reader, int watcher)
{
    char events[16 * 1024] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t length = read(watcher, events, sizeof events);
    if (length < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    bool all = false;
    int error = 0;
    for (ssize_t at = 0; at < length && !error;) {
        const struct inotify_event *event = (const struct inotify_event *)(events + at);
        error = event_take(reader, event, &all);
        at += (ssize_t)(sizeof *event + event->len);
    }
    if (all && !error)
        error = streams_find(reader);
    for (size_t i = 0; i < reader->stream_count && all && !error; i++)
        stream_advance(reader, &reader->streams[i]);
    if (!error && (fflush(reader->out) || ferror(reader->out)))
        error = -EPIPE;
    return error;
}

static int follow(struct reader *reader, int watcher)
{
    int error = fflush(reader->out) ? -EPIPE : 0;
    while (!error) {
        /* The reader's end is watched too: one that closes while nothing is logged ends us. */
        struct pollfd wait[] = {{.fd = watcher, .events = POLLIN},
                                {.fd = fileno(reader->out), .events = 0}};
        if (poll(wait, 2, -1) < 0 && errno != EINTR)
            return -errno;
        if (wait[1].revents & POLLERR)
            return -EPIPE;
        error = events_take(reader, watcher);
    }
    return error;
}

/* ---- the two ways in ------------------------------------------------------------------------ */

static struct reader *reader_new(FILE *out, const struct logread_options *options, int *ret_error)
{
    struct reader *reader = calloc(1, sizeof *reader);
    *ret_error = reader ? 0 : -ENOMEM;
    if (!reader)
        return NULL;
    reader->out = out;
    reader->options = options;
    reader->directory_fd = open(options->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    *ret_error = reader->directory_fd < 0 ? -errno : streams_find(reader);
    return reader;
}

static void reader_free(struct reader *reader)
{
    if (!reader)
        return;
    for (size_t i = 0; i < reader->stream_count; i++)
        free(reader->streams[i].service);
    free(reader->streams);
    fd_drop(&reader->directory_fd);
    free(reader);
}

int logread_print(FILE *out, const struct logread_options *options)
{
    int error;
    struct reader *reader = reader_new(out, options, &error);
    if (!error && options->service) {
        struct stat status;
        int fd = logrow_oldest(reader->directory_fd, options->service, &status);
        error = fd < 0 ? fd : 0;
        fd_drop(&fd);
    }
    if (!error)
        error = last_print(reader);
    if (!error && fflush(out))
        error = -EPIPE;
    reader_free(reader);
    return error;
}

int logread_follow(FILE *out, const struct logread_options *options)
{
    /* The watch stands before the first look, so that nothing falls between them. What is behind
     * the marks is "the last lines", what comes after them is new: no line is missed, and none
     * comes twice. */
    scoped_fd int watcher = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watcher < 0 || inotify_add_watch(watcher, options->directory,
                                         IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) < 0)
        return -errno;
    int error;
    struct reader *reader = reader_new(out, options, &error);
    if (reader)
        reader->following = true;
    for (size_t i = 0; !error && i < reader->stream_count; i++)
        stream_mark(reader, &reader->streams[i]);
    if (!error)
        error = last_print(reader);
    for (size_t i = 0; !error && i < reader->stream_count; i++)
        stream_advance(reader,
                       &reader->streams[i]); /* what was rotated since has no event to come */
    if (!error)
        error = follow(reader, watcher);
    reader_free(reader);
    return error;
}
