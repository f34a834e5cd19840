#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/scoped.h"
#include "supervise/front_private.h"

int front_directories_open(struct front_generation *generation, const struct topology *topology,
                           char *why, size_t why_size)
{
    size_t count = topology->directory_count;
    int error = front_caches_open(generation, topology);
    if (!count || error)
        return error;
    generation->directories = calloc(count, sizeof *generation->directories);
    if (!generation->directories)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        int fd = open(topology->directories[i], O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
            error = -errno;
            snprintf(why, why_size, "files %s: %s", topology->directories[i], strerror(-error));
            return error;
        }
        generation->directories[generation->directory_count++] = fd;
    }
    return 0;
}

void front_generation_drop(struct front_generation *generation)
{
    for (uint32_t i = 0; i < generation->directory_count; i++)
        fd_drop(&generation->directories[i]);
    free(generation->directories);
    for (uint32_t i = 0; i < generation->cache_count; i++)
        fd_drop(&generation->caches[i]);
    free(generation->caches);
    fd_drop(&generation->bundle_fd);
    *generation = (struct front_generation){.bundle_fd = -1};
}
