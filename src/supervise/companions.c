#include "supervise/companions.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "base/table.h"
#include "kernel/process.h"
#include "supervise/supervisor.h"

enum { RETRY_MS = 1000, RETRY_FIRST_MS = 10 };

struct found_descriptor {
    char name[KEEPER_NAME_BYTES];
    int fd;
};

/* What must be put again when the keeper dies: the steering's descriptors, each a duplicate. */
struct kept {
    struct kept *next;
    char name[KEEPER_NAME_BYTES];
    int fd;
};

static void retry_due(struct timer *timer);

int companions_take_found(struct supervisor *supervisor, const char *name)
{
    for (size_t i = 0; i < supervisor->found_count; i++) {
        struct found_descriptor *found = &supervisor->found[i];
        if (found->fd >= 0 && strcmp(found->name, name) == 0)
            return fd_take(&found->fd);
    }
    return -1;
}

/* At once after one had lived for a while, so that little is missed; else with a pause. */
static void retry_start(struct supervisor *supervisor)
{
    uint64_t since_ms = loop_now(supervisor->loop) - supervisor->companions_tried_ms;
    if (!timer_active(&supervisor->companions_retry))
        timer_start(supervisor->loop, &supervisor->companions_retry,
                    since_ms < RETRY_MS ? RETRY_MS : RETRY_FIRST_MS, retry_due, supervisor);
}

/* ---- logger -----------------------------------------------------------------------------------
 */

static void logger_gone(void *owner)
{
    struct supervisor *supervisor = owner;
    log_warn("logger-lost", "pid=%d", logger_pid(supervisor->logger));
    logger_free(supervisor->logger);
    supervisor->logger = NULL;
    retry_start(supervisor);
}

/* What a logger was started with, in a number that is not 0. */
static uint32_t logger_mark(const struct logger_options *options)
{
    uint64_t hash = hash_bytes(options->directory, strlen(options->directory), hash_seed());
    hash = hash_bytes(&options->file_bytes_max, sizeof options->file_bytes_max, hash);
    hash = hash_bytes(&options->files_max, sizeof options->files_max, hash);
    return (uint32_t)hash | 1;
}

/* The logger of the supervisor before us, if the keeper held its descriptor and it lives: two of
 * them would write to the same files. */
static bool logger_find(struct supervisor *supervisor, uint32_t mark)
{
    bool same = *records_logger(supervisor->records) == mark;
    int fd = same ? companions_take_found(supervisor, KEEPER_LOGGER) : -1;
    scoped_fd int pidfd = same ? companions_take_found(supervisor, KEEPER_LOGGER_PROCESS) : -1;
    pid_t pid = pidfd < 0 ? 0 : process_of(pidfd);
    return fd >= 0 && logger_adopt(supervisor->loop, fd, pid, logger_gone, supervisor,
                                   &supervisor->logger) == 0;
}

static void logger_keep(struct supervisor *supervisor)
{
    keeper_put(supervisor->keeper, KEEPER_LOGGER, logger_fd(supervisor->logger));
    pid_t pid = logger_pid(supervisor->logger);
    scoped_fd int pidfd = pid > 0 ? pidfd_open(pid, 0) : -1;
    if (pidfd >= 0)
        keeper_put(supervisor->keeper, KEEPER_LOGGER_PROCESS, pidfd);
    else
        keeper_drop(supervisor->keeper, KEEPER_LOGGER_PROCESS);
}

static int logger_begin(struct supervisor *supervisor)
{
    const struct topology *topology = supervisor->topology;
    struct logger_options options = {
        .directory = supervisor->options.log_directory,
        .file_bytes_max = topology->log_file_bytes_max,
        .files_max = topology->log_files_max,
    };
    uint32_t mark = logger_mark(&options);
    if (logger_find(supervisor, mark))
        return 0;
    int error = logger_start(supervisor->loop, &options, supervisor->options.exe, logger_gone,
                             supervisor, &supervisor->logger);
    if (!error)
        *records_logger(supervisor->records) = mark;
    if (!error && supervisor->keeper)
        logger_keep(supervisor);
    if (!error)
        front_logger_changed(supervisor->front);
    return error;
}

/* ---- keeper -----------------------------------------------------------------------------------
 */

static void keeper_gone(void *owner)
{
    struct supervisor *supervisor = owner;
    log_warn("keeper-lost", "pid=%d", keeper_pid(supervisor->keeper));
    keeper_leave(supervisor->keeper);
    supervisor->keeper = NULL;
    retry_start(supervisor);
}

static void keeper_has(void *owner, const char *name, int fd)
{
    struct supervisor *supervisor = owner;
    struct found_descriptor *found =
        reallocarray(supervisor->found, supervisor->found_count + 1, sizeof *found);
    if (!found) {
        close(fd);
        return;
    }
    supervisor->found = found;
    found = &found[supervisor->found_count++];
    *found = (struct found_descriptor){.fd = fd};
    snprintf(found->name, sizeof found->name, "%s", name);
}

/* Everything that a keeper must hold, for one that was just started. */
static void keeper_fill(struct supervisor *supervisor)
{
    if (supervisor->logger)
        logger_keep(supervisor);
    for (struct kept *kept = supervisor->kept; kept; kept = kept->next)
        keeper_put(supervisor->keeper, kept->name, kept->fd);
    for (uint32_t slot = 0; slot < supervisor->slots_max; slot++) {
        const struct instance *instance = supervisor->by_slot[slot];
        char name[KEEPER_NAME_BYTES];
        if (!instance || !instance->output)
            continue;
        snprintf(name, sizeof name, KEEPER_OUTPUT_PREFIX "%s", instance->name);
        keeper_put(supervisor->keeper, name, output_fd(instance->output));
    }
}

