/* What front_test.c executes as enginx: keeper and logger, and a gateway that does nothing but
 * speak the messages. It accepts every bundle that does not begin with "bad", tells everybody who
 * connects to its listeners "PID GENERATION LISTENER", and finds every instance well. With
 * "listen PORT" it is the program of an instance. */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/scoped.h"
#include "proc/keeper.h"
#include "proc/logger.h"
#include "proc/message.h"
#include "proc/role.h"
#include "upstream/board.h"

enum { LISTENERS_MAX = 16, LOOK_MS = 5 };

static struct {
    struct board *board;
    uint64_t told[4096]; /* by slot: the epoch of which `well` was said */
    uint64_t generation;
    struct listening {
        char name[MESSAGE_NAME_BYTES];
        int fd;
    } listeners[LISTENERS_MAX];
    size_t listener_count;
} fake;

static void say(enum message_kind kind, uint64_t number, const char *why)
{
    struct message message;
    message_init(&message, kind, "");
    message.number = number;
    message.bytes = why;
    message.length = strlen(why);
    if (message_send(ROLE_FD, PARTY_GATEWAY, &message))
        exit(1);
}

static void generation_take(const struct message *message)
{
    char text[4] = "";
    bool bad = pread(message->fd, text, 3, 0) == 3 && strcmp(text, "bad") == 0;
    if (bad)
        say(MESSAGE_REJECTED, message->number, "it is bad");
    else
        say(MESSAGE_PREPARED, message->number, "");
}

static void unlisten(const char *name)
{
    for (size_t i = 0; i < fake.listener_count; i++)
        if (strcmp(fake.listeners[i].name, name) == 0) {
            close(fake.listeners[i].fd);
            fake.listeners[i--] = fake.listeners[--fake.listener_count];
        }
}

static void message_take(struct message *message)
{
    scoped_fd int fd = message->fd;
    switch ((int)message->kind) {
    case MESSAGE_BOARD:
        if (board_open(fd, false, &fake.board))
            exit(2);
        break;
    case MESSAGE_LISTENER: {
        struct listening *listening = &fake.listeners[fake.listener_count++];
        memcpy(listening->name, message->name, sizeof listening->name);
        listening->fd = fd_take(&fd);
        break;
    }
    case MESSAGE_UNLISTEN:
        unlisten(message->name);
        break;
    case MESSAGE_GENERATION:
        generation_take(message);
        break;
    case MESSAGE_COMMIT:
        fake.generation = message->number;
        say(MESSAGE_COMMITTED, message->number, "");
        break;
    default:
        break;
    }
}

static void health_look(void)
{
    for (uint32_t slot = 0; fake.board && slot < board_slots_max(fake.board) && slot < 4096;
         slot++) {
        const struct board_instance *instance = board_instance(fake.board, slot);
        if (instance->state != BOARD_STARTING || fake.told[slot] == instance->epoch)
            continue;
        fake.told[slot] = instance->epoch;
        say(MESSAGE_WELL, (uint64_t)slot << 32 | instance->epoch, "");
    }
}

static void client_answer(const struct listening *listening)
{
    scoped_fd int client = accept(listening->fd, NULL, NULL);
    if (client >= 0)
        dprintf(client, "%d %llu %s\n", getpid(), (unsigned long long)fake.generation,
                listening->name);
}

static int fake_main(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    static char packet[MESSAGE_PACKET_BYTES_MAX];
    for (;;) {
        struct pollfd polled[LISTENERS_MAX + 1] = {{.fd = ROLE_FD, .events = POLLIN}};
        size_t count = fake.generation ? fake.listener_count : 0; /* serves what is committed */
        for (size_t i = 0; i < count; i++)
            polled[i + 1] = (struct pollfd){.fd = fake.listeners[i].fd, .events = POLLIN};
        poll(polled, count + 1, LOOK_MS);
        for (size_t i = 0; i < count; i++)
            if (polled[i + 1].revents)
                client_answer(&fake.listeners[i]);
        struct message message;
        int error = message_receive(ROLE_FD, PARTY_SUPERVISOR, PARTY_GATEWAY, packet, sizeof packet,
                                    &message);
        if (!error)
            message_take(&message);
        else if (error != -EAGAIN)
            return EXIT_FAILURE;
        health_look();
    }
}

static const struct role roles[] = {
    {"keeper", "enginx-keeper", keeper_main},
    {"logger", "enginx-logger", logger_main},
    {"gateway", "enginx-gateway", fake_main},
};

static int program_main(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    scoped_fd int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 8) < 0)
        return EXIT_FAILURE;
    for (;;)
        close(accept(fd, NULL, NULL));
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "listen") == 0)
        return program_main((uint16_t)atoi(argv[2]));
    int code = role_main(argc, argv, roles, sizeof roles / sizeof *roles);
    return code < 0 ? EXIT_FAILURE : code;
}
