#include "steering/connections.h"

#include <stdbool.h>
#include <stdlib.h>

#include "kernel/process.h"
#include "kernel/sockets.h"

enum { ANY_PORT = 0 };

struct connection {
    uint64_t inode;
    uint16_t port;
    uint32_t question; /* the last in which it was counted */
};

struct connections {
    struct loop *loop;
    struct connection *list; /* sorted by inode */
    size_t count;
    size_t room;
    uint64_t turn; /* of the loop, in which it was listed */
    uint16_t port; /* that was listed */
    bool listed;
    uint32_t question;
};

struct connections *connections_new(struct loop *loop)
{
    struct connections *connections = calloc(1, sizeof *connections);
    if (connections)
        connections->loop = loop;
    return connections;
}

void connections_free(struct connections *connections)
{
    if (!connections)
        return;
    free(connections->list);
    free(connections);
}

static void connection_add(void *owner, uint16_t port, uint64_t inode)
{
    struct connections *connections = owner;
    if (connections->count == connections->room) {
        size_t room = connections->room ? connections->room * 2 : 256;
        struct connection *list = reallocarray(connections->list, room, sizeof *list);
        if (!list)
            return;
        connections->list = list;
        connections->room = room;
    }
    connections->list[connections->count++] = (struct connection){.inode = inode, .port = port};
}

static int connection_compare(const void *left, const void *right)
{
    const struct connection *one = left;
    const struct connection *other = right;
    return (one->inode > other->inode) - (one->inode < other->inode);
}

/* The first question of a turn is for one port; when there is another, more will follow. */
static void connections_list(struct connections *connections, uint16_t port)
{
    bool same_turn = connections->listed && connections->turn == loop_turns(connections->loop);
    if (same_turn && (connections->port == ANY_PORT || connections->port == port))
        return;
    connections->port = same_turn ? ANY_PORT : port;
    connections->turn = loop_turns(connections->loop);
    connections->listed = true;
    connections->count = 0;
    connections->question = 0;
    (void)sockets_established(connections->port, connection_add, connections);
    if (connections->count)
        qsort(connections->list, connections->count, sizeof *connections->list, connection_compare);
}

struct count {
    struct connections *connections;
    uint16_t port;
    uint64_t count;
};

static bool socket_count(void *owner, pid_t pid, int fd, uint64_t inode)
{
    (void)pid;
    (void)fd;
    struct count *count = owner;
    const struct connections *connections = count->connections;
    struct connection *found =
        bsearch(&(struct connection){.inode = inode}, connections->list, connections->count,
                sizeof *connections->list, connection_compare);
    if (!found || found->port != count->port || found->question == connections->question)
        return true;
    found->question = connections->question; /* another process may hold it too */
    count->count++;
    return true;
}

uint64_t connections_held(struct connections *connections, const pid_t *pids, size_t count,
                          uint16_t port)
{
    struct count counted = {.connections = connections, .port = port};
    connections_list(connections, port);
    connections->question++;
    for (size_t i = 0; i < count && connections->count; i++)
        (void)process_sockets_each(pids[i], socket_count, &counted);
    return counted.count;
}
