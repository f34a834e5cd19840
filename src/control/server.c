#include "control/server.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/scoped.h"
#include "control/bans.h"
#include "control/events.h"
#include "control/purge.h"
#include "control/roll.h"
#include "control/socket.h"
#include "control/status.h"
#include "control/text.h"
#include "supervise/reload.h"
#include "supervise/supervisor.h"
#include "topology/addresses.h"

struct client;

/* Is what the client waits for there? `ret_error` (may stay NULL) is text that stays valid. */
typedef bool client_waits(const struct client *client, const char **ret_error);

struct client {
    struct client *next;
    struct control_server *server;
    struct watch watch;
    struct timer idle;
    int fd;
    struct buffer request;
    struct buffer answer;
    client_waits *waits; /* NULL: answered, or nothing asked yet */
    struct unit *unit;
    uint32_t number;
    char progress[512]; /* the last one sent */
    bool closing;       /* close when the answer is out */
    bool ended;         /* it sends no more, and may still read */
    bool follows;       /* a reload: it waits for what is rolled by it, too */
    bool watches;       /* it follows the events */
    uint64_t event;     /* the number of the next one for it */
    uint64_t ticket;    /* of a purge */
    uint64_t asked_ms;  /* wall time */
    bool reloaded;      /* what it waits for is over: */
    char *reload_error; /* NULL: it went well */
    char *report;       /* what comes with the answer, for people; NULL: nothing */
};

struct control_server {
    struct loop *loop;
    struct supervisor *supervisor;
    struct events *events;
    struct deferred news; /* there are new events */
    struct watch watch;
    int fd;
    char path[sizeof((struct sockaddr_un *)0)->sun_path];
    struct client *clients;
    unsigned client_count;
    int spare;          /* given up for one client when no descriptors are left; -1: given up */
    struct timer pause; /* nothing is accepted for a while */
};

enum { ACCEPT_PAUSE_MS = 200 };

static void client_idle(struct timer *timer);
static void client_say(struct client *client, json_t *object);
static bool reload_waits(const struct client *client, const char **ret_error);
static bool upgrade_waits(const struct client *client, const char **ret_error);

/* ---- answers ----------------------------------------------------------------------------------
 */

static void client_free(struct client *client)
{
    struct control_server *server = client->server;
    for (struct client **at = &server->clients; *at; at = &(*at)->next) {
        if (*at == client) {
            *at = client->next;
            break;
        }
    }
    server->client_count--;
    watch_stop(server->loop, &client->watch);
    timer_stop(server->loop, &client->idle);
    close(client->fd);
    if (server->spare < 0)
        server->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
    buffer_done(&client->request);
    buffer_done(&client->answer);
    if (client->waits == reload_waits)
        reload_disown(server->supervisor, client);
    if (client->waits == upgrade_waits)
        upgrade_disown(server->supervisor, client);
    free(client->reload_error);
    free(client->report);
    free(client);
}

/* Puts down what it has not been told yet; all of it when `bytes_max` allows. */
static void events_tell(struct client *client, size_t bytes_max)
{
    json_t *event;
    while (client->answer.length < bytes_max &&
           (event = events_take(client->server->events, &client->event)))
        client_say(client, event);
}

/* What has happened until now, and that nothing more comes. */
static void events_end(struct client *client, const char *why)
{
    events_tell(client, ANSWER_BYTES_MAX);
    client_say(client, json_pack("{s:s}", "end", why));
    client->closing = true;
}

/* Is there anything to send? */
static bool client_more(struct client *client)
{
    if (client->watches && !client->closing && !client->answer.length)
        events_tell(client, PROGRESS_WAITING_MAX);
    return client->answer.length > 0;
}

/* Sends what it can; false: the client is gone (and freed). */
static bool client_flush(struct client *client)
{
    bool progress = false;
    while (client_more(client)) {
        ssize_t sent = send(client->fd, client->answer.data, client->answer.length,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN)
            break;
        if (sent < 0) {
            client_free(client);
            return false;
        }
        buffer_consume(&client->answer, (size_t)sent);
        progress = true;
    }
    if (!client->answer.length && client->closing) {
        client_free(client);
        return false;
    }
    struct loop *loop = client->server->loop;
    if (client->closing && (progress || !timer_active(&client->idle)))
        timer_start(loop, &client->idle, CONTROL_IDLE_MS, client_idle, client);
    watch_change(loop, &client->watch,
                 (client->ended ? 0 : WATCH_READ) | (client->answer.length ? WATCH_WRITE : 0));
    return true;
}

