#include "cli/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "cli/handover.h"
#include "cli/manager.h"
#include "cli/place.h"
#include "control/events.h"
#include "control/server.h"
#include "event/signals.h"
#include "supervise/reload.h"
#include "supervise/supervisor.h"

/* The last byte that a process in the background sends to the one in front of it: its exit code. */
enum { DETACH_OK = 1, DETACH_FAILED = 2 };

enum { LOCK_TRIES = 10, LOCK_PAUSE_MS = 30, HANDOVER_LOOK_MS = 10 };

struct serving {
    struct loop *loop;
    struct supervisor *supervisor;
    struct control_server *control; /* NULL: not yet, or no more */
    struct events *events;
    enum log_level shown_max; /* finer ones are events alone */
    struct console *console;
    const struct serve_options *options;
    int detach_fd;         /* to the process in front; -1: none, or told already */
    int lock_fd;           /* of the state directory */
    struct timer watch;    /* after an upgrade: so long this executable must serve */
    struct timer handover; /* another is to be executed as soon as nothing is on its way any more */
    const char *back;      /* why the executable before us must go on; NULL: no need */
    int exit_code;
    bool served; /* everything was up once */
    bool left;   /* what runs goes on, for the next supervisor */
};

/* ---- log --------------------------------------------------------------------------------------
 */

/* "TIME level role event …" → the console shows event and values, the file all but the time, which
 * the logger adds. */
static void log_show(void *context, enum log_level level, const char *line, size_t length)
{
    struct serving *serving = context;
    events_add(serving->events, line, length);
    if (serving->control)
        control_server_events(serving->control);
    if (level > serving->shown_max)
        return;
    const char *words[3] = {line, line, line};
    for (int i = 0; i < 3; i++) {
        const char *space = memchr(words[i], ' ', length - (size_t)(words[i] - line));
        if (!space)
            return;
        words[i] = space + 1;
        if (i + 1 < 3)
            words[i + 1] = words[i];
    }
    const char *level_at = words[0];
    const char *event_at = words[2];
    size_t event_length = length - (size_t)(event_at - line) - 1;
    console_line(serving->console, level, level <= LOG_LEVEL_WARN ? "enginx !" : "enginx", -1,
                 event_at, event_length);
    if (serving->supervisor && serving->supervisor->logger)
        logger_write(serving->supervisor->logger, "enginx", level_at,
                     length - (size_t)(level_at - line));
}

/* ---- the background -----------------------------------------------------------------------------
 */

/* In front: shows what comes until the one in the background says how it went. */
static int detach_watch(int fd)
{
    char bytes[4096];
    int code = CLI_FAILED;
    ssize_t count;
    while ((count = read(fd, bytes, sizeof bytes)) > 0) {
        char last = bytes[count - 1];
        if (last == DETACH_OK || last == DETACH_FAILED) {
            code = last == DETACH_OK ? CLI_OK : CLI_FAILED;
            count--;
        }
        if (fwrite(bytes, 1, (size_t)count, stderr) < (size_t)count)
            break;
    }
    return code;
}

/* Forks; the child goes on in a session of its own with *ret_fd to whoever waits in front. 0 in the
 * child; 1 in front, with the exit code in *ret_code. */
static int detach(int *ret_fd, int *ret_code)
{
    int pipes[2];
    if (pipe2(pipes, O_CLOEXEC) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid > 0) {
        close(pipes[1]);
        *ret_code = detach_watch(pipes[0]);
        close(pipes[0]);
        return 1;
    }
    close(pipes[0]);
    setsid();
    scoped_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd <= 2 && null >= 0; fd++)
        dup2(null, fd);
    *ret_fd = pipes[1];
    return 0;
}

static void detach_tell(struct serving *serving, bool well)
{
    if (serving->detach_fd < 0)
        return;
    console_free(serving->console);
    serving->console = serving->supervisor->console = NULL;
    char code = well ? DETACH_OK : DETACH_FAILED;
    if (write(serving->detach_fd, &code, 1) < 0)
        log_debug("nobody-in-front", "%s", "");
    fd_drop(&serving->detach_fd);
}

