#include "proc/message.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/scoped.h"

enum { MESSAGE_DESCRIPTORS_MAX = 2 }; /* what fits below; one more than any message may have */

struct head { /* native byte order: both ends are on this machine */
    uint16_t kind;
    uint16_t name_bytes;
    uint32_t reserved;
    uint64_t number;
};
_Static_assert(sizeof(struct head) == 16, "the head goes over the wire to other versions");

struct rule {
    const char *name;
    unsigned senders;
    unsigned receivers;
    bool named;
    bool descriptor;
    size_t bytes_max;
};

static const struct rule rules[MESSAGE_KINDS] = {
    [MESSAGE_HELLO] = {"hello", PARTY_SUPERVISOR, PARTY_KEEPER, false, false, 0},
    [MESSAGE_FOUND] = {"found", PARTY_KEEPER, PARTY_SUPERVISOR, true, true, 0},
    [MESSAGE_FOUND_ALL] = {"found-all", PARTY_KEEPER, PARTY_SUPERVISOR, false, false, 0},
    [MESSAGE_PUT] = {"put", PARTY_SUPERVISOR, PARTY_KEEPER, true, true, 0},
    [MESSAGE_DROP] = {"drop", PARTY_SUPERVISOR, PARTY_KEEPER, true, false, 0},
    [MESSAGE_REFUSED] = {"refused", PARTY_KEEPER, PARTY_SUPERVISOR, true, false, 0},
    [MESSAGE_REPLACED] = {"replaced", PARTY_KEEPER, PARTY_SUPERVISOR, false, false, 0},
    [MESSAGE_END] = {"end", PARTY_SUPERVISOR, PARTY_KEEPER, false, false, 0},
    [MESSAGE_CHUNK] = {"chunk", PARTY_SUPERVISOR | PARTY_KEEPER | PARTY_GATEWAY, PARTY_LOGGER, true,
                       false, MESSAGE_BYTES_MAX},
    [MESSAGE_LOST] = {"lost", PARTY_SUPERVISOR | PARTY_KEEPER | PARTY_GATEWAY, PARTY_LOGGER, true,
                      false, 0},
    [MESSAGE_BOARD] = {"board", PARTY_SUPERVISOR, PARTY_GATEWAY, false, true, 0},
    [MESSAGE_BELL] = {"bell", PARTY_SUPERVISOR, PARTY_GATEWAY, false, true, 0},
    [MESSAGE_TALLY] = {"tally", PARTY_SUPERVISOR, PARTY_GATEWAY, false, true, 0},
    [MESSAGE_TICKETS] = {"tickets", PARTY_SUPERVISOR, PARTY_GATEWAY, false, true, 0},
    [MESSAGE_JOURNAL] = {"journal", PARTY_SUPERVISOR, PARTY_GATEWAY, false, true, 0},
    [MESSAGE_LISTENER] = {"listener", PARTY_SUPERVISOR, PARTY_GATEWAY, true, true, 0},
    [MESSAGE_UNLISTEN] = {"unlisten", PARTY_SUPERVISOR, PARTY_GATEWAY, true, false, 0},
    [MESSAGE_GENERATION] = {"generation", PARTY_SUPERVISOR, PARTY_GATEWAY, false, true, 0},
    [MESSAGE_COMMIT] = {"commit", PARTY_SUPERVISOR, PARTY_GATEWAY, false, false, 0},
    [MESSAGE_ABANDON] = {"abandon", PARTY_SUPERVISOR, PARTY_GATEWAY, false, false, 0},
    [MESSAGE_DRAIN] = {"drain", PARTY_SUPERVISOR, PARTY_GATEWAY, false, false, 0},
    [MESSAGE_PREPARED] = {"prepared", PARTY_GATEWAY, PARTY_SUPERVISOR, false, false, 0},
    [MESSAGE_REJECTED] = {"rejected", PARTY_GATEWAY, PARTY_SUPERVISOR, false, false, 4096},
    [MESSAGE_COMMITTED] = {"committed", PARTY_GATEWAY, PARTY_SUPERVISOR, false, false, 0},
    [MESSAGE_WELL] = {"well", PARTY_GATEWAY, PARTY_SUPERVISOR, false, false, 0},
    [MESSAGE_ILL] = {"ill", PARTY_GATEWAY, PARTY_SUPERVISOR, false, false, 512},
    [MESSAGE_DIRECTORY] = {"directory", PARTY_SUPERVISOR, PARTY_GATEWAY, false, true, 0},
};

const char *message_name(enum message_kind kind)
{
    return kind > 0 && kind < MESSAGE_KINDS ? rules[kind].name : "unknown";
}

