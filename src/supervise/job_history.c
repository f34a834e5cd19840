#include "supervise/job_history.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"
#include "topology/topology.h"

enum { VERSION = 1, PATH_BYTES_MAX = 1024 };

static const char magic[8] = "enginxj";

struct image { /* of the file */
    char magic[8];
    uint32_t version;
    uint32_t room; /* for runs */
    uint64_t ended;
    struct job_run runs[JOB_HISTORY_MAX];
};

struct job_history {
    struct image *image;
    bool mapped; /* else on the heap */
};

static bool path_of(const char *directory, const char *name, char path[PATH_BYTES_MAX])
{
    return snprintf(path, PATH_BYTES_MAX, "%s/%s", directory, name) < PATH_BYTES_MAX;
}

static bool image_fits(const struct image *image)
{
    return memcmp(image->magic, magic, sizeof magic) == 0 && image->version == VERSION &&
           image->room == JOB_HISTORY_MAX;
}

/* The magic number comes last: without it the file is none. */
static void image_begin(struct image *image)
{
    memset(image, 0, sizeof *image);
    image->version = VERSION;
    image->room = JOB_HISTORY_MAX;
    memcpy(image->magic, magic, sizeof magic);
}

/* Blocks are reserved now: a full disk shows here, not as SIGBUS at a store. */
static int image_map(const char *path, struct image **ret_image)
{
    scoped_fd int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        return -errno;
    bool whole = S_ISREG(status.st_mode) && status.st_size == sizeof **ret_image;
    if (!whole && ftruncate(fd, 0) < 0)
        return -errno;
    int error = posix_fallocate(fd, 0, sizeof **ret_image);
    if (error) {
        unlink(path); /* a disk that is full should not be kept full */
        return -error;
    }
    void *memory = mmap(NULL, sizeof **ret_image, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    *ret_image = memory;
    return 0;
}

static int image_find(const char *directory, const char *name, struct image **ret_image)
{
    char path[PATH_BYTES_MAX];
    if (!path_of(directory, name, path))
        return -ENAMETOOLONG;
    if (mkdir(directory, 0700) < 0 && errno != EEXIST)
        return -errno;
    return image_map(path, ret_image);
}

struct job_history *job_history_open(const char *directory, const char *name, int *ret_error)
{
    struct job_history *history = calloc(1, sizeof *history);
    if (!history)
        return NULL;
    *ret_error = image_find(directory, name, &history->image);
    history->mapped = !*ret_error;
    if (!history->mapped)
        history->image = calloc(1, sizeof *history->image);
    if (!history->image) {
        free(history);
        return NULL;
    }
    if (!image_fits(history->image))
        image_begin(history->image);
    for (uint32_t i = 0; i < JOB_HISTORY_MAX; i++)
        history->image->runs[i].exit[JOB_EXIT_BYTES - 1] = 0;
    return history;
}

void job_history_close(struct job_history *history)
{
    if (!history)
        return;
    if (history->mapped)
        munmap(history->image, sizeof *history->image);
    else
        free(history->image);
    free(history);
}

void job_history_remove(const char *directory, const char *name)
{
    char path[PATH_BYTES_MAX];
    if (path_of(directory, name, path))
        unlink(path);
}

void job_history_add(struct job_history *history, const struct job_run *run)
{
    struct image *image = history->image;
    image->runs[image->ended % JOB_HISTORY_MAX] = *run;
    image->ended++; /* last: what is counted is whole */
}

uint64_t job_history_ended(const struct job_history *history)
{
    return history->image->ended;
}

const struct job_run *job_history_run(const struct job_history *history, uint64_t back)
{
    const struct image *image = history->image;
    if (back >= image->ended || back >= JOB_HISTORY_MAX)
        return NULL;
    return &image->runs[(image->ended - 1 - back) % JOB_HISTORY_MAX];
}

void job_histories_keep(const char *directory, job_history_keep *keep, void *owner)
{
    scoped_dir DIR *opened = opendir(directory);
    if (!opened)
        return;
    for (struct dirent *entry; (entry = readdir(opened));)
        if (entry->d_type == DT_REG && (!keep || !keep(owner, entry->d_name)))
            job_history_remove(directory, entry->d_name);
    if (!keep)
        rmdir(directory);
}