/* ---- events -------------------------------------------------------------------------------------
 */

/* What a look at all instances tells. */
struct overview {
    bool runs;   /* something runs, or will */
    bool failed; /* an instance that is not tried any more */
    /* One that failed, or does not come up though it is tried on; NULL: none. */
    const struct instance *hopeless;
};

static struct overview overview_of(const struct supervisor *supervisor)
{
    struct overview overview = {0};
    for (size_t i = 0; i < supervisor->topology->service_count; i++) {
        const struct unit *unit = &supervisor->units[i];
        overview.runs |= !unit->begun || unit->job || !unit_at_rest(unit);
        for (uint32_t j = 0; j < unit->instance_count; j++) {
            const struct instance *instance = unit->instances[j];
            if (!instance)
                continue;
            overview.failed |= instance->life.state == STATE_FAILED;
            overview.runs |= instance->life.state == STATE_BACKOFF;
            if (!overview.hopeless && instance_hopeless(instance))
                overview.hopeless = instance;
        }
    }
    return overview;
}

/* Who waits in front does so no longer, though the cluster goes on. */
static void detach_give_up(struct serving *serving, const struct instance *hopeless)
{
    if (serving->detach_fd < 0)
        return;
    const char *name = serving->supervisor->topology->name;
    const char *how =
        hopeless->life.state == STATE_FAILED ? "failed" : "does not come up, and is tried on";
    char text[1024];
    snprintf(text, sizeof text,
             "%s %s (%s); cluster %s runs on: enginx status -c %s, enginx down -c %s",
             hopeless->name, how, hopeless->reason, name, name, name);
    console_line(serving->console, LOG_LEVEL_ERROR, "enginx !", -1, text, strlen(text));
    detach_tell(serving, false);
}

/* ---- upgrades ---------------------------------------------------------------------------------
 */

static void handover_due(struct timer *timer);

static void handover_look(struct serving *serving)
{
    if (upgrade_ready(serving->supervisor))
        loop_stop(serving->loop);
    else
        timer_start(serving->loop, &serving->handover, HANDOVER_LOOK_MS, handover_due, serving);
}

static void handover_due(struct timer *timer)
{
    handover_look(timer->owner);
}

/* Executes another, or the one before; returns only when that failed. Everything that runs goes on
 * without us. */
static int serving_hand_over(struct serving *serving)
{
    struct supervisor *supervisor = serving->supervisor;
    int control = control_server_release(serving->control);
    serving->control = NULL;
    scoped_memory char *executable = supervisor->upgrade_to;
    scoped_memory char *file = strdup(supervisor->topology->file);
    supervisor->upgrade_to = NULL;
    const struct handover_to to = {.executable = executable,
                                   .file = file ? file : "",
                                   .lock_fd = serving->lock_fd,
                                   .control_fd = control,
                                   .count = supervisor->options.past.count + 1,
                                   .descriptors = supervisor->descriptors_inherited.rlim_cur};
    supervisor_free(supervisor, true);
    serving->supervisor = NULL;
    if (serving->back)
        handover_back(serving->back, control);
    int error = serving->back ? -ENOEXEC : handover_execute(&to);
    close(control);
    return error;
}

/* This executable has taken another's place, and the first seconds are over. */
static void watch_over(struct timer *timer)
{
    struct serving *serving = timer->owner;
    struct supervisor *supervisor = serving->supervisor;
    struct upgrade_past *past = &supervisor->options.past;
    if (!front_settled(supervisor->front)) {
        log_error("upgrade-failed", "to=%s why=\"its gateway does not serve\"", ENGINX_VERSION);
        serving->back = "its gateway does not serve";
        loop_stop(serving->loop);
        return;
    }
    handover_trust();
    manager_main_process(getpid()); /* no more the guard */
    past->watched = false;
    if (past->failed)
        log_error("upgrade-rolled-back", "version=%s why=\"%s\"", ENGINX_VERSION, past->failed);
    else
        log_info("upgraded", "from=%s to=%s", past->from, ENGINX_VERSION);
    supervisor_note_change(supervisor, NULL);
}

