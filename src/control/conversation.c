#include "control/conversation.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/scoped.h"
#include "control/client.h"
#include "control/server.h"

enum { READ_BYTES = 64 * 1024, READS_PER_TURN = 16 };

struct conversation {
    struct loop *loop;
    int fd; /* owned */
    struct watch watch;
    struct buffer text;
    size_t searched; /* bytes of the text that hold no end of a line */
    conversation_heard *heard;
    void *owner;
};

void conversation_end(struct conversation *conversation)
{
    if (!conversation)
        return;
    watch_stop(conversation->loop, &conversation->watch);
    fd_drop(&conversation->fd);
    buffer_done(&conversation->text);
    free(conversation);
}

/* The last word, or none. */
static void over(struct conversation *conversation, const json_t *object)
{
    conversation_heard *heard = conversation->heard;
    void *owner = conversation->owner;
    conversation_end(conversation);
    heard(owner, object);
}

/* False: it is over. */
static bool line_take(struct conversation *conversation, size_t length)
{
    json_t *object = json_loadb(conversation->text.data, length, 0, NULL);
    buffer_consume(&conversation->text, length + 1);
    conversation->searched = 0;
    bool more = object && json_object_get(object, "progress");
    if (more)
        conversation->heard(conversation->owner, object);
    else
        over(conversation, object);
    json_decref(object);
    return more;
}

static bool lines_take(struct conversation *conversation)
{
    struct buffer *text = &conversation->text;
    while (text->length > conversation->searched) {
        const char *end = memchr(text->data + conversation->searched, '\n',
                                 text->length - conversation->searched);
        if (!end) {
            conversation->searched = text->length;
            return true;
        }
        if (!line_take(conversation, (size_t)(end - text->data)))
            return false;
    }
    return true;
}

static void ready(struct watch *watch, unsigned events)
{
    struct conversation *conversation = watch->owner;
    static char bytes[READ_BYTES];
    (void)events;
    for (int i = 0; i < READS_PER_TURN; i++) {
        ssize_t count = read(conversation->fd, bytes, sizeof bytes);
        if (count < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (count > 0)
            buffer_append(&conversation->text, bytes, (size_t)count);
        if (count <= 0 || conversation->text.overflowed) {
            over(conversation, NULL);
            return;
        }
        if (!lines_take(conversation))
            return;
    }
}

/* A request fits into the socket, so it is sent at once or not at all. */
static int request_send(int fd, json_t *request)
{
    scoped_memory char *text = json_dumps(request, JSON_COMPACT);
    if (!text)
        return -ENOMEM;
    size_t length = strlen(text);
    text[length] = '\n'; /* in place of the closing 0 */
    ssize_t sent = send(fd, text, length + 1, MSG_NOSIGNAL);
    return sent < 0 ? -errno : (size_t)sent == length + 1 ? 0 : -EMSGSIZE;
}

int conversation_begin(struct loop *loop, const char *state_directory, json_t *request,
                       conversation_heard *heard, void *owner,
                       struct conversation **ret_conversation)
{
    scoped_fd int fd = control_connect_at_once(state_directory);
    int error = fd < 0 ? fd : request_send(fd, request);
    json_decref(request);
    struct conversation *conversation = error ? NULL : calloc(1, sizeof *conversation);
    if (!conversation)
        return error ? error : -ENOMEM;
    *conversation = (struct conversation){.loop = loop, .fd = fd, .heard = heard, .owner = owner};
    buffer_init(&conversation->text, ANSWER_BYTES_MAX);
    error = watch_start(loop, &conversation->watch, fd, WATCH_READ, ready, conversation);
    fd_take(&fd);
    if (error) {
        conversation_end(conversation);
        return error;
    }
    *ret_conversation = conversation;
    return 0;
}
