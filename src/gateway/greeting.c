#include "gateway/greeting.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/core/networks.h"
#include "gateway/http/h1_server.h"
#include "gateway/listen.h"
#include "gateway/relay/proxy_header.h"

struct greeting {
    struct worker *worker;
    struct generation_use *use; /* the plan's; holds a reference */
    const struct plan_listener *plan;
    struct sockaddr_storage peer; /* as accepted */
    struct watch watch;
    struct timer patience;
    int fd;
};

bool greeting_wanted(const struct listener *listener, const struct sockaddr *peer)
{
    return networks_contain(listener->proxies, listener->proxy_count, peer);
}

static void greeting_free(struct greeting *greeting)
{
    watch_stop(greeting->worker->loop, &greeting->watch);
    timer_stop(greeting->worker->loop, &greeting->patience);
    if (greeting->fd >= 0)
        close(greeting->fd);
    use_unref(greeting->use);
    free(greeting);
}

static void patience_over(struct timer *timer)
{
    greeting_free(timer->owner);
}

/* Takes exactly the header's bytes off the socket, and hands it on. */
static void greeting_finish(struct greeting *greeting, const struct proxy_header *header,
                            size_t length)
{
    struct worker *worker = greeting->worker;
    const struct plan_listener *plan = worker_plan(worker, greeting->plan);
    if (!plan || recv(greeting->fd, worker->input, length, 0) != (ssize_t)length) {
        greeting_free(greeting);
        return;
    }
    int fd = greeting->fd;
    watch_stop(worker->loop, &greeting->watch);
    greeting->fd = -1;
    const struct sockaddr_storage *peer = header->known ? &header->source : &greeting->peer;
    h1_accept(worker, plan, fd, (const struct sockaddr *)peer,
              header->known ? (const struct sockaddr *)&header->destination : NULL);
    greeting_free(greeting);
}

static void greeting_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct greeting *greeting = watch->owner;
    ssize_t count = recv(greeting->fd, greeting->worker->input, PROXY_HEADER_BYTES_MAX, MSG_PEEK);
    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    struct proxy_header header;
    size_t length = 0;
    enum proxy_result result =
        count > 0 ? proxy_header_read(greeting->worker->input, (size_t)count, &header, &length)
                  : PROXY_BAD;
    if (result == PROXY_DONE)
        greeting_finish(greeting, &header, length);
    else if (result == PROXY_BAD || count == PROXY_HEADER_BYTES_MAX)
        greeting_free(greeting);
}

void greeting_start(struct worker *worker, const struct plan_listener *plan, int fd,
                    const struct sockaddr *peer, socklen_t length)
{
    struct greeting *greeting = calloc(1, sizeof *greeting);
    if (!greeting) {
        close(fd);
        return;
    }
    *greeting = (struct greeting){.worker = worker, .use = worker->current, .plan = plan, .fd = fd};
    memcpy(&greeting->peer, peer, length);
    use_ref(greeting->use);
    /* Edge-triggered: bytes that were peeked at would be told of again and again. */
    if (watch_start(worker->loop, &greeting->watch, fd, WATCH_READ | (unsigned)WATCH_EDGE,
                    greeting_ready, greeting) < 0 ||
        timer_start(worker->loop, &greeting->patience, GREETING_MS, patience_over, greeting) < 0)
        greeting_free(greeting);
}