static void upgrade_told(void *owner, int error, const char *why)
{
    (void)owner, (void)error, (void)why; /* the log has it */
}

static void serving_upgrade(struct serving *serving)
{
    char why[UPGRADE_WHY_BYTES];
    struct supervisor *supervisor = serving->supervisor;
    if (upgrade_begin(supervisor, supervisor->options.executable, upgrade_told, serving, why))
        log_warn("not-upgraded", "why=\"%s\"", why);
}

/* What the service manager is to know. What does not come up does not keep the rest from serving.
 */
static void manager_look(struct serving *serving, const struct overview *overview)
{
    const struct supervisor *supervisor = serving->supervisor;
    enum manager_phase phase = MANAGER_STARTING;
    char status[128] = "starting";
    serving->served |= supervisor->ready_told || overview->hopeless;
    if (supervisor->ending) {
        phase = MANAGER_STOPPING;
        snprintf(status, sizeof status, "stopping");
    } else if (supervisor->reload) {
        phase = MANAGER_RELOADING;
        snprintf(status, sizeof status, "reloading");
    } else if (serving->served) {
        phase = MANAGER_READY;
        snprintf(status, sizeof status, "cluster %s serves%s", supervisor->topology->name,
                 overview->hopeless ? "; not everything is up" : "");
    }
    manager_phase(phase, supervisor->generation, status);
}

static void serving_changed(void *owner)
{
    struct serving *serving = owner;
    struct supervisor *supervisor = serving->supervisor;
    struct overview overview = {0};
    if (serving->detach_fd >= 0 || serving->options->end_when_idle || !serving->served)
        overview = overview_of(supervisor); /* a walk over all instances */
    if (overview.hopeless)
        detach_give_up(serving, overview.hopeless);
    else if (supervisor->ready_told)
        detach_tell(serving, true);
    if (serving->options->end_when_idle && !overview.runs && !supervisor->ending &&
        supervisor->ready_told) {
        serving->exit_code = overview.failed ? CLI_FAILED : CLI_OK;
        supervisor_end(supervisor);
    }
    manager_look(serving, &overview);
    control_server_changed(serving->control);
    if (supervisor_at_rest(supervisor))
        loop_stop(serving->loop);
    if (supervisor->upgrade_to || supervisor->leaving)
        handover_look(serving);
}

static void hangup_reloaded(void *owner, int error, const char *why)
{
    (void)owner, (void)error, (void)why; /* the log has it */
}

/* SIGHUP: reload; what is wrong with the file, and what changes, goes to the log. */
static void serving_reload(const struct serving *serving)
{
    char why[1024], line[512];
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out)
        return;
    int error =
        reload_file(serving->supervisor, NULL, false, hangup_reloaded, NULL, out, why, sizeof why);
    fclose(out);
    char *rest = text;
    for (char *part; (part = strsep(&rest, "\n"));)
        if (*part)
            log_info("reload", "text=%s", log_text(part, line, sizeof line));
    if (error)
        log_warn("not-reloaded", "why=\"%s\"", why);
    free(text);
}

static void serving_signal(void *owner, int number, int sender)
{
    struct serving *serving = owner;
    if (number == SIGCHLD) {
        supervisor_reap(serving->supervisor);
        return;
    }
    /* Somebody's kill; the kernel's own, of a terminal that goes, has no sender. */
    if (number == SIGHUP && sender > 0 && serving->supervisor->topology->file[0]) {
        serving_reload(serving);
        return;
    }
    if (number == SIGHUP && serving->options->detach)
        return;
    if (number == SIGUSR2) {
        serving_upgrade(serving);
        return;
    }
    log_info("signal", "number=%d sender=%d", number, sender);
    supervisor_end(serving->supervisor);
}

/* ---- from beginning to end ----------------------------------------------------------------------
 */

/* The lock file goes with the cluster, so one that was opened before and locked after that is
 * nobody's: it is not the file of that name any more, and another may have locked the new one. */
