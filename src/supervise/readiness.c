#include "supervise/readiness.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

struct readiness {
    struct loop *loop;
    struct watch watch;
    readiness_call *call;
    void *owner;
    char *path;
};

/* NULL when `line` is not NAME=value of that name. */
static const char *value_of(const char *line, const char *name)
{
    size_t length = strlen(name);
    return strncmp(line, name, length) == 0 && line[length] == '=' ? line + length + 1 : NULL;
}

static void line_parse(const char *line, struct readiness_message *message)
{
    const char *value;
    if ((value = value_of(line, "READY")))
        message->ready = strcmp(value, "1") == 0;
    else if ((value = value_of(line, "STOPPING")))
        message->stopping = strcmp(value, "1") == 0;
    else if ((value = value_of(line, "STATUS")))
        message->status = value;
    else if ((value = value_of(line, "MAINPID"))) {
        char *end;
        long pid = strtol(value, &end, 10);
        if (*value && !*end && pid > 1 && pid <= 4194304) /* PID_MAX_LIMIT */
            message->main_pid = (pid_t)pid;
    }
}

void readiness_parse(char *text, size_t length, struct readiness_message *ret_message)
{
    *ret_message = (struct readiness_message){0};
    char *end = text + length;
    while (text < end) {
        char *line_end = memchr(text, '\n', (size_t)(end - text));
        if (!line_end)
            line_end = end;
        *line_end = 0; /* text has room for one byte more than length */
        line_parse(text, ret_message);
        text = line_end + 1;
    }
}

/* One datagram; false: there is none. One that is longer than any honest message is passed over. */
static bool readiness_read(const struct readiness *readiness)
{
    char text[READINESS_MESSAGE_BYTES_MAX + 1];
    ssize_t length =
        recv(readiness->watch.fd, text, READINESS_MESSAGE_BYTES_MAX, MSG_DONTWAIT | MSG_TRUNC);
    if (length < 0)
        return false;
    if (length == 0 || length > READINESS_MESSAGE_BYTES_MAX)
        return true;
    struct readiness_message message;
    readiness_parse(text, (size_t)length, &message);
    readiness->call(readiness->owner, &message);
    return true;
}

static void readiness_ready(struct watch *watch, unsigned events)
{
    (void)events;
    readiness_read(watch->owner);
}

void readiness_take_all(struct readiness *readiness)
{
    for (int left = READINESS_MESSAGES_MAX; readiness && left > 0 && readiness_read(readiness);)
        left--;
}

static int socket_bind(const char *path, uid_t uid, gid_t gid)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    unlink(path);
    /* The mode of the socket's inode before bind is the mode of the file: no moment is open. */
    if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        (geteuid() == 0 && lchown(path, uid, gid) < 0)) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

int readiness_open(struct loop *loop, const char *path, uid_t uid, gid_t gid, readiness_call *call,
                   void *owner, struct readiness **ret_readiness)
{
    int fd = socket_bind(path, uid, gid);
    if (fd < 0)
        return fd;
    struct readiness *readiness = calloc(1, sizeof *readiness);
    char *copy = strdup(path);
    int error = -ENOMEM;
    if (readiness && copy) {
        *readiness = (struct readiness){.loop = loop, .call = call, .owner = owner, .path = copy};
        error = watch_start(loop, &readiness->watch, fd, WATCH_READ, readiness_ready, readiness);
    }
    if (error) {
        free(copy);
        free(readiness);
        close(fd);
        return error;
    }
    *ret_readiness = readiness;
    return 0;
}

void readiness_close(struct readiness *readiness)
{
    if (!readiness)
        return;
    int fd = readiness->watch.fd;
    watch_stop(readiness->loop, &readiness->watch);
    close(fd);
    unlink(readiness->path);
    free(readiness->path);
    free(readiness);
}
