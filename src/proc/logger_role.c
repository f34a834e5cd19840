/* The logger's own process. One turn: take packets from the socket, split them into lines, gather
 * the lines of one file, write. It is woken by packets, by signals, and by a timer that runs only
 * while a line is begun or a file fails. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/table.h"
#include "base/trim.h"
#include "event/signals.h"
#include "proc/lines.h"
#include "proc/logfile.h"
#include "proc/logger.h"
#include "proc/logline.h"
#include "proc/message.h"
#include "proc/role.h"

enum {
    TICK_MS = 1000, /* a begun line goes out, a failing file is tried again */
    PACKETS_A_TURN_MAX = 64,
    GATHERED_BYTES_MAX = 64 * 1024,
    FILES_OPEN_MAX = 256, /* the others are opened when they are written to */
    EXIT_USAGE = 2,
};
_Static_assert((int)LINES_LINE_BYTES_MAX == (int)LOGGER_LINE_BYTES_MAX &&
                   (int)GATHERED_BYTES_MAX > (int)LOGLINE_BYTES_MAX &&
                   (int)LOGLINE_SOURCE_BYTES >= (int)LOGGER_SOURCE_BYTES,
               "one line fits");

struct file { /* a service's */
    struct logfile *logfile;
    TAILQ_ENTRY(file) recent; /* among those that are open: the last written to stands last */
    LIST_ENTRY(file) failing;
    bool listed_open;
    bool listed_failing;
    char service[];
};

/* The process has one of these. Static memory costs nothing until it is touched. */
static struct {
    struct loop *loop;
    struct watch input;
    struct timer tick;
    struct lines *lines;
    struct table *files; /* service → struct file; never removed */
    TAILQ_HEAD(, file) open;
    size_t open_count;
    LIST_HEAD(, file) failing;
    int directory_fd;
    struct logfile_limits limits;
    uint64_t wall_ms; /* of the packet in hand */
    struct file *gathering;
    size_t gathered;
    char gather[GATHERED_BYTES_MAX];
    char packet[MESSAGE_PACKET_BYTES_MAX];
} logger;

static void tick(struct timer *timer);

static void tick_want(void)
{
    if (!timer_active(&logger.tick))
        timer_start(logger.loop, &logger.tick, TICK_MS, tick, NULL);
}

/* ---- files ---------------------------------------------------------------------------------- */

static struct file *file_new(const char *service, size_t length)
{
    if (table_count(logger.files) >= LOGGER_SOURCES_MAX)
        return NULL;
    struct file *file = calloc(1, sizeof *file + length + 1);
    if (!file)
        return NULL;
    memcpy(file->service, service, length);
    file->logfile = logfile_new(logger.directory_fd, file->service, logger.limits);
    if (!file->logfile || table_add(logger.files, file->service, file, NULL)) {
        logfile_free(file->logfile);
        free(file);
        return NULL;
    }
    return file;
}

/* The file of the source's service. NULL: no memory, or too many services. */
static struct file *file_of(const char *source)
{
    uint32_t instance;
    size_t length = logline_service(source, strlen(source), &instance);
    struct file *last = logger.gathering;
    if (last && !strncmp(last->service, source, length) && !last->service[length])
        return last;
    char service[LOGLINE_SOURCE_BYTES];
    memcpy(service, source, length);
    service[length] = 0;
    struct file *file = table_get(logger.files, service);
    return file ? file : file_new(service, length);
}

/* Keeps the list of open files in order, and their number small. */
static void file_touched(struct file *file)
{
    if (file->listed_open) {
        TAILQ_REMOVE(&logger.open, file, recent);
        logger.open_count--;
    }
    file->listed_open = logfile_open(file->logfile);
    if (!file->listed_open)
        return;
    TAILQ_INSERT_TAIL(&logger.open, file, recent);
    if (++logger.open_count <= FILES_OPEN_MAX)
        return;
    struct file *oldest = TAILQ_FIRST(&logger.open);
    logfile_close(oldest->logfile);
    file_touched(oldest);
}

static void files_close(void)
{
    struct file *file;
    while ((file = TAILQ_FIRST(&logger.open))) {
        logfile_close(file->logfile);
        file_touched(file);
    }
}

/* Writes what was gathered. This is the call that blocks when the disk is slow. */
static void gathered_write(void)
{
    struct file *file = logger.gathering;
    if (!file || !logger.gathered)
        return;
    bool good = logfile_write(file->logfile, logger.gather, logger.gathered);
    logger.gathered = 0;
    file_touched(file);
    if (good || file->listed_failing)
        return;
    LIST_INSERT_HEAD(&logger.failing, file, failing);
    file->listed_failing = true;
    tick_want();
}

static void failing_retry(void)
{
    struct file *next;
    for (struct file *file = LIST_FIRST(&logger.failing); file; file = next) {
        next = LIST_NEXT(file, failing);
        if (logfile_retry(file->logfile, clock_wall_ms())) {
            LIST_REMOVE(file, failing);
            file->listed_failing = false;
        }
        file_touched(file);
    }
}

/* ---- lines ---------------------------------------------------------------------------------- */

static void text_append(const char *text, size_t length)
{
    char *to = logger.gather + logger.gathered;
    memcpy(to, text, length);
    for (char *nul = memchr(to, 0, length); nul; nul = memchr(nul, 0, (size_t)(to + length - nul)))
        *nul = ' ';
    logger.gathered += length;
}