static bool lock_holds(int fd, const char *path)
{
    struct stat ours, theirs;
    return fstat(fd, &ours) == 0 && stat(path, &theirs) == 0 && ours.st_ino == theirs.st_ino &&
           ours.st_dev == theirs.st_dev;
}

/* A supervisor that was killed in the midst of starting a program leaves its lock with the child
 * until that executes: a moment's patience tells such a one from one that lives. */
static int lock_take(const char *state)
{
    char path[PLACE_BYTES + 8];
    snprintf(path, sizeof path, "%s/lock", state);
    for (int tries = 0; tries < LOCK_TRIES; tries++) {
        if (tries > 0)
            poll(NULL, 0, LOCK_PAUSE_MS);
        scoped_fd int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0 && errno == ENOENT) { /* the folder has just gone as well */
            int error = place_make(state);
            if (error)
                return error;
            continue;
        }
        if (fd < 0)
            return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
            if (errno != EWOULDBLOCK)
                return -errno;
            continue;
        }
        if (lock_holds(fd, path))
            return fd_take(&fd);
    }
    return -EWOULDBLOCK;
}

/* The lock of the executable before us, whose descriptor came along; -1: there was none. */
static int lock_handed(const char *state)
{
    char path[PLACE_BYTES + 8];
    snprintf(path, sizeof path, "%s/lock", state);
    int *fd = &handover_of()->lock_fd;
    if (*fd >= 0 && !lock_holds(*fd, path))
        fd_drop(fd);
    int copy = *fd < 0 ? -1 : fcntl(*fd, F_DUPFD_CLOEXEC, 0); /* handover_back has the other */
    return copy;
}

static const int signal_numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR2, SIGCHLD, 0};

static int serving_run(struct serving *serving, const char *state)
{
    char path[PLACE_BYTES + 16];
    snprintf(path, sizeof path, "%s/control", state);
    struct signals *signals = signals_new(serving->loop, signal_numbers, serving_signal, serving);
    int error = signals ? 0 : -errno;
    if (!error)
        error = control_server_new(serving->loop, serving->supervisor, serving->events, path,
                                   &handover_of()->control_fd, &serving->control);
    if (error) {
        signals_free(signals);
        supervisor_free(serving->supervisor, serving->supervisor->adopted);
        serving->supervisor = NULL;
        return error;
    }
    serving->supervisor->changed = serving_changed;
    serving->supervisor->changed_owner = serving;
    supervisor_begin(serving->supervisor);
    supervisor_note_change(serving->supervisor, NULL);
    supervisor_reap(serving->supervisor); /* those that ended before the signal was watched */
    if (handover_of()->taken)
        error = timer_start(serving->loop, &serving->watch, HANDOVER_WATCH_MS, watch_over, serving);
    manager_watchdog(serving->loop);
    if (!error)
        error = loop_run(serving->loop);
    manager_watchdog_end(serving->loop);
    if (!error && (serving->back || serving->supervisor->upgrade_to)) {
        error = serving_hand_over(serving);
        signals_free(signals);
        return error;
    }
    if (!error)
        handover_trust(); /* who ends in order, however early, is not followed by the old one */
    serving->left = !error && serving->supervisor->leaving;
    struct control_server *control = serving->control;
    supervisor_free(serving->supervisor, error || serving->left);
    serving->supervisor = NULL;
    serving->control = NULL;
    control_server_free(control);
    signals_free(signals);
    return error;
}

/* Everything that is the cluster's alone is gone by now; the folder stays when a program left data
 * in it. */
static void state_remove(const char *state)
{
    static const char *const names[] = {"lock", "data"};
    char path[PLACE_BYTES + 8];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", state, names[i]);
        remove(path);
    }
    rmdir(state);
}

