#include "gateway/metrics.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "gateway/http/h1_parse.h"

enum { CLIENT_FIELDS_MAX = 64, ACCEPT_PAUSE_MS = 1000 };

struct client {
    LIST_ENTRY(client) next;
    struct metrics *metrics;
    struct watch watch;
    struct timer due;
    int fd;
    size_t received;
    size_t scanned;
    char request[METRICS_HEAD_BYTES_MAX];
    char head[256]; /* of the response */
    size_t head_bytes;
    struct buffer page;
    size_t body_bytes; /* of the page that are sent: HEAD none */
    size_t sent;       /* of both */
};

struct metrics {
    struct loop *loop;
    int fd;
    struct watch listening; /* not active while there are as many clients as there may be */
    struct timer pause;     /* no descriptor was left */
    struct metrics_sources sources;
    const struct generation *generation;
    LIST_HEAD(, client) clients;
    unsigned client_count;
};

static void listening_ready(struct watch *watch, unsigned events);

static void listening_resume(struct metrics *metrics)
{
    if (metrics->listening.active || timer_active(&metrics->pause))
        return;
    /* On failure the next client that leaves tries again. */
    watch_start(metrics->loop, &metrics->listening, metrics->fd, WATCH_READ, listening_ready,
                metrics);
}

static void client_free(struct client *client)
{
    struct metrics *metrics = client->metrics;
    watch_stop(metrics->loop, &client->watch);
    timer_stop(metrics->loop, &client->due);
    LIST_REMOVE(client, next);
    metrics->client_count--;
    close(client->fd);
    buffer_done(&client->page);
    free(client);
}

static void client_leave(struct client *client)
{
    struct metrics *metrics = client->metrics;
    client_free(client);
    listening_resume(metrics);
}

static void client_due(struct timer *timer)
{
    client_leave(timer->owner);
}

/* ---- the response --------------------------------------------------------------------------- */

/* What is still to be sent, at most two parts; how many. */
static int client_parts(const struct client *client, struct iovec parts[2])
{
    int count = 0;
    size_t body_sent = 0;
    if (client->sent < client->head_bytes)
        parts[count++] = (struct iovec){(void *)(uintptr_t)(client->head + client->sent),
                                        client->head_bytes - client->sent};
    else
        body_sent = client->sent - client->head_bytes;
    if (body_sent < client->body_bytes)
        parts[count++] =
            (struct iovec){client->page.data + body_sent, client->body_bytes - body_sent};
    return count;
}

/* All of it is out, or the client is gone: it ends. */
static void client_send(struct client *client)
{
    struct iovec parts[2];
    struct msghdr message = {.msg_iov = parts};
    while ((message.msg_iovlen = (size_t)client_parts(client, parts)) > 0) {
        ssize_t sent = sendmsg(client->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN &&
            watch_change(client->metrics->loop, &client->watch, WATCH_WRITE) == 0)
            return;
        if (sent < 0)
            break;
        client->sent += (size_t)sent;
    }
    shutdown(client->fd, SHUT_WR);
    client_leave(client);
}

static void client_answer(struct client *client, unsigned status, const char *reason,
                          const char *extra, bool body)
{
    client->head_bytes = (size_t)snprintf(
        client->head, sizeof client->head,
        "HTTP/1.1 %u %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
        "Content-Length: %zu\r\nConnection: close\r\n%s\r\n",
        status, reason, client->page.length, extra);
    client->body_bytes = body ? client->page.length : 0;
    client_send(client);
}

static void client_refuse(struct client *client, unsigned status, const char *reason, bool body)
{
    buffer_clear(&client->page);
    buffer_printf(&client->page, "%s\n", reason);
    client_answer(client, status, reason, status == 405 ? "Allow: GET, HEAD\r\n" : "", body);
}

static void client_serve(struct client *client, const struct head *request)
{
    struct metrics *metrics = client->metrics;
    bool body = request->method != METHOD_HEAD;
    if (request->method != METHOD_GET && request->method != METHOD_HEAD) {
        client_refuse(client, 405, "Method Not Allowed", true);
        return;
    }
    if (!slice_is(request->path, "/metrics")) {
        client_refuse(client, 404, "Not Found", body);
        return;
    }
    metrics_print(&metrics->sources, metrics->generation, &client->page);
    if (client->page.overflowed)
        client_refuse(client, 500, "The page is too large", body);
    else
        client_answer(client, 200, "OK", "", body);
}

