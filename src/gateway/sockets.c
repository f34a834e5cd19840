#include "gateway/sockets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/scoped.h"
#include "upstream/tally.h"

struct named {
    LIST_ENTRY(named) next;
    uint32_t count;
    int fds[TALLY_THREADS_MAX]; /* -1: not given (yet) */
    char name[];
};

struct sockets {
    LIST_HEAD(, named) list;
};

struct sockets *sockets_new(void)
{
    return calloc(1, sizeof(struct sockets));
}

static struct named *named_find(const struct sockets *sockets, const char *name)
{
    struct named *named;
    LIST_FOREACH (named, &sockets->list, next) {
        if (strcmp(named->name, name) == 0)
            return named;
    }
    return NULL;
}

static struct named *named_new(struct sockets *sockets, const char *name)
{
    size_t length = strlen(name) + 1;
    struct named *named = malloc(sizeof *named + length);
    if (!named)
        return NULL;
    named->count = 0;
    memset(named->fds, -1, sizeof named->fds);
    memcpy(named->name, name, length);
    LIST_INSERT_HEAD(&sockets->list, named, next);
    return named;
}

int sockets_put(struct sockets *sockets, const char *name, uint64_t number, int fd)
{
    scoped_fd int taken = fd;
    if (number >= TALLY_THREADS_MAX)
        return -ERANGE;
    struct named *named = named_find(sockets, name);
    if (!named)
        named = named_new(sockets, name);
    if (!named)
        return -ENOMEM;
    fd_drop(&named->fds[number]);
    named->fds[number] = fd_take(&taken);
    if (named->count <= number)
        named->count = (uint32_t)number + 1;
    return 0;
}

void sockets_drop(struct sockets *sockets, const char *name)
{
    struct named *named = named_find(sockets, name);
    if (!named)
        return;
    for (uint32_t i = 0; i < named->count; i++)
        fd_drop(&named->fds[i]);
    LIST_REMOVE(named, next);
    free(named);
}

const int *sockets_find(const struct sockets *sockets, const char *name, uint32_t *ret_count)
{
    const struct named *named = named_find(sockets, name);
    *ret_count = named ? named->count : 0;
    return named ? named->fds : NULL;
}
