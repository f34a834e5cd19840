/* The program that the bench measures: a web server of one thread and one epoll loop on port 8500
 * that does as little as a server can, so that what enginx adds would show. It answers each read with
 * one fixed response, and closes when the request says "Connection: close". */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PORT = 8500, BACKLOG = 4096, EVENTS = 64 };

static const char keep[] = "HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, world\n";
static const char last[] =
    "HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\nHello, world\n";

static void answer(int client)
{
    char in[4096];
    ssize_t got = recv(client, in, sizeof in - 1, MSG_DONTWAIT);

    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        close(client);
        return;
    }
    in[got] = 0;
    if (strstr(in, "Connection: close")) {
        send(client, last, sizeof last - 1, MSG_NOSIGNAL);
        close(client);
    } else {
        send(client, keep, sizeof keep - 1, MSG_NOSIGNAL);
    }
}

int main(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    struct epoll_event events[EVENTS], event = {.events = EPOLLIN};
    int on = 1, poll = epoll_create1(EPOLL_CLOEXEC);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, BACKLOG) != 0) {
        perror("port 8500");
        return 1;
    }
    event.data.fd = listener;
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(poll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd != listener) {
                answer(events[i].data.fd);
                continue;
            }
            int client = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (client < 0)
                continue;
            setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            event.events = EPOLLIN;
            event.data.fd = client;
            epoll_ctl(poll, EPOLL_CTL_ADD, client, &event);
        }
    }
}
