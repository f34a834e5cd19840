/* The floor: a null proxy. It does what no proxy can do without — receive, send, receive, send — for
 * messages that come whole, and nothing else: no parsing, no timer, no log. One thread, one epoll
 * loop, a connection to the origin for each client's.
 * Usage: floor PORT ORIGIN-PORT */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 4096, EVENTS = 256, BYTES = 256 * 1024 };

struct end {
    int fd;
    int gone;
    struct end *other;
};

static char bytes[BYTES];
static int poll_fd;

static void pair_end(struct end *end)
{
    /* The memory stays: another event of this turn may point to it. */
    if (end->gone)
        return;
    end->gone = end->other->gone = 1;
    close(end->fd);
    close(end->other->fd);
}

static void pass(struct end *end)
{
    if (end->gone)
        return;
    ssize_t got = recv(end->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0 || send(end->other->fd, bytes, (size_t)got, MSG_NOSIGNAL) != got)
        pair_end(end);
}

static void end_watch(struct end *end)
{
    int on = 1;
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = end};
    setsockopt(end->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, end->fd, &event);
}

static void clients_accept(int listener, const struct sockaddr_in *origin)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct end *pair = calloc(2, sizeof *pair);
        pair[0] = (struct end){.fd = fd, .other = &pair[1]};
        pair[1] = (struct end){.fd = socket(AF_INET, SOCK_STREAM, 0), .other = &pair[0]};
        if (connect(pair[1].fd, (const struct sockaddr *)origin, sizeof *origin) < 0) {
            perror("origin");
            exit(1);
        }
        end_watch(&pair[1]);
        end_watch(&pair[0]);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    struct sockaddr_in here = {.sin_family = AF_INET,
                               .sin_port = htons((in_port_t)atoi(argv[1])),
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in origin = here;
    origin.sin_port = htons((in_port_t)atoi(argv[2]));
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) < 0 || listen(listener, BACKLOG) < 0) {
        perror("floor");
        return 1;
    }
    poll_fd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(poll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr)
                pass(events[i].data.ptr);
            else
                clients_accept(listener, &origin);
        }
    }
}
