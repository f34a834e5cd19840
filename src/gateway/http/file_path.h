/* From a request's path to the name of a file below a folder. Pure; no allocation. The kernel
 * resolves it beneath the folder all the same (core/opener.h); what is refused here is what no
 * honest request has. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "gateway/http/head.h"

/* Room that is enough for the name of a path. */
static inline size_t file_path_room(struct slice path)
{
    return (size_t)path.length * 3 + 2;
}

/* The name in `out`, ended by 0: decoded, without slashes in front, `.` and `..` resolved, runs of
 * slashes made one; "" is the folder itself, a slash at the end stays. Its length; -EINVAL: not a
 * path, or one that climbs above its root; -ENOENT: nothing that may be named (a hidden file, but
 * for .well-known; an encoded slash or control byte). */
ssize_t file_path_make(struct slice path, char *out, size_t room);
