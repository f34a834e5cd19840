#include "cli/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/scoped.h"
#include "cli/manager.h"

#define HANDOVER_VARIABLE "ENGINX_HANDOVER"

enum { STATE_BYTES_MAX = 64 * 1024, GUARD_WELL = 'w' };

static struct handover handover = {.lock_fd = -1, .control_fd = -1, .guard_fd = -1, .old_fd = -1};
static char **arguments;

struct handover *handover_of(void)
{
    return &handover;
}

/* ---- taking over ---------------------------------------------------------------------------- */

/* A descriptor that came along; not for programs that we start. */
static int descriptor_in(const json_t *state, const char *name)
{
    json_t *value = json_object_get(state, name);
    int fd = json_is_integer(value) ? (int)json_integer_value(value) : -1;
    return fd > STDERR_FILENO && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0 ? fd : -1;
}

static char *text_in(const json_t *state, const char *name)
{
    const char *text = json_string_value(json_object_get(state, name));
    return text ? strdup(text) : NULL;
}

static void state_take(const json_t *state)
{
    if (json_integer_value(json_object_get(state, "format")) != HANDOVER_FORMAT)
        return;
    handover = (struct handover){
        .taken = true,
        .lock_fd = descriptor_in(state, "lock"),
        .control_fd = descriptor_in(state, "control"),
        .guard_fd = descriptor_in(state, "guard"),
        .old_fd = descriptor_in(state, "old"),
        .count = (unsigned)json_integer_value(json_object_get(state, "count")),
        .from = text_in(state, "from"),
        .file = text_in(state, "file"),
        .failed = text_in(state, "failed"),
        .descriptors = (unsigned long)json_integer_value(json_object_get(state, "descriptors")),
    };
}

void handover_begin(char **argv)
{
    arguments = argv;
    const char *number = getenv(HANDOVER_VARIABLE);
    scoped_fd int fd = number ? atoi(number) : -1;
    unsetenv(HANDOVER_VARIABLE); /* not for the programs either */
    scoped_memory char *text = fd > STDERR_FILENO ? malloc(STATE_BYTES_MAX) : NULL;
    ssize_t length = text ? pread(fd, text, STATE_BYTES_MAX, 0) : -1;
    json_error_t where;
    json_t *state = length > 0 ? json_loadb(text, (size_t)length, 0, &where) : NULL;
    if (state)
        state_take(state);
    json_decref(state);
}

/* ---- handing over --------------------------------------------------------------------------- */

static void descriptor_out(json_t *state, const char *name, int fd)
{
    if (fd >= 0 && fcntl(fd, F_SETFD, 0) == 0)
        json_object_set_new(state, name, json_integer(fd));
}

static void text_out(json_t *state, const char *name, const char *text)
{
    if (text && *text)
        json_object_set_new(state, name, json_stringn_nocheck(text, strlen(text)));
}

/* The state in a descriptor that the next executable inherits, and the variable that names it. */
static int state_leave(json_t *state)
{
    scoped_memory char *text = json_dumps(state, JSON_COMPACT);
    int fd = text ? memfd_create("enginx-handover", 0) : -1;
    char number[16];
    if (fd < 0 || strlen(text) > STATE_BYTES_MAX ||
        pwrite(fd, text, strlen(text), 0) != (ssize_t)strlen(text))
        return -ENOMEM;
    snprintf(number, sizeof number, "%d", fd);
    return setenv(HANDOVER_VARIABLE, number, 1) < 0 ? -errno : fd;
}

/* Executes what the descriptor holds, also when no file of it is left. */
static int execute_fd(int fd, json_t *state)
{
    int left = state_leave(state);
    if (left < 0)
        return left;
    fexecve(fd, arguments, environ);
    int error = -errno;
    close(left);
    unsetenv(HANDOVER_VARIABLE);
    return error;
}

static json_t *state_make(const char *from, unsigned count, unsigned long descriptors,
                          const char *file)
{
    json_t *state = json_pack("{s:i, s:I, s:I}", "format", HANDOVER_FORMAT, "count",
                              (json_int_t)count, "descriptors", (json_int_t)descriptors);
    text_out(state, "from", from);
    text_out(state, "file", file);
    return state;
}

/* ---- the guard ------------------------------------------------------------------------------ */

