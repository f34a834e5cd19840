#include "control/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/scoped.h"

static int socket_connect(const char *state_directory, int flags)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (snprintf(address.sun_path, sizeof address.sun_path, "%s/control", state_directory) >=
        (int)sizeof address.sun_path)
        return -ENAMETOOLONG;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

int control_connect(const char *state_directory)
{
    return socket_connect(state_directory, 0);
}

int control_connect_at_once(const char *state_directory)
{
    return socket_connect(state_directory, SOCK_NONBLOCK);
}

static int request_send(int fd, json_t *request)
{
    scoped_memory char *text = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    if (!text)
        return -ENOMEM;
    size_t length = strlen(text);
    text[length] = '\n'; /* in place of the closing 0 */
    for (size_t sent = 0; sent < length + 1;) {
        ssize_t count = send(fd, text + sent, length + 1 - sent, MSG_NOSIGNAL);
        if (count < 0)
            return -errno;
        sent += (size_t)count;
    }
    return 0;
}

json_t *control_ask(int fd, json_t *request, control_progress *progress, void *owner, char *why,
                    size_t why_size)
{
    int error = request_send(fd, request);
    FILE *in = error ? NULL : fdopen(fd, "r");
    if (!in) {
        snprintf(why, why_size, "cannot ask the cluster: %s", strerror(error ? -error : errno));
        close(fd);
        return NULL;
    }
    char *line = NULL;
    size_t room = 0;
    json_t *answer = NULL;
    while (!answer && getline(&line, &room, in) > 0) {
        json_error_t where;
        json_t *object = json_loads(line, 0, &where);
        const char *text = json_string_value(json_object_get(object, "progress"));
        if (text && progress)
            progress(owner, text);
        if (text)
            json_decref(object);
        else
            answer = object;
    }
    if (!answer)
        snprintf(why, why_size, "the cluster went away without an answer");
    free(line);
    fclose(in);
    return answer;
}

int control_follow(int fd, json_t *request, control_take *take, void *owner)
{
    int error = request_send(fd, request);
    FILE *in = error ? NULL : fdopen(fd, "r");
    if (!in) {
        close(fd);
        return error ? error : -ENOMEM;
    }
    char *line = NULL;
    size_t room = 0;
    bool more = true;
    while (more && getline(&line, &room, in) > 0) {
        json_t *object = json_loads(line, 0, NULL);
        more = object && take(owner, object);
        json_decref(object);
    }
    free(line);
    fclose(in);
    return 0;
}