/* ---- the request ---------------------------------------------------------------------------- */

/* Looks at what has come. True: the client is answered (and may be gone). */
static bool client_look(struct client *client)
{
    size_t blank = h1_blank(client->request, client->received), length;
    if (blank && client->scanned == 0) {
        client->received -= blank;
        memmove(client->request, client->request + blank, client->received);
    }
    switch (h1_head_end(client->request, client->received, &client->scanned, &length)) {
    case H1_MORE:
        if (client->received < sizeof client->request)
            return false;
        client_refuse(client, 431, "Request Header Fields Too Large", true);
        return true;
    case H1_BAD:
        client_refuse(client, 400, "Bad Request", true);
        return true;
    case H1_DONE:
        break;
    }
    struct field fields[CLIENT_FIELDS_MAX];
    struct head request = {.fields = fields, .fields_room = CLIENT_FIELDS_MAX};
    struct h1_refusal refusal;
    if (h1_request_parse(client->request, length, &request, &refusal) == H1_DONE)
        client_serve(client, &request);
    else
        client_refuse(client, refusal.status, "Bad Request", true);
    return true;
}

static void client_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct client *client = watch->owner;
    if (client->head_bytes) {
        client_send(client);
        return;
    }
    ssize_t length;
    do
        length = recv(client->fd, client->request + client->received,
                      sizeof client->request - client->received, MSG_DONTWAIT);
    while (length < 0 && errno == EINTR);
    if (length < 0 && errno == EAGAIN)
        return;
    if (length <= 0) {
        client_leave(client);
        return;
    }
    client->received += (size_t)length;
    client_look(client);
}

/* ---- the listening socket ------------------------------------------------------------------- */

/* Takes the descriptor. */
static void client_new(struct metrics *metrics, int fd)
{
    struct client *client = calloc(1, sizeof *client);
    if (!client) {
        close(fd);
        return;
    }
    client->metrics = metrics;
    client->fd = fd;
    buffer_init(&client->page, METRICS_BYTES_MAX);
    LIST_INSERT_HEAD(&metrics->clients, client, next);
    metrics->client_count++;
    if (timer_start(metrics->loop, &client->due, METRICS_CLIENT_MS, client_due, client) ||
        watch_start(metrics->loop, &client->watch, fd, WATCH_READ, client_ready, client))
        client_free(client);
}

static void pause_over(struct timer *timer)
{
    listening_resume(timer->owner);
}

static void listening_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct metrics *metrics = watch->owner;
    while (metrics->client_count < METRICS_CLIENTS_MAX) {
        int fd = accept4(metrics->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            client_new(metrics, fd);
            continue;
        }
        if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR)
            return;
        timer_start(metrics->loop, &metrics->pause, ACCEPT_PAUSE_MS, pause_over, metrics);
        break;
    }
    watch_stop(metrics->loop, watch);
}

struct metrics *metrics_new(struct loop *loop, int fd, const struct metrics_sources *sources)
{
    struct metrics *metrics = calloc(1, sizeof *metrics);
    if (!metrics)
        return NULL;
    metrics->loop = loop;
    metrics->fd = fd;
    metrics->sources = *sources;
    LIST_INIT(&metrics->clients);
    int error = watch_start(loop, &metrics->listening, fd, WATCH_READ, listening_ready, metrics);
    if (error) {
        free(metrics);
        errno = -error;
        return NULL;
    }
    return metrics;
}

void metrics_settle(struct metrics *metrics, const struct generation *generation)
{
    metrics->generation = generation;
}

void metrics_free(struct metrics *metrics)
{
    if (!metrics)
        return;
    while (!LIST_EMPTY(&metrics->clients))
        client_free(LIST_FIRST(&metrics->clients));
    watch_stop(metrics->loop, &metrics->listening);
    timer_stop(metrics->loop, &metrics->pause);
    free(metrics);
}
