/* Answers each datagram on UDP port 4001 (PORT), IPv4 and IPv6, with "WHO PID" and what it got. */
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void)
{
    const char *who = getenv("WHO"), *port = getenv("PORT");
    struct sockaddr_in6 address = {.sin6_family = AF_INET6,
                                   .sin6_port = htons((uint16_t)(port ? atoi(port) : 4001))};
    int server = socket(AF_INET6, SOCK_DGRAM, 0), off = 0;
    setsockopt(server, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(server, (struct sockaddr *)&address, sizeof address) != 0) {
        perror("bind");
        return 1;
    }
    for (;;) {
        char in[1024], out[1200];
        struct sockaddr_in6 client;
        socklen_t length = sizeof client;
        ssize_t got = recvfrom(server, in, sizeof in, 0, (struct sockaddr *)&client, &length);
        if (got < 0)
            continue;
        int head = snprintf(out, sizeof out, "%s %d ", who ? who : "-", getpid());
        memcpy(out + head, in, (size_t)got);
        sendto(server, out, (size_t)(head + got), 0, (struct sockaddr *)&client, length);
    }
}
