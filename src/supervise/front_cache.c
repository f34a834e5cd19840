/* The files of caches: opened here, since the gateway may open none. What is in them is the
 * gateway's matter, their size too: that may take a while, and the supervisor waits for no disk. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/scoped.h"
#include "proc/message.h"
#include "supervise/front_private.h"

/* A descriptor, or -errno. */
static int file_open(const struct topology *topology, const struct cache_setting *cache)
{
    char path[PATH_MAX];
    struct stat status;
    int length =
        snprintf(path, sizeof path, "%s/%s-%s.cache", cache->disk, topology->name, cache->name);
    if (length < 0 || (size_t)length >= sizeof path)
        return -ENAMETOOLONG;
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
        return fd;
    fd_drop(&fd);
    return -EINVAL;
}

int front_caches_open(struct front_generation *generation, const struct topology *topology)
{
    size_t count = topology->cache_count;
    if (!count)
        return 0;
    generation->caches = calloc(count, sizeof *generation->caches);
    if (!generation->caches)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        const struct cache_setting *cache = &topology->caches[i];
        int fd = cache->disk ? file_open(topology, cache) : -1;
        if (cache->disk && fd < 0)
            log_warn("cache-disk-failed",
                     "cache=%s folder=%s what=open error=\"%s\" instead=\"memory alone\"",
                     cache->name, cache->disk, strerror(-fd));
        generation->caches[generation->cache_count++] = fd < 0 ? -1 : fd;
    }
    return 0;
}

/* ---- purging --------------------------------------------------------------------------------- */

int front_purge(struct front *front, const char *cache, const char *what, uint64_t *ret_ticket)
{
    struct message message;
    if (!front || !front->pid || front->current.stage != STAGE_COMMITTED)
        return -ENOENT;
    int error = message_init(&message, MESSAGE_PURGE, cache);
    if (error)
        return error;
    message.bytes = what;
    message.length = strlen(what);
    error = message_send(front->socket, PARTY_SUPERVISOR, &message);
    if (!error)
        *ret_ticket = ++front->purges;
    return error;
}

bool front_purged(const struct front *front, uint64_t ticket, uint64_t *ret_count)
{
    *ret_count = front && front->purges_done == ticket ? front->purged : 0;
    return !front || front->purges_done >= ticket;
}

void front_purge_heard(struct front *front, uint64_t count)
{
    front->purges_done++;
    front->purged = count;
    supervisor_note_change(front->supervisor, NULL);
}

void front_purges_lost(struct front *front)
{
    front->purges_done = front->purges;
    front->purged = 0;
    supervisor_note_change(front->supervisor, NULL);
}