static int serve_in(struct serving *serving, const struct cli *cli, struct topology *topology,
                    const char *state)
{
    char log[PLACE_BYTES];
    char why[512] = "";
    int error = topology->log_directory ? 0 : place_log(cli, state, topology->name, log);
    serving->loop = loop_new();
    serving->events = events_new();
    if (!error && !serving->loop)
        error = -errno;
    if (!error && !serving->events)
        error = -ENOMEM;
    if (error) {
        topology_free(topology);
        return cli_fail("%s", strerror(-error));
    }
    const struct handover *handed = handover_of();
    int out = serving->detach_fd >= 0 ? serving->detach_fd : STDOUT_FILENO;
    bool colour = serving->detach_fd < 0 && isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
    serving->console = console_new(serving->loop, out, colour);
    serving->shown_max = getenv("ENGINX_DEBUG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO;
    log_setup("supervisor",
              serving->shown_max > LOG_LEVEL_CHANGE ? serving->shown_max : LOG_LEVEL_CHANGE,
              log_show, serving);
    struct supervisor_options options = {
        .topology = topology,
        .name = cli->cluster,
        .state_directory = state,
        .log_directory = topology->log_directory ? topology->log_directory : log,
        .cgroup_base = cli->cgroup,
        .exe = cli->exe,
        .executable = cli->file,
        .upgraded = handed->taken,
        .past = {.count = handed->count,
                 .from = handed->from,
                 .failed = handed->failed,
                 .watched = handed->taken},
        .bundle_fd = serving->options->bundle_fd,
        .last_good = serving->options->last_good,
        .console = serving->console,
    };
    error = place_make(options.log_directory);
    if (error)
        snprintf(why, sizeof why, "the log directory %s: %s", options.log_directory,
                 strerror(-error));
    signals_block(signal_numbers); /* an early Ctrl-C waits, and ends in order what was begun */
    if (error)
        topology_free(topology);
    else
        error = supervisor_new(serving->loop, &options, &serving->supervisor, why, sizeof why);
    if (!error)
        error = serving_run(serving, state);
    log_setup("enginx", LOG_LEVEL_INFO, NULL, NULL);
    if (error) {
        snprintf(why + strlen(why), sizeof why - strlen(why), "%s", why[0] ? "" : strerror(-error));
        console_line(serving->console, LOG_LEVEL_ERROR, "enginx !", -1, why, strlen(why));
        handover_back(why, handed->control_fd);
        serving->exit_code = CLI_FAILED;
    }
    console_free(serving->console);
    loop_free(serving->loop);
    events_free(serving->events);
    return serving->exit_code;
}

int serve(const struct cli *cli, struct topology *topology, const struct serve_options *options)
{
    char state[PLACE_BYTES];
    struct serving serving = {.options = options, .detach_fd = -1};
    int error = place_state(cli, topology->name, state);
    if (!error && strlen(state) + sizeof "/control" > sizeof((struct sockaddr_un *)0)->sun_path)
        error = -ENAMETOOLONG; /* for the address of its control socket (unix(7)) */
    if (!error)
        error = place_make(state);
    if (error) {
        topology_free(topology);
        return cli_fail("the state directory %s: %s", state, strerror(-error));
    }
    int code = CLI_FAILED;
    if (options->detach && !handover_of()->taken) {
        int forked = detach(&serving.detach_fd, &code);
        if (forked) {
            topology_free(topology);
            return forked > 0 ? code : cli_fail("cannot fork: %s", strerror(-forked));
        }
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL); /* who starts us with SIG_IGN would have children vanish unseen */
    scoped_fd int lock = lock_handed(state);
    if (lock < 0)
        lock = lock_take(state);
    serving.lock_fd = lock;
    if (lock == -EWOULDBLOCK || lock < 0) {
        char text[PLACE_BYTES + 128];
        snprintf(text, sizeof text, "enginx: cluster %s %s (state in %s)\n", topology->name,
                 lock == -EWOULDBLOCK ? "runs already" : strerror(-lock), state);
        if (write(serving.detach_fd >= 0 ? serving.detach_fd : STDERR_FILENO, text, strlen(text)) <
            0)
            code = CLI_FAILED;
        topology_free(topology);
        return code;
    }
    code = serve_in(&serving, cli, topology, state);
    /* What runs may be another's to adopt. */
    if (!serving.left && (!handover_of()->taken || code == CLI_OK))
        state_remove(state);
    return code;
}
