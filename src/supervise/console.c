#include "supervise/console.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"

enum { SOURCE_WIDTH = 10 };

struct console {
    struct loop *loop;
    struct watch watch;
    struct buffer waiting;
    int fd;
    bool fd_owned;
    bool colour;
    bool journal; /* it is systemd's */
    bool lost;    /* the reader is gone */
    size_t dropped;
};

static const char *const hues[] = {"36", "33", "32", "35", "34", "96", "93", "92", "95", "94"};

/* Another open file description of the same terminal, pipe or file, so that making it non-blocking
 * does not change it for the shell that shares it. A socket cannot be opened anew. */
static int descriptor_reopen(int fd, bool *ret_owned)
{
    struct stat stat;
    *ret_owned = false;
    if (fstat(fd, &stat) == 0 && !S_ISSOCK(stat.st_mode)) {
        char path[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        int flags = S_ISREG(stat.st_mode) ? O_APPEND : O_NOCTTY;
        int own = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | flags);
        *ret_owned = own >= 0;
        if (own >= 0)
            return own;
    }
    int flags = fcntl(fd, F_GETFL);
    if (flags >= 0)
        fcntl(fd, F_SETFL, flags | O_NONBLOCK);
    return fd;
}

bool console_is_journal(int fd)
{
    char ours[64];
    struct stat stat;
    const char *stream = getenv("JOURNAL_STREAM");
    if (!stream || fstat(fd, &stat) < 0)
        return false;
    snprintf(ours, sizeof ours, "%llu:%llu", (unsigned long long)stat.st_dev,
             (unsigned long long)stat.st_ino);
    return strcmp(stream, ours) == 0;
}

struct console *console_new(struct loop *loop, int fd, bool colour)
{
    struct console *console = calloc(1, sizeof *console);
    if (!console)
        return NULL;
    console->loop = loop;
    console->colour = colour;
    console->journal = console_is_journal(fd);
    console->fd = descriptor_reopen(fd, &console->fd_owned);
    buffer_init(&console->waiting, CONSOLE_BYTES_MAX);
    return console;
}

static void console_ready(struct watch *watch, unsigned events);

/* Writes what it can; waits for the rest only when there is one. */
static void console_flush(struct console *console)
{
    while (console->waiting.length && !console->lost) {
        ssize_t written = write(console->fd, console->waiting.data, console->waiting.length);
        if (written > 0)
            buffer_consume(&console->waiting, (size_t)written);
        else if (written < 0 && errno == EINTR)
            continue;
        else if (written < 0 && errno != EAGAIN)
            console->lost = true;
        else
            break;
    }
    if (console->lost)
        buffer_clear(&console->waiting);
    if (!console->waiting.length)
        watch_stop(console->loop, &console->watch);
    else if (!console->watch.active && watch_start(console->loop, &console->watch, console->fd,
                                                   WATCH_WRITE, console_ready, console) < 0)
        console->lost = true; /* a regular file never says EAGAIN, so this is a broken descriptor */
}

static void console_ready(struct watch *watch, unsigned events)
{
    (void)events;
    console_flush(watch->owner);
}

void console_free(struct console *console)
{
    if (!console)
        return;
    console_flush(console);
    watch_stop(console->loop, &console->watch);
    buffer_done(&console->waiting);
    if (console->fd_owned)
        close(console->fd);
    free(console);
}

static const char *time_of_day(char text[16])
{
    uint64_t now_ms = clock_wall_ms();
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm tm;
    localtime_r(&seconds, &tm);
    snprintf(text, 16, "%02d:%02d:%02d.%03u", tm.tm_hour % 24, tm.tm_min % 60, tm.tm_sec % 61,
             (unsigned)(now_ms % 1000));
    return text;
}

/* The length of a colour sequence, "ESC [ digits ; digits m"; 0: it is none. */
static size_t colour_length(const char *text, size_t length)
{
    size_t at = 2;
    if (length < 3 || text[0] != '\033' || text[1] != '[')
        return 0;
    while (at < length && ((text[at] >= '0' && text[at] <= '9') || text[at] == ';'))
        at++;
    return at < length && text[at] == 'm' ? at + 1 : 0;
}

/* A program may colour its lines; nothing else that it prints may steer a person's terminal. */
static void text_add(struct buffer *out, const char *text, size_t length)
{
    size_t begin = 0;
    for (size_t at = 0; at < length;) {
        unsigned char byte = (unsigned char)text[at];
        size_t colour = byte == '\033' ? colour_length(text + at, length - at) : 0;
        if (colour || (byte >= 0x20 && byte != 0x7f) || byte == '\t') {
            at += colour ? colour : 1;
            continue;
        }
        buffer_append(out, text + begin, at - begin);
        if (byte != '\r')
            buffer_puts(out, "?");
        begin = ++at;
    }
    buffer_append(out, text + begin, length - begin);
}

/* syslog(3)'s numbers. */
static int priority_of(enum log_level level)
{
    static const int priorities[] = {
        [LOG_LEVEL_ERROR] = 3, [LOG_LEVEL_WARN] = 4, [LOG_LEVEL_INFO] = 6, [LOG_LEVEL_DEBUG] = 7};
    return priorities[level];
}

static void head_put(struct console *console, enum log_level level, const char *source, int hue)
{
    char time[16];
    bool colour = console->colour && hue >= 0;
    size_t hue_count = sizeof hues / sizeof hues[0];
    if (console->journal)
        buffer_printf(&console->waiting, "<%d>%s: ", priority_of(level), source);
    else
        buffer_printf(&console->waiting, "%s %s%s%s%-*s |%s ", time_of_day(time),
                      colour ? "\033[" : "", colour ? hues[(size_t)hue % hue_count] : "",
                      colour ? "m" : "", SOURCE_WIDTH, source, colour ? "\033[0m" : "");
}

void console_line(struct console *console, enum log_level level, const char *source, int hue,
                  const char *text, size_t length)
{
    if (!console || console->lost)
        return;
    /* Room for the whole line or none of it, and for the word about what is missing. */
    if (console->waiting.length + length + 256 > CONSOLE_BYTES_MAX) {
        console->dropped++;
        return;
    }
    if (console->dropped)
        buffer_printf(&console->waiting, "… %zu lines not shown: nobody read them\n",
                      console->dropped);
    console->dropped = 0;
    head_put(console, level, source, hue);
    text_add(&console->waiting, text, length);
    buffer_puts(&console->waiting, "\n");
    console_flush(console);
}