/* Takes the object over. */
static void client_say(struct client *client, json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    if (text)
        buffer_puts(&client->answer, text);
    if (!text || client->answer.overflowed) {
        buffer_clear(&client->answer);
        buffer_puts(&client->answer, text ? "{\"error\":\"the answer is too long\"}"
                                          : "{\"error\":\"no memory for the answer\"}");
    }
    buffer_puts(&client->answer, "\n");
    free(text);
    json_decref(object);
}

static void client_finish(struct client *client, const char *error)
{
    json_t *object = json_object();
    uint64_t count;
    if (client->ticket && front_purged(client->server->supervisor->front, client->ticket, &count))
        json_object_set_new(object, "purged", json_integer((json_int_t)count));
    if (error)
        json_object_set_new(object, "error", json_text(error));
    else
        json_object_set_new(object, "ok", json_true());
    if (client->report)
        json_object_set_new(object, "report", json_text(client->report));
    client_say(client, object);
    client->waits = NULL;
    client->closing = true;
}

/* ---- waiting ----------------------------------------------------------------------------------
 */

/* Whoever waits is not kept waiting for what does not come up. */
static bool instance_error(const struct instance *instance, const char **ret_error)
{
    static char text[INSTANCE_NAME_BYTES + INSTANCE_REASON_BYTES + 64];
    bool failed = instance->life.state == STATE_FAILED;
    if (!instance_hopeless(instance))
        return false;
    snprintf(text, sizeof text, "%s %s: %s", instance->name,
             failed ? "failed" : "does not come up, and is tried on", instance->reason);
    *ret_error = text;
    return true;
}

static bool unit_waits(const struct client *client, const char **ret_error)
{
    const struct unit *unit = client->unit;
    bool up = unit_settled(unit);
    for (uint32_t number = 1; number <= unit->wanted; number++) {
        const struct instance *instance = unit_instance(unit, number);
        if (instance && instance_error(instance, ret_error))
            return true;
        up &= instance != NULL; /* not made yet otherwise */
    }
    return up;
}

static bool instance_waits(const struct client *client, const char **ret_error)
{
    const struct instance *instance = unit_instance(client->unit, client->number);
    if (!instance)
        *ret_error = "the instance was removed";
    if (!instance || instance_error(instance, ret_error))
        return true;
    return instance->life.goal != GOAL_RESTART && instance->life.state == STATE_UP;
}

static bool cluster_waits(const struct client *client, const char **ret_error)
{
    const struct supervisor *supervisor = client->server->supervisor;
    for (size_t i = 0; i < supervisor->topology->service_count; i++)
        for (uint32_t number = 1; number <= supervisor->units[i].wanted; number++) {
            const struct instance *instance = unit_instance(&supervisor->units[i], number);
            if (instance && instance_error(instance, ret_error))
                return true;
        }
    return supervisor_settled(supervisor);
}

static bool never(const struct client *client, const char **ret_error)
{
    (void)client;
    (void)ret_error;
    return false; /* for the end of the cluster: control_server_free answers */
}

static bool roll_waits(const struct client *client, const char **ret_error)
{
    if (client->unit->rolling.ended == client->number)
        return false;
    *ret_error = roll_error(client->unit);
    return true;
}

/* What a reload began to roll. */
static bool rolls_over(const struct client *client, const char **ret_error)
{
    const struct supervisor *supervisor = client->server->supervisor;
    for (size_t i = 0; i < supervisor->topology->service_count; i++) {
        const struct unit *unit = &supervisor->units[i];
        if (rollout_active(&unit->rolling.rollout))
            return false;
        if (unit->record && unit->record->rollout_wall_ms >= client->asked_ms && !*ret_error)
            *ret_error = roll_error(unit);
    }
    return true;
}

