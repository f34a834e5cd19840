#include "supervise/last_good.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "supervise/supervisor.h"

static bool unit_is_good(const struct unit *unit)
{
    const struct rollout *rollout = &unit->rolling.rollout;
    if (rollout_active(rollout) || unit->rolling.leads == PROGRAM_BEFORE ||
        rollout->outcome == ROLLOUT_STOPPED)
        return false;
    for (uint32_t i = 0; i < unit->instance_count; i++) {
        const struct instance *instance = unit->instances[i];
        if (instance && (instance_hopeless(instance) || !instance->healthy))
            return false;
    }
    return true;
}

static bool all_is_good(const struct supervisor *supervisor)
{
    if (supervisor->ending || !supervisor_settled(supervisor))
        return false;
    for (size_t i = 0; i < supervisor->topology->service_count; i++)
        if (!unit_is_good(&supervisor->units[i]))
            return false;
    return true;
}

static int file_copy(int from, int to)
{
    struct stat stat;
    off_t at = 0;
    if (fstat(from, &stat) < 0)
        return -errno;
    while (at < stat.st_size) {
        ssize_t sent = sendfile(to, from, &at, (size_t)(stat.st_size - at));
        if (sent <= 0)
            return sent < 0 ? -errno : -EIO;
    }
    return fsync(to) < 0 ? -errno : 0;
}

/* Beside the one before, and then in its place. */
static int file_write(const char *path, int bundle_fd)
{
    char beside[STATE_PATH_BYTES_MAX + 16];
    if (snprintf(beside, sizeof beside, "%s.new", path) >= (int)sizeof beside)
        return -ENAMETOOLONG;
    scoped_fd int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int error = file_copy(bundle_fd, fd);
    if (!error && rename(beside, path) < 0)
        error = -errno;
    if (error)
        unlink(beside);
    return error;
}

void last_good_look(struct supervisor *supervisor)
{
    const char *path = supervisor->options.last_good;
    if (!path || supervisor->bundle_fd < 0 || supervisor->good == supervisor->generation ||
        !all_is_good(supervisor))
        return;
    supervisor->good = supervisor->generation; /* tried once, whatever comes of it */
    int error = file_write(path, supervisor->bundle_fd);
    if (error)
        log_warn("last-good-not-kept", "path=%s error=\"%s\"", path, strerror(-error));
    else
        log_info("last-good", "generation=%u", supervisor->generation);
}
