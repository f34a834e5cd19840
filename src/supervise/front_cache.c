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