/* True: the new executable said that it is well. */
static bool guard_wait(int pipe_fd, int pidfd)
{
    struct pollfd polled[] = {{.fd = pipe_fd, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
    char byte = 0;
    if (poll(polled, 2, HANDOVER_GUARD_MS) > 0 && read(pipe_fd, &byte, 1) == 1 &&
        byte == GUARD_WELL)
        return true;
    pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
    poll(&(struct pollfd){.fd = pidfd, .events = POLLIN}, 1, 1000);
    return false;
}

static void guard_run(const struct handover_to *to, int old_fd, int pipe_fd, int pidfd)
{
    setsid();
    if (guard_wait(pipe_fd, pidfd))
        _exit(EXIT_SUCCESS);
    manager_watchdog_take();
    json_t *state = state_make(ENGINX_VERSION, to->count, to->descriptors, to->file);
    text_out(state, "failed", "the new executable ended, or did not serve in time");
    descriptor_out(state, "lock", to->lock_fd);
    descriptor_out(state, "control", to->control_fd);
    execute_fd(old_fd, state);
    _exit(EXIT_FAILURE);
}

/* All but what the guard needs: whatever it held would stay open for as long as it lives. */
static void guard_descriptors_close(const int *kept, size_t count)
{
    int low = STDERR_FILENO + 1;
    for (;;) {
        int next = -1;
        for (size_t i = 0; i < count; i++)
            if (kept[i] >= low && (next < 0 || kept[i] < next))
                next = kept[i];
        close_range((unsigned)low, next < 0 ? ~0u : (unsigned)next - 1, 0);
        if (next < 0)
            return;
        low = next + 1;
    }
}

/* The end of its pipe, or -errno. */
static int guard_start(const struct handover_to *to, int old_fd)
{
    int pipes[2];
    scoped_fd int pidfd = pidfd_open(getpid(), 0);
    if (pidfd < 0 || pipe2(pipes, O_CLOEXEC) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid < 0) {
        int error = -errno;
        close(pipes[0]);
        close(pipes[1]);
        return error;
    }
    if (pid > 0) {
        close(pipes[0]);
        manager_main_process(pid); /* it lives, whatever becomes of the new executable */
        return pipes[1];
    }
    const int kept[] = {to->lock_fd, to->control_fd, old_fd, pipes[0], pidfd};
    guard_descriptors_close(kept, sizeof kept / sizeof kept[0]);
    guard_run(to, old_fd, pipes[0], pidfd);
    _exit(EXIT_FAILURE);
}

void handover_trust(void)
{
    const char well = GUARD_WELL;
    if (handover.guard_fd >= 0 && write(handover.guard_fd, &well, 1) < 0)
        errno = 0; /* it ended: nobody is watched any more */
    fd_drop(&handover.guard_fd);
    fd_drop(&handover.old_fd);
}

/* ---- executing ------------------------------------------------------------------------------ */

static void limit_restore(unsigned long descriptors)
{
    struct rlimit limit;
    if (!descriptors || getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = descriptors < limit.rlim_max ? descriptors : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* The executable could not be executed: this one again, so that everything goes on. */
static int execute_again(const struct handover_to *to, int old_fd, int guard_fd, int error)
{
    json_t *state = state_make(ENGINX_VERSION, to->count, to->descriptors, to->file);
    text_out(state, "failed", strerror(-error));
    descriptor_out(state, "lock", to->lock_fd);
    descriptor_out(state, "control", to->control_fd);
    descriptor_out(state, "guard", guard_fd);
    error = execute_fd(old_fd, state);
    json_decref(state);
    return error;
}

int handover_execute(const struct handover_to *to)
{
    scoped_fd int old = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    scoped_fd int guard = old < 0 ? -1 : guard_start(to, old);
    if (guard < 0)
        return -EMFILE;
    json_t *state = state_make(ENGINX_VERSION, to->count, to->descriptors, to->file);
    descriptor_out(state, "lock", to->lock_fd);
    descriptor_out(state, "control", to->control_fd);
    descriptor_out(state, "guard", guard);
    descriptor_out(state, "old", old);
    limit_restore(to->descriptors);
    int left = state_leave(state);
    if (left >= 0)
        execve(to->executable, arguments, environ);
    int error = left < 0 ? left : -errno;
    json_decref(state);
    fcntl(old, F_SETFD, FD_CLOEXEC);
    return execute_again(to, old, guard, error);
}

void handover_back(const char *why, int control_fd)
{
    if (!handover.taken || handover.old_fd < 0)
        return;
    json_t *state = state_make(handover.from, handover.count, handover.descriptors, handover.file);
    text_out(state, "failed", why && *why ? why : "it does not serve");
    descriptor_out(state, "lock", handover.lock_fd);
    descriptor_out(state, "control", control_fd);
    descriptor_out(state, "guard", handover.guard_fd);
    limit_restore(handover.descriptors);
    execute_fd(handover.old_fd, state);
    json_decref(state);
}