static void progress_add(char *text, size_t size, const struct unit *unit)
{
    size_t start = strlen(text);
    if (rollout_active(&unit->rolling.rollout) && start + 128 < size) {
        snprintf(text + start, size - start, "%s", start ? ", " : "");
        rolling_text(unit, text + strlen(text), size - strlen(text));
    }
    for (uint32_t i = 0; i < unit->instance_count; i++) {
        const struct instance *instance = unit->instances[i];
        size_t length = strlen(text);
        if (!instance || instance->life.state == STATE_UP || instance->life.state == STATE_IDLE ||
            length + 64 > size)
            continue;
        snprintf(text + length, size - length, "%s%.100s %s", length ? ", " : "", instance->name,
                 lifecycle_name(instance->life.state));
    }
}

static void client_progress(struct client *client)
{
    char text[sizeof client->progress] = "";
    const struct supervisor *supervisor = client->server->supervisor;
    for (size_t i = 0; i < supervisor->topology->service_count; i++)
        if (!client->unit || client->unit == &supervisor->units[i])
            progress_add(text, sizeof text, &supervisor->units[i]);
    if (client->watches || (client->waits == reload_waits && !client->follows) || !text[0] ||
        strcmp(text, client->progress) == 0 || client->answer.length > PROGRESS_WAITING_MAX)
        return;
    memcpy(client->progress, text, sizeof text);
    client_say(client, json_pack("{s:s}", "progress", text));
}

static void client_look(struct client *client)
{
    const char *error = NULL;
    if (!client->waits)
        return;
    if (client->waits(client, &error))
        client_finish(client, error);
    else
        client_progress(client);
    client_flush(client);
}

void control_server_changed(struct control_server *server)
{
    for (struct client *client = server->clients, *next; client; client = next) {
        next = client->next;
        client_look(client);
    }
}

/* ---- commands ---------------------------------------------------------------------------------
 */

/* NULL: the answer is on its way (or the client waits); else what is wrong. */
typedef const char *command_call(struct client *client, const json_t *request);

/* The service that the request names; NULL: none of that name. */
static struct unit *unit_named(const struct client *client, const json_t *request)
{
    const char *name = json_string_value(json_object_get(request, "service"));
    struct unit *unit = name ? supervisor_unit(client->server->supervisor, name) : NULL;
    return unit && !unit->service->job ? unit : NULL;
}

static uint32_t number_in(const json_t *request, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(request, key));
    return value > 0 && value <= SERVICE_INSTANCES_MAX ? (uint32_t)value : 0;
}

static const char *document_say(struct client *client, const char *name, json_t *document)
{
    client_say(client, json_pack("{s:b, s:o}", "ok", 1, name, document));
    client->closing = true;
    return NULL;
}

static const char *command_status(struct client *client, const json_t *request)
{
    (void)request;
    return document_say(client, "status", status_build(client->server->supervisor));
}

static const char *command_bans(struct client *client, const json_t *request)
{
    const char *error = NULL;
    json_t *document = bans_document(client->server->supervisor, request, &error);
    return document ? document_say(client, "bans", document) : error;
}

static const char *command_scale(struct client *client, const json_t *request)
{
    static char text[128];
    client->unit = unit_named(client, request);
    if (!client->unit)
        return "there is no such service";
    uint32_t count = number_in(request, "count");
    int error = count ? unit_scale(client->unit, count) : 0;
    if (!count)
        snprintf(text, sizeof text, "the number must be 1 to %d", SERVICE_INSTANCES_MAX);
    else if (error == -ERANGE)
        snprintf(text, sizeof text,
                 "it cannot have so many: its %u addresses are given out; restart the cluster",
                 client->unit->blocks * INSTANCES_PER_BLOCK);
    else if (error == -ENOSPC)
        snprintf(text, sizeof text, "this cluster cannot have so many instances before a restart");
    else if (error)
        snprintf(text, sizeof text, "it cannot be scaled: %s", strerror(-error));
    else
        client->waits = unit_waits;
    return client->waits ? NULL : text;
}

static const char *command_drain(struct client *client, const json_t *request)
{
    client->unit = unit_named(client, request);
    struct instance *instance =
        client->unit ? unit_instance(client->unit, number_in(request, "instance")) : NULL;
    if (!instance)
        return "there is no such instance";
    bool undo = json_is_true(json_object_get(request, "undo"));
    if (undo ? !instance->life.held : instance->life.state != STATE_UP)
        return undo ? "the instance is not draining" : "the instance is not up";
    if (undo)
        instance_undrain(instance);
    else
        instance_drain(instance);
    client_finish(client, NULL);
    return NULL;
}