static int keeper_begin(struct supervisor *supervisor)
{
    int error =
        keeper_start(supervisor->loop, supervisor->options.state_directory, supervisor->options.exe,
                     keeper_has, keeper_gone, supervisor, &supervisor->keeper);
    if (!error)
        keeper_fill(supervisor);
    return error;
}

static void found_close(struct supervisor *supervisor)
{
    for (size_t i = 0; i < supervisor->found_count; i++)
        fd_drop(&supervisor->found[i].fd);
    free(supervisor->found);
    supervisor->found = NULL;
    supervisor->found_count = 0;
}

static void retry_due(struct timer *timer)
{
    struct supervisor *supervisor = timer->owner;
    int error = 0;
    if (supervisor->ending)
        return;
    supervisor->companions_tried_ms = loop_now(supervisor->loop);
    if (!supervisor->keeper)
        error = keeper_begin(supervisor);
    found_close(supervisor); /* of one that lives all the same: duplicates of what is put again */
    if (!error && !supervisor->logger)
        error = logger_begin(supervisor);
    if (!error) {
        log_info("companions-back", "keeper=%d logger=%d", keeper_pid(supervisor->keeper),
                 logger_pid(supervisor->logger));
        return;
    }
    log_warn("companions-missing", "error=\"%s\"", strerror(-error));
    retry_start(supervisor);
}

int companions_start(struct supervisor *supervisor)
{
    int error = keeper_begin(supervisor);
    return error ? error : logger_begin(supervisor);
}

void companions_end(struct supervisor *supervisor, bool leave)
{
    timer_stop(supervisor->loop, &supervisor->companions_retry);
    if (supervisor->keeper && leave)
        keeper_leave(supervisor->keeper);
    else if (supervisor->keeper)
        keeper_end(supervisor->keeper);
    supervisor->keeper = NULL;
    logger_free(supervisor->logger);
    supervisor->logger = NULL;
    while (supervisor->kept) {
        struct kept *kept = supervisor->kept;
        supervisor->kept = kept->next;
        close(kept->fd);
        free(kept);
    }
    found_close(supervisor);
}

/* ---- what the steering wants kept -------------------------------------------------------------
 */

void companions_forget(struct supervisor *supervisor, const char *name)
{
    for (struct kept **at = &supervisor->kept; *at; at = &(*at)->next) {
        struct kept *kept = *at;
        if (strcmp(kept->name, name) != 0)
            continue;
        *at = kept->next;
        close(kept->fd);
        free(kept);
        break;
    }
    if (supervisor->keeper)
        keeper_drop(supervisor->keeper, name);
}

/* Remembers a duplicate, for a keeper that must be filled again. 0 or -errno. */
static int kept_add(struct supervisor *supervisor, const char *name, int fd)
{
    struct kept *kept = calloc(1, sizeof *kept);
    if (!kept)
        return -ENOMEM;
    kept->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (kept->fd < 0) {
        int error = -errno;
        free(kept);
        return error;
    }
    snprintf(kept->name, sizeof kept->name, "%s", name);
    kept->next = supervisor->kept;
    supervisor->kept = kept;
    return 0;
}

void companions_keep(struct supervisor *supervisor, const char *name, int fd)
{
    companions_forget(supervisor, name);
    int error = kept_add(supervisor, name, fd);
    if (error) {
        log_warn("not-kept", "name=%s error=\"%s\"", name, strerror(-error));
        return;
    }
    error = supervisor->keeper ? keeper_put(supervisor->keeper, name, fd) : 0;
    if (error)
        log_warn("not-kept", "name=%s error=\"%s\"", name, strerror(-error));
}

static bool kept_known(const struct supervisor *supervisor, const char *name)
{
    for (const struct kept *kept = supervisor->kept; kept; kept = kept->next)
        if (strcmp(kept->name, name) == 0)
            return true;
    return false;
}

void companions_settle_found(struct supervisor *supervisor)
{
    struct steering *steering = supervisor->steering;
    for (size_t i = 0; i < supervisor->found_count; i++) {
        struct found_descriptor *found = &supervisor->found[i];
        bool output = strncmp(found->name, KEEPER_OUTPUT_PREFIX, strlen(KEEPER_OUTPUT_PREFIX)) == 0;
        bool logger = strcmp(found->name, KEEPER_LOGGER) == 0 ||
                      strcmp(found->name, KEEPER_LOGGER_PROCESS) == 0;
        scoped_fd int copy = output || logger ? -1 : fcntl(found->fd, F_DUPFD_CLOEXEC, 0);
        bool taken =
            !output && !logger && steering->operations->found(steering, found->name, found->fd);
        if (taken)
            found->fd = -1;
        if (taken && copy >= 0 && !kept_known(supervisor, found->name))
            kept_add(supervisor, found->name, copy);
        if (taken || found->fd < 0) /* an adopted logger has taken its own before */
            continue;
        if (!output && !logger && supervisor->keeper)
            keeper_drop(supervisor->keeper, found->name);
    }
    found_close(supervisor);
}
