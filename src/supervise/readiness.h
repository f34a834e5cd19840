/* sd_notify(3) for one instance: a datagram socket whose path the program finds in NOTIFY_SOCKET.
 * Messages are lines of NAME=value; READY=1, STOPPING=1, STATUS=text, MAINPID=pid are understood,
 * the others passed over. Only the instance's user may write to the socket; the folder that it lies
 * in must be one in which that user cannot make files. */
#pragma once

#include <sys/types.h>

#include "event/loop.h"

enum {
    READINESS_STATUS_BYTES = 128,
    READINESS_MESSAGE_BYTES_MAX = 4096,
    READINESS_MESSAGES_MAX = 64, /* taken at once; a socket's queue has net.unix.max_dgram_qlen */
};

struct readiness_message {
    int ready;
    int stopping;
    pid_t main_pid;     /* 0: not said */
    const char *status; /* NULL: not said; valid during the call */
};

typedef void readiness_call(void *owner, const struct readiness_message *message);

struct readiness;

/* 0 or -errno (-ENAMETOOLONG: the path does not fit a Unix address). */
int readiness_open(struct loop *loop, const char *path, uid_t uid, gid_t gid, readiness_call *call,
                   void *owner, struct readiness **ret_readiness);
/* What was said and not heard yet: before something is concluded from the sender's end. The call
 * must not close it. Accepts NULL. */
void readiness_take_all(struct readiness *readiness);
void readiness_close(struct readiness *readiness);

/* Pure: what a datagram says. `text` is changed (line ends become 0). */
void readiness_parse(char *text, size_t length, struct readiness_message *ret_message);