static const char *command_restart(struct client *client, const json_t *request)
{
    struct supervisor *supervisor = client->server->supervisor;
    if (!json_object_get(request, "service")) {
        for (size_t i = 0; i < supervisor->topology->service_count; i++)
            if (!rollout_active(&supervisor->units[i].rolling.rollout))
                unit_restart(&supervisor->units[i], 0);
        client->waits = cluster_waits;
        return NULL;
    }
    client->unit = unit_named(client, request);
    if (!client->unit)
        return "there is no such service";
    client->number = number_in(request, "instance");
    if (json_object_get(request, "instance") && !unit_instance(client->unit, client->number))
        return "there is no such instance";
    if (!client->number && rollout_active(&client->unit->rolling.rollout))
        return "it is being rolled";
    unit_restart(client->unit, client->number);
    client->waits = client->number ? instance_waits : unit_waits;
    return NULL;
}

static bool job_waits(const struct client *client, const char **ret_error)
{
    return job_over(client->unit, client->ticket, ret_error);
}

static const char *command_job(struct client *client, const json_t *request)
{
    const char *name = json_string_value(json_object_get(request, "job"));
    client->unit = name ? supervisor_unit(client->server->supervisor, name) : NULL;
    const char *error = job_run_now(client->unit, &client->ticket);
    client->waits = error ? NULL : job_waits;
    return error;
}

static const char *command_roll(struct client *client, const json_t *request)
{
    const char *why = NULL;
    client->unit = unit_named(client, request);
    if (!client->unit)
        return "there is no such service";
    struct rollout_plan plan = rolling_plan(client->unit);
    if (!roll_plan_read(request, &plan, &why))
        return why;
    client->number = client->unit->rolling.ended;
    int error = rolling_begin(client->unit, &plan, "asked for");
    if (error)
        return error == -EBUSY    ? "it is being rolled"
               : error == -EINVAL ? "a canary needs an instance beside it: surge=1"
                                  : "it has not begun, or is going down";
    client->waits = roll_waits;
    return NULL;
}

static void client_reloaded(void *owner, int error, const char *why)
{
    struct client *client = owner;
    client->reloaded = true;
    client->reload_error = error ? strdup(why) : NULL;
    supervisor_note_change(client->server->supervisor, NULL); /* it is answered after this turn */
}

static bool reload_waits(const struct client *client, const char **ret_error)
{
    *ret_error = client->reload_error;
    if (!client->reloaded || client->reload_error)
        return client->reloaded;
    /* Whoever is told that it is done sees it so: the gateway's workers have changed over, too. */
    return front_settled(client->server->supervisor->front) &&
           (!client->follows || rolls_over(client, ret_error));
}

/* What is wrong with the file, or what changes by it, is the report. */
static const char *command_reload(struct client *client, const json_t *request)
{
    static char why[1024];
    const char *file = json_string_value(json_object_get(request, "file"));
    bool dry = json_is_true(json_object_get(request, "dry_run"));
    client->follows = json_is_true(json_object_get(request, "wait"));
    client->asked_ms = clock_wall_ms();
    size_t length = 0;
    FILE *out = open_memstream(&client->report, &length);
    if (!out)
        return "no memory";
    int error = reload_file(client->server->supervisor, file, dry, client_reloaded, client, out,
                            why, sizeof why);
    fclose(out);
    if (error)
        return why;
    if (dry)
        client_finish(client, NULL);
    else
        client->waits = reload_waits;
    return NULL;
}

static bool upgrade_waits(const struct client *client, const char **ret_error)
{
    *ret_error = client->reload_error;
    return client->reloaded;
}

/* Answered when it is sure that the other executable could take over, just before it does. */
static const char *command_upgrade(struct client *client, const json_t *request)
{
    static char why[UPGRADE_WHY_BYTES];
    struct supervisor *supervisor = client->server->supervisor;
    const char *executable = json_string_value(json_object_get(request, "executable"));
    int error = upgrade_begin(supervisor, executable ? executable : supervisor->options.executable,
                              client_reloaded, client, why);
    if (error)
        return why;
    client->waits = upgrade_waits;
    return NULL;
}

