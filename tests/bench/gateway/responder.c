/* A FastCGI program for the benchmark that costs as little as it can, so that the proxies in front
 * of it are what is measured: `responder PORT` answers every request with the same 100 bytes. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEADER = 8, CONNECTIONS_MAX = 4096, EVENTS = 256, TYPE = 1, STDIN = 5, STDOUT = 6, END = 3 };

static struct {
    uint8_t header[HEADER];
    size_t have;           /* bytes of the header */
    size_t skip;           /* of content and padding */
} states[CONNECTIONS_MAX]; /* by descriptor */

static uint8_t answer[512];
static size_t answer_length;

static void answer_make(void)
{
    char body[101];
    memset(body, 'x', 100);
    body[100] = 0;
    uint8_t *content = answer + HEADER;
    size_t length = (size_t)strlen(strcpy((char *)content, "Content-Type: text/html\r\n\r\n"));
    memcpy(content + length, body, 100);
    length += 100;
    memcpy(answer, (uint8_t[HEADER]){1, STDOUT, 0, 1, 0, (uint8_t)length, 0, 0}, HEADER);
    memcpy(content + length, (uint8_t[2 * HEADER]){1, END, 0, 1, 0, HEADER}, 2 * HEADER);
    answer_length = HEADER + length + 2 * HEADER;
}

/* True: the request is complete. */
static bool take(int fd, const uint8_t *bytes, size_t length)
{
    bool over = false;
    while (length) {
        size_t some = states[fd].skip < length ? states[fd].skip : length;
        states[fd].skip -= some;
        bytes += some;
        length -= some;
        while (length && !states[fd].skip && states[fd].have < HEADER) {
            states[fd].header[states[fd].have++] = *bytes++;
            length--;
        }
        if (states[fd].have == HEADER) {
            const uint8_t *header = states[fd].header;
            size_t content = (size_t)(header[4] << 8 | header[5]);
            states[fd].skip = content + header[6];
            states[fd].have = 0;
            over |= header[TYPE] == STDIN && !content;
        }
    }
    return over;
}

static void serve(int fd)
{
    static uint8_t bytes[65536];
    ssize_t got = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    bool over = got > 0 && take(fd, bytes, (size_t)got);
    if (got <= 0 || (over && send(fd, answer, answer_length, MSG_NOSIGNAL) < 0)) {
        memset(&states[fd], 0, sizeof states[fd]);
        close(fd);
    }
}

int main(int argc, char **argv)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poll = epoll_create1(0),
        one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(argc > 1 ? argv[1] : "0")),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 ||
        listen(listener, 1024) < 0)
        return 1;
    answer_make();
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[EVENTS];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int count = epoll_wait(poll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd != listener) {
                serve(events[i].data.fd);
                continue;
            }
            int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (fd < 0 || fd >= CONNECTIONS_MAX) {
                close(fd);
                continue;
            }
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            event = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
            epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
        }
    }
}
