/* The origin of the gateway's bench: one thread, one epoll loop, faster than any proxy in front of it.
 *   TCP: HTTP/1.1; `GET /N` is answered with N bytes; closes when the request says so.
 *   UDP: every datagram goes back to where it came from.
 * Usage: origin PORT. No parser worth the name: only the bench may speak with it. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 4096, EVENTS = 256, BODY_MAX = 4 * 1024 * 1024, HEAD_MAX = 128, DATAGRAMS = 64 };

struct client {
    int fd;
    int closing;
    int waits; /* for room */
    size_t left; /* of the response, head included */
    size_t head_length;
    size_t length; /* of the whole response */
    char head[HEAD_MAX];
};

static char body[BODY_MAX];
static int poll_fd;

static void client_end(struct client *client)
{
    close(client->fd);
    free(client);
}

/* 0; -1: gone. */
static int client_send(struct client *client)
{
    while (client->left) {
        size_t done = client->length - client->left;
        struct iovec parts[2];
        int count = 0;
        if (done < client->head_length)
            parts[count++] = (struct iovec){client->head + done, client->head_length - done};
        size_t body_done = done > client->head_length ? done - client->head_length : 0;
        size_t body_left = client->length - client->head_length - body_done;
        if (body_left)
            parts[count++] = (struct iovec){body, body_left};
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = (size_t)count};
        ssize_t sent = sendmsg(client->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EAGAIN) {
            struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = client};
            if (!client->waits)
                epoll_ctl(poll_fd, EPOLL_CTL_MOD, client->fd, &event);
            client->waits = 1;
            return 0;
        }
        if (sent <= 0) {
            client_end(client);
            return -1;
        }
        client->left -= (size_t)sent;
    }
    if (client->closing) {
        client_end(client);
        return -1;
    }
    if (client->waits) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
        epoll_ctl(poll_fd, EPOLL_CTL_MOD, client->fd, &event);
        client->waits = 0;
    }
    return 0;
}

static void client_serve(struct client *client)
{
    char in[8192];
    if (client->waits && client_send(client) < 0)
        return;
    ssize_t got = recv(client->fd, in, sizeof in - 1, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        client_end(client);
        return;
    }
    in[got] = 0;
    char *path = strchr(in, '/');
    size_t length = path ? strtoul(path + 1, NULL, 10) : 0;
    if (length > BODY_MAX)
        length = BODY_MAX;
    client->closing = strcasestr(in, "connection: close") != NULL;
    client->head_length = (size_t)snprintf(
        client->head, sizeof client->head,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n%s\r\n", length,
        client->closing ? "Connection: close\r\n" : "");
    client->left = client->length = client->head_length + length;
    client_send(client);
}

static void clients_accept(int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct client *client = calloc(1, sizeof *client);
        client->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
        epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

static void datagrams_echo(int fd)
{
    static char bytes[DATAGRAMS][2048];
    struct sockaddr_in from[DATAGRAMS];
    struct iovec parts[DATAGRAMS];
    struct mmsghdr messages[DATAGRAMS];
    for (int i = 0; i < DATAGRAMS; i++) {
        parts[i] = (struct iovec){bytes[i], sizeof bytes[i]};
        messages[i] = (struct mmsghdr){.msg_hdr = {.msg_name = &from[i],
                                                   .msg_namelen = sizeof from[i],
                                                   .msg_iov = &parts[i],
                                                   .msg_iovlen = 1}};
    }
    int count = recvmmsg(fd, messages, DATAGRAMS, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++)
        parts[i].iov_len = messages[i].msg_len;
    if (count > 0 && sendmmsg(fd, messages, (unsigned)count, MSG_DONTWAIT) < 0)
        return; /* the other side's loss */
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((in_port_t)(argc > 1 ? atoi(argv[1]) : 0)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1, room = 4 * 1024 * 1024;
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    memset(body, 'x', sizeof body);
    setsockopt(tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    setsockopt(udp, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    if (bind(tcp, (struct sockaddr *)&address, sizeof address) < 0 || listen(tcp, BACKLOG) < 0 ||
        bind(udp, (struct sockaddr *)&address, sizeof address) < 0) {
        perror("origin");
        return 1;
    }
    poll_fd = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &tcp};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, tcp, &event);
    event.data.ptr = &udp;
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, udp, &event);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(poll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == &tcp)
                clients_accept(tcp);
            else if (events[i].data.ptr == &udp)
                datagrams_echo(udp);
            else
                client_serve(events[i].data.ptr);
        }
    }
}