static const char *command_down(struct client *client, const json_t *request)
{
    struct supervisor *supervisor = client->server->supervisor;
    client->waits = never;
    if (json_is_true(json_object_get(request, "leave")))
        supervisor_leave(supervisor);
    else if (!supervisor->ending) /* a second call would kill */
        supervisor_end(supervisor);
    return NULL;
}

static bool purge_waits(const struct client *client, const char **ret_error)
{
    uint64_t count;
    (void)ret_error;
    return front_purged(client->server->supervisor->front, client->ticket, &count);
}

static const char *command_purge(struct client *client, const json_t *request)
{
    const char *error = purge_begin(client->server->supervisor, request, &client->ticket);
    client->waits = error ? NULL : purge_waits;
    return error;
}

static bool events_wait(const struct client *client, const char **ret_error)
{
    (void)client, (void)ret_error;
    return false; /* until it goes, or the cluster */
}

/* Without `follow` it is answered with what is there. */
static const char *command_events(struct client *client, const json_t *request)
{
    const struct control_server *server = client->server;
    json_int_t last = json_integer_value(json_object_get(request, "last"));
    unsigned watching = 0;
    for (const struct client *other = server->clients; other; other = other->next)
        watching += other->watches;
    client->event = events_from(server->events, last > 0 ? (uint64_t)last : 0);
    if (!json_is_true(json_object_get(request, "follow"))) {
        events_tell(client, ANSWER_BYTES_MAX);
        client_finish(client, NULL);
        return NULL;
    }
    if (watching >= EVENTS_SUBSCRIBERS_MAX)
        return "too many follow the events already";
    client->watches = true;
    client->waits = events_wait;
    return NULL;
}

static void news_tell(struct deferred *deferred)
{
    struct control_server *server = deferred->owner;
    for (struct client *client = server->clients, *next; client; client = next) {
        next = client->next;
        if (client->watches)
            client_flush(client);
    }
}

void control_server_events(struct control_server *server)
{
    deferred_start(server->loop, &server->news, news_tell, server);
}

static const char *command_wait(struct client *client, const json_t *request)
{
    (void)request;
    client->waits = cluster_waits;
    return NULL;
}

static const struct command {
    const char *name;
    command_call *call;
    bool ending; /* may be asked of a cluster that is going down */
} commands[] = {
    {"status", command_status, true},  {"scale", command_scale, false},
    {"drain", command_drain, false},   {"restart", command_restart, false},
    {"roll", command_roll, false},     {"down", command_down, true},
    {"wait", command_wait, false},     {"purge", command_purge, false},
    {"reload", command_reload, false}, {"upgrade", command_upgrade, false},
    {"events", command_events, true},  {"job", command_job, false},
    {"bans", command_bans, false},
};

/* Leaves the answer, or the first progress, to be sent. */
static void request_serve(struct client *client, const char *text, size_t length)
{
    json_error_t where;
    json_t *request = json_loadb(text, length, JSON_REJECT_DUPLICATES, &where);
    const char *name = json_string_value(json_object_get(request, "command"));
    const char *error = request ? "unknown command" : "the request is not JSON";
    for (size_t i = 0; name && i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(commands[i].name, name) == 0)
            error = commands[i].ending || !client->server->supervisor->ending
                        ? commands[i].call(client, request)
                        : "the cluster is going down";
    json_decref(request);
    timer_stop(client->server->loop, &client->idle);
    if (error)
        client_finish(client, error);
    const char *wrong = NULL;
    if (client->waits && client->waits(client, &wrong))
        client_finish(client, wrong);
    else if (client->waits)
        client_progress(client);
}

/* ---- connections ------------------------------------------------------------------------------
 */

