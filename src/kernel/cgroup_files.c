/* Files and folders of control groups; see cgroup_private.h. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"
#include "kernel/cgroup_private.h"

enum { STAT_FILE_BYTES = 4096 };

int cgroup_file_write(int folder_fd, const char *name, const char *text)
{
    int fd = openat(folder_fd, name, O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = write(fd, text, strlen(text)) < 0 ? -errno : 0;
    close(fd);
    return error;
}

int cgroup_file_read(int folder_fd, const char *name, char *text, size_t size)
{
    scoped_fd int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    size_t length = 0;
    while (length < size - 1) {
        ssize_t got = read(fd, text + length, size - 1 - length);
        if (got < 0)
            return -errno;
        if (got == 0)
            break;
        length += (size_t)got;
    }
    text[length] = 0;
    return 0;
}

/* The text behind "KEY " at the beginning of a line; NULL: there is none. */
static const char *value_of_key(const char *text, const char *key)
{
    size_t length = strlen(key);
    for (const char *line = text; *line;) {
        if (strncmp(line, key, length) == 0 && line[length] == ' ')
            return line + length + 1;
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    return NULL;
}

int cgroup_number_read(int folder_fd, const char *name, const char *key, uint64_t *ret_number)
{
    char text[STAT_FILE_BYTES];
    int error = cgroup_file_read(folder_fd, name, text, sizeof text);
    if (error)
        return error;
    const char *value = key ? value_of_key(text, key) : text;
    if (!value || !isdigit((unsigned char)*value))
        return -EBADMSG;
    *ret_number = strtoull(value, NULL, 10);
    return 0;
}

bool cgroup_file_has(int folder_fd, const char *name, const char *word)
{
    char text[STAT_FILE_BYTES];
    if (cgroup_file_read(folder_fd, name, text, sizeof text))
        return false;
    size_t wanted = strlen(word);
    for (const char *at = text; *at;) {
        size_t length = strcspn(at, " \n");
        if (length == wanted && memcmp(at, word, length) == 0)
            return true;
        at += length;
        at += strspn(at, " \n");
    }
    return false;
}

bool cgroup_name_valid(const char *name)
{
    return *name && !strpbrk(name, "/\n") && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

int cgroup_folder_make(int parent_fd, const char *name)
{
    if (mkdirat(parent_fd, name, 0755) && errno != EEXIST)
        return -errno;
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* ---- walking, with a stack of our own: how deep it goes is not for a program to decide ----------
 */

struct walk_level {
    DIR *directory;
    char name[NAME_MAX + 1]; /* of this level's folder in the one above it */
};

/* The next entry that is a folder; NULL: no more. */
static const char *level_next(struct walk_level *level)
{
    for (struct dirent *entry; (entry = readdir(level->directory));)
        if (entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 &&
            strcmp(entry->d_name, "..") != 0)
            return entry->d_name;
    return NULL;
}

static int level_enter(struct walk_level *level, int parent_fd, const char *name)
{
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    level->directory = fdopendir(fd);
    if (!level->directory) {
        int error = -errno;
        close(fd);
        return error;
    }
    snprintf(level->name, sizeof level->name, "%s", name);
    return 0;
}

int cgroup_walk(int folder_fd, cgroup_walk_call *call, void *owner)
{
    struct walk_level levels[CGROUP_DEPTH_MAX + 1];
    int depth = 0;
    int answer = level_enter(&levels[0], folder_fd, ".");
    if (answer)
        return answer;
    while (depth >= 0) {
        struct walk_level *level = &levels[depth];
        const char *name = answer ? NULL : level_next(level);
        if (name) { /* one that is gone by now is passed over */
            if (depth < CGROUP_DEPTH_MAX &&
                level_enter(&levels[depth + 1], dirfd(level->directory), name) == 0)
                depth++;
            continue;
        }
        if (depth > 0 && !answer)
            answer = call(owner, dirfd(levels[depth - 1].directory), level->name,
                          dirfd(level->directory));
        closedir(level->directory);
        depth--;
    }
    return answer;
}

static int walk_remove(void *owner, int parent_fd, const char *name, int fd)
{
    (void)owner;
    (void)fd;
    return unlinkat(parent_fd, name, AT_REMOVEDIR) && errno != ENOENT ? -errno : 0;
}

int cgroup_folder_remove(int parent_fd, const char *name)
{
    if (unlinkat(parent_fd, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
        return 0;
    scoped_fd int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int error = cgroup_walk(fd, walk_remove, NULL);
    if (error)
        return error;
    return unlinkat(parent_fd, name, AT_REMOVEDIR) && errno != ENOENT ? -errno : 0;
}
