#include "proc/message.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "base/scoped.h"
#include "kernel/packet.h"

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
    [MESSAGE_IS] = {"is", PARTY_GATEWAY, PARTY_SUPERVISOR, false, false, 64},
    [MESSAGE_IS_UNKNOWN] = {"is-unknown", PARTY_GATEWAY, PARTY_SUPERVISOR, false, false, 512},
    [MESSAGE_DIRECTORY] = {"directory", PARTY_SUPERVISOR, PARTY_GATEWAY, false, true, 0},
    [MESSAGE_ELDER] = {"elder", PARTY_SUPERVISOR, PARTY_GATEWAY, false, true, 0},
    [MESSAGE_HEIR] = {"heir", PARTY_SUPERVISOR, PARTY_GATEWAY, false, true, 0},
    [MESSAGE_PURGE] = {"purge", PARTY_SUPERVISOR, PARTY_GATEWAY, true, false, 8192},
    [MESSAGE_PURGED] = {"purged", PARTY_GATEWAY, PARTY_SUPERVISOR, false, false, 0},
    [MESSAGE_CACHE] = {"cache", PARTY_SUPERVISOR, PARTY_GATEWAY, false, true, 0},
    [MESSAGE_BREAKER] = {"breaker", PARTY_GATEWAY, PARTY_SUPERVISOR, true, false, 128},
    [MESSAGE_BANS] = {"bans", PARTY_SUPERVISOR, PARTY_GATEWAY, false, true, 0},
    [MESSAGE_BANNED] = {"banned", PARTY_GATEWAY, PARTY_SUPERVISOR, true, false, 256},
    [MESSAGE_EVENT] = {"event", PARTY_GATEWAY, PARTY_SUPERVISOR, true, false, 1536},
    [MESSAGE_WAKE] = {"wake", PARTY_SUPERVISOR, PARTY_GATEWAY, false, true, 0},
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
    int error =
        packet_send(socket, parts, sizeof parts / sizeof parts[0], MSG_DONTWAIT, message->fd);
    if (error == -ENOBUFS) /* no kernel memory just now: the same to us as a full queue */
        return -EAGAIN;
    return error == -ECONNRESET || error == -ENOTCONN ? -EPIPE : error;
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
    struct packet_descriptors descriptors;
    ssize_t length;
    do
        length = packet_receive(socket, packet_bytes, size, MSG_DONTWAIT, &descriptors);
    while (length == -ECONNRESET);
    /* A reset (the other end closed with answers unread) is told once, and before what it had still
     * sent: that is read first. */
    if (length < 0)
        return length == -EMSGSIZE ? -EPROTO : (int)length;

    scoped_fd int fd = descriptors.fd;
    if (length == 0) /* the end; also an empty packet, which nobody sends */
        return -EPIPE;
    struct head head;
    if ((size_t)length < sizeof head)
        return -EPROTO;
    memcpy(&head, packet_bytes, sizeof head);
    const char *body = packet_bytes + sizeof head;
    size_t body_bytes = (size_t)length - sizeof head;
    if (!packet_follows(&head, body_bytes, senders, receiver, body))
        return -EPROTO;
    unsigned wanted = rules[head.kind].descriptor ? 1 : 0;
    if (!descriptors.lost && descriptors.count != wanted)
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
