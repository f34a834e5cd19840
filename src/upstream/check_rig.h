/* For tests of checks: servers on loopback that turn in the same loop as the checks, and a clock
 * that the test moves. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "event/loop.h"

struct tls_server;

struct rig_server {
    struct loop *loop;
    int fd;
    struct sockaddr_in address;
    bool datagram;
    struct watch watch;
    struct tls_server *tls; /* NULL: plain */
    const char *answer;     /* once something was read; NULL: none */
    bool closes;            /* after the answer, or at once when there is none */
    bool endless;           /* the answer again and again */
    bool silent;            /* answers nothing, reads nothing */
    unsigned accepted;
    unsigned open;
    char asked[1024]; /* the last question, as far as it came */
    LIST_HEAD(, rig_connection) connections;
};

void rig_server_start(struct rig_server *server, struct loop *loop, bool datagram);
void rig_server_stop(struct rig_server *server);
/* Closes the listening socket alone, so that connects are refused. */
void rig_server_deafen(struct rig_server *server);

uint64_t rig_now(void);
/* Moves the clock on, then lets the loop turn until nothing more happens. */
void rig_pass(struct loop *loop, uint64_t ms);