/* Gathers a line, with time and source in front or as it is. */
static void line_gather(const char *source, const char *text, size_t length, bool raw)
{
    struct file *file = file_of(source);
    if (!file)
        return;
    if (file != logger.gathering || logger.gathered + LOGLINE_BYTES_MAX > GATHERED_BYTES_MAX) {
        gathered_write();
        logger.gathering = file;
    }
    char head[LOGLINE_HEAD_BYTES_MAX];
    size_t head_bytes = raw ? 0 : logline_head(head, logger.wall_ms, source);
    memcpy(logger.gather + logger.gathered, head, head_bytes);
    logger.gathered += head_bytes;
    assert(length <= LINES_LINE_BYTES_MAX);
    text_append(text, length);
    logger.gather[logger.gathered++] = '\n';
}

static void line_out(void *owner, const char *source, const char *text, size_t length)
{
    (void)owner;
    line_gather(source, text, length, !strcmp(source, LOGGER_RAW_SOURCE));
}

static void loss_out(const char *source, uint64_t bytes)
{
    lines_end(logger.lines, source); /* the gap is behind what was begun */
    char text[128];
    int length = snprintf(text, sizeof text,
                          "%" PRIu64 " bytes of output lost: the logger was behind", bytes);
    line_gather(source, text, (size_t)length, false);
}

static void tick(struct timer *timer)
{
    (void)timer;
    logger.wall_ms = clock_wall_ms();
    uint64_t now_ms = loop_now(logger.loop);
    lines_end_quiet(logger.lines, now_ms > TICK_MS ? now_ms - TICK_MS : 0);
    gathered_write();
    failing_retry();
    if (lines_held(logger.lines) || !LIST_EMPTY(&logger.failing))
        tick_want();
}

/* ---- input ---------------------------------------------------------------------------------- */

/* Takes one packet. 0; -EAGAIN: no more; else the end. */
static int packet_take(void)
{
    struct message message;
    int error = message_receive(ROLE_FD, PARTY_SUPERVISOR | PARTY_KEEPER | PARTY_GATEWAY,
                                PARTY_LOGGER, logger.packet, sizeof logger.packet, &message);
    if (error)
        return error;
    logger.wall_ms = clock_wall_ms();
    if (message.kind == MESSAGE_LOST)
        loss_out(message.name, message.number);
    else
        lines_feed(logger.lines, message.name, message.bytes, message.length,
                   loop_now(logger.loop));
    return 0;
}

static void input_ready(struct watch *watch, unsigned events)
{
    (void)watch, (void)events;
    int error = 0;
    for (int i = 0; i < PACKETS_A_TURN_MAX && !error; i++)
        error = packet_take();
    gathered_write();
    if (lines_held(logger.lines))
        tick_want();
    if (error && error != -EAGAIN)
        loop_stop(logger.loop);
}

static void signal_came(void *owner, int number, int sender)
{
    (void)owner, (void)sender;
    if (number == SIGHUP)
        files_close();
    else
        loop_stop(logger.loop);
}

/* Everything that is there still gets into the files; a failing one gets its last try. */
static void finish(void)
{
    while (packet_take() == 0)
        continue;
    logger.wall_ms = clock_wall_ms();
    lines_end_quiet(logger.lines, UINT64_MAX);
    gathered_write();
    failing_retry();
}

/* ---- the process ---------------------------------------------------------------------------- */

static const int calls[] = {
    SYS_epoll_ctl,  SYS_epoll_pwait, SYS_recvmsg,  SYS_openat,    SYS_newfstatat, SYS_fstat,
    SYS_renameat2,  SYS_renameat,    SYS_unlinkat, SYS_ftruncate, SYS_lseek,
#ifdef SYS_epoll_wait
    SYS_epoll_wait,
#endif
};

static int setup(const char *directory)
{
    int error = role_confine(1);
    if (error)
        return error;
    logger.directory_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (logger.directory_fd < 0)
        return -errno;
    role_detach();
    logger.loop = loop_new();
    logger.lines = lines_new(line_out, NULL);
    logger.files = table_new();
    if (!logger.loop || !logger.lines || !logger.files)
        return -ENOMEM;
    TAILQ_INIT(&logger.open);
    LIST_INIT(&logger.failing);
    const int numbers[] = {SIGTERM, SIGHUP, 0};
    if (!signals_new(logger.loop, numbers, signal_came, NULL))
        return -errno;
    signal(SIGXFSZ, SIG_IGN); /* a file size limit is one more way of having no space */
    error = watch_start(logger.loop, &logger.input, ROLE_FD, WATCH_READ, input_ready, NULL);
    return error ? error : role_lock(logger.directory_fd, calls, sizeof calls / sizeof *calls);
}

int logger_main(int argc, char **argv)
{
    if (argc != 6)
        return EXIT_USAGE;
    logger.limits = (struct logfile_limits){
        .bytes_max = strtoull(argv[4], NULL, 10),
        .files_max = (uint32_t)strtoul(argv[5], NULL, 10),
    };
    int error = setup(argv[3]);
    if (error) {
        log_error("start-failed", "error=%s", strerror(-error));
        return EXIT_FAILURE;
    }
    memory_trim();
    error = loop_run(logger.loop);
    finish();
    /* Not by return: there is nothing to tidy up, and a leak checker at exit could not work in
     * here. */
    _exit(error ? EXIT_FAILURE : EXIT_SUCCESS);
}