/* Takes what came; false: the client is gone (and freed), or is being served. */
static bool client_receive(struct client *client)
{
    char bytes[4096];
    ssize_t count = recv(client->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (count < 0)
        return errno == EAGAIN || errno == EINTR;
    bool asked = client->waits || client->closing;
    client->ended = count == 0;
    if (asked)
        return true; /* it has been told, or will be: what comes after the first line is nothing */
    if (client->ended)
        return false;
    buffer_append(&client->request, bytes, (size_t)count);
    char *end =
        client->request.length ? memchr(client->request.data, '\n', client->request.length) : NULL;
    if (client->request.overflowed)
        client_finish(client, "the request is too long");
    else if (end)
        request_serve(client, client->request.data, (size_t)(end - client->request.data));
    return true;
}

static void client_ready(struct watch *watch, unsigned events)
{
    struct client *client = watch->owner;
    bool gone = events & (WATCH_HANGUP | WATCH_ERROR); /* both ways: nobody reads an answer */
    if (!gone && (events & WATCH_READ))
        gone = !client_receive(client);
    if (gone)
        client_free(client);
    else
        client_flush(client);
}

static void client_idle(struct timer *timer)
{
    client_free(timer->owner);
}

static void client_new(struct control_server *server, int fd)
{
    struct client *client = calloc(1, sizeof *client);
    if (!client ||
        watch_start(server->loop, &client->watch, fd, WATCH_READ, client_ready, client) < 0) {
        free(client);
        close(fd);
        return;
    }
    client->server = server;
    client->fd = fd;
    buffer_init(&client->request, REQUEST_BYTES_MAX);
    buffer_init(&client->answer, ANSWER_BYTES_MAX);
    client->next = server->clients;
    server->clients = client;
    server->client_count++;
    timer_start(server->loop, &client->idle, CONTROL_IDLE_MS, client_idle, client);
}

static void server_ready(struct watch *watch, unsigned events);

static void pause_over(struct timer *timer)
{
    struct control_server *server = timer->owner;
    if (watch_start(server->loop, &server->watch, server->fd, WATCH_READ, server_ready, server) < 0)
        timer_start(server->loop, &server->pause, ACCEPT_PAUSE_MS, pause_over, server);
}

/* Who asks what is wrong should be answered also when no descriptors are left, which is when it is
 * asked. */
static int client_accept(struct control_server *server)
{
    int fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0 || (errno != EMFILE && errno != ENFILE) || server->spare < 0)
        return fd < 0 ? -errno : fd;
    fd_drop(&server->spare);
    fd = accept4(server->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    return fd < 0 ? -errno : fd;
}

static void server_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct control_server *server = watch->owner;
    int fd = client_accept(server);
    if (fd == -EAGAIN || fd == -EINTR || fd == -ECONNABORTED)
        return;
    if (fd < 0) { /* it would be ready again and again */
        watch_stop(server->loop, watch);
        timer_start(server->loop, &server->pause, ACCEPT_PAUSE_MS, pause_over, server);
        return;
    }
    if (socket_peer_may(fd) && server->client_count < CONTROL_CLIENTS_MAX) {
        client_new(server, fd);
        return;
    }
    log_warn("control-refused", "clients=%u", server->client_count);
    close(fd);
}

int control_server_new(struct loop *loop, struct supervisor *supervisor, struct events *events,
                       const char *path, int *socket_fd, struct control_server **ret_server)
{
    struct control_server *server = calloc(1, sizeof *server);
    if (!server)
        return -ENOMEM;
    *server = (struct control_server){
        .loop = loop, .supervisor = supervisor, .events = events, .spare = -1};
    server->fd = *socket_fd < 0 ? socket_open(path, CONTROL_CLIENTS_MAX) : fd_take(socket_fd);
    int error = server->fd < 0 ? server->fd : 0;
    if (!error)
        error = watch_start(loop, &server->watch, server->fd, WATCH_READ, server_ready, server);
    if (error) {
        fd_drop(&server->fd);
        free(server);
        return error;
    }
    strcpy(server->path, path);
    server->spare = open("/dev/null", O_RDONLY | O_CLOEXEC); /* -1 will do, too */
    *ret_server = server;
    return 0;
}

static void clients_end(struct control_server *server, const char *why)
{
    while (server->clients) {
        struct client *client = server->clients;
        if (client->waits) {
            if (client->watches)
                events_end(client, why);
            else
                client_finish(client, client->waits == never ? NULL : why);
            if (!client_flush(client))
                continue;
        }
        client_free(client);
    }
}

int control_server_release(struct control_server *server)
{
    clients_end(server, "enginx is being upgraded: ask again");
    watch_stop(server->loop, &server->watch);
    timer_stop(server->loop, &server->pause);
    deferred_stop(server->loop, &server->news);
    int fd = server->fd;
    fd_drop(&server->spare);
    free(server);
    return fd;
}

void control_server_free(struct control_server *server)
{
    if (!server)
        return;
    clients_end(server, "the cluster went down");
    unlink(server->path);
    int fd = control_server_release(server);
    fd_drop(&fd);
}