int message_init(struct message *message, enum message_kind kind, const char *name)
{
    size_t length = strlen(name);
    if (length >= sizeof message->name)
        return -ENAMETOOLONG;
    message->kind = kind;
    memcpy(message->name, name, length + 1);
    message->number = 0;
    message->bytes = NULL;
    message->length = 0;
    message->fd = -1;
    return 0;
}

union control { /* the union aligns the bytes for a cmsghdr */
    struct cmsghdr head;
    char bytes[CMSG_SPACE(sizeof(int) * MESSAGE_DESCRIPTORS_MAX)];
};

static void control_put(struct msghdr *packet, union control *control, int fd)
{
    memset(control, 0, sizeof *control);
    packet->msg_control = control->bytes;
    packet->msg_controllen = CMSG_SPACE(sizeof fd);
    struct cmsghdr *part = CMSG_FIRSTHDR(packet);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(part), &fd, sizeof fd);
}

int message_send(int socket, enum message_party sender, const struct message *message)
{
    assert(message->kind > 0 && message->kind < MESSAGE_KINDS);
    const struct rule *rule = &rules[message->kind];
    size_t name_bytes = strlen(message->name);
    assert(rule->senders & sender);
    assert(rule->named == (name_bytes > 0));
    assert(rule->descriptor == (message->fd >= 0));
    assert(message->length <= rule->bytes_max);

    struct head head = {.kind = (uint16_t)message->kind,
                        .name_bytes = (uint16_t)name_bytes,
                        .number = message->number};
    struct iovec parts[] = {
        {&head, sizeof head},
        {(void *)(uintptr_t)message->name, name_bytes},
        {(void *)(uintptr_t)message->bytes, message->length},
    };
    struct msghdr packet = {.msg_iov = parts, .msg_iovlen = 3};
    union control control;
    if (message->fd >= 0)
        control_put(&packet, &control, message->fd);
    ssize_t sent;
    do
        sent = sendmsg(socket, &packet, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return 0;
    if (errno == ENOBUFS) /* no kernel memory just now: the same to us as a full queue */
        return -EAGAIN;
    return errno == ECONNRESET || errno == ENOTCONN ? -EPIPE : -errno;
}

/* Collects what came along; the number of descriptors, of which *ret_fd is the first. The others
 * are closed: no message has more than one. */
static int control_take(struct msghdr *packet, int *ret_fd)
{
    int count = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(packet); part; part = CMSG_NXTHDR(packet, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t here = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < here; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            if (count++ == 0)
                *ret_fd = fd;
            else
                close(fd);
        }
    }
    return count;
}

/* Does the packet follow its row of the table? */
static bool packet_follows(const struct head *head, size_t body_bytes, unsigned senders,
                           unsigned receiver, const char *body)
{
    if (head->kind == 0 || head->kind >= MESSAGE_KINDS)
        return false;
    const struct rule *rule = &rules[head->kind];
    if (!(rule->senders & senders) || !(rule->receivers & receiver))
        return false;
    if (rule->named != (head->name_bytes > 0) || head->name_bytes >= MESSAGE_NAME_BYTES)
        return false;
    if (head->name_bytes > body_bytes || memchr(body, 0, head->name_bytes))
        return false;
    return body_bytes - head->name_bytes <= rule->bytes_max;
}

int message_receive(int socket, unsigned senders, enum message_party receiver, char *packet_bytes,
                    size_t size, struct message *ret_message)
{
    struct iovec part = {packet_bytes, size};
    union control control;
    struct msghdr packet = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    ssize_t length;
    do
        length = recvmsg(socket, &packet, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (length < 0 && (errno == EINTR || errno == ECONNRESET));
    /* A reset (the other end closed with answers unread) is told once, and before what it had still
     * sent: that is read first. */
    if (length < 0)
        return -errno;

    scoped_fd int fd = -1;
    int descriptors = control_take(&packet, &fd);
    if (length == 0) /* the end; also an empty packet, which nobody sends */
        return -EPIPE;
    struct head head;
    if ((size_t)length < sizeof head || packet.msg_flags & MSG_TRUNC)
        return -EPROTO;
    memcpy(&head, packet_bytes, sizeof head);
    const char *body = packet_bytes + sizeof head;
    size_t body_bytes = (size_t)length - sizeof head;
    if (!packet_follows(&head, body_bytes, senders, receiver, body))
        return -EPROTO;
    bool lost_here = descriptors == 0 && packet.msg_flags & MSG_CTRUNC;
    if (!lost_here && descriptors != (rules[head.kind].descriptor ? 1 : 0))
        return -EPROTO;

    ret_message->kind = head.kind;
    memcpy(ret_message->name, body, head.name_bytes);
    ret_message->name[head.name_bytes] = 0;
    ret_message->number = head.number;
    ret_message->bytes = body + head.name_bytes;
    ret_message->length = body_bytes - head.name_bytes;
    ret_message->fd = fd_take(&fd);
    return 0;
}
