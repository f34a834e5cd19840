/* The load of the UDP rows: CLIENTS sockets, each with WINDOW datagrams of BYTES on their way to the
 * port and back, for SECONDS. Prints how many came back, and how many were given up as lost.
 * Usage: datagrams PORT CLIENTS WINDOW BYTES SECONDS */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS_MAX = 256, BYTES_MAX = 1472, LOST_AFTER_MS = 100 };

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc != 6)
        return 2;
    static char bytes[BYTES_MAX];
    struct pollfd polls[CLIENTS_MAX];
    int missing[CLIENTS_MAX];
    double heard[CLIENTS_MAX];
    int clients = atoi(argv[2]), window = atoi(argv[3]), length = atoi(argv[4]);
    double until = seconds_now() + atof(argv[5]);
    unsigned long back = 0, lost = 0;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((in_port_t)atoi(argv[1])),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (clients > CLIENTS_MAX || length > BYTES_MAX)
        return 2;
    for (int i = 0; i < clients; i++) {
        polls[i] = (struct pollfd){.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0),
                                   .events = POLLIN};
        if (connect(polls[i].fd, (struct sockaddr *)&to, sizeof to) < 0)
            return 1;
        missing[i] = window;
        heard[i] = seconds_now();
    }
    while (seconds_now() < until) {
        double now = seconds_now();
        for (int i = 0; i < clients; i++) {
            if (missing[i] == 0 && now - heard[i] > LOST_AFTER_MS / 1000.0) {
                lost += (unsigned long)window;
                missing[i] = window;
                heard[i] = now;
            }
            for (; missing[i] > 0; missing[i]--)
                if (send(polls[i].fd, bytes, (size_t)length, 0) < 0)
                    break;
        }
        poll(polls, (nfds_t)clients, 10);
        for (int i = 0; i < clients; i++) {
            if (!(polls[i].revents & POLLIN))
                continue;
            while (recv(polls[i].fd, bytes, sizeof bytes, 0) >= 0) {
                missing[i]++;
                back++;
            }
            heard[i] = seconds_now();
        }
    }
    printf("%lu %lu\n", back, lost);
    return 0;
}
