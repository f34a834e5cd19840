#include "kernel/pins.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/scoped.h"
#include "base/table.h"

int pins_mount(const char *mount_path)
{
    struct statfs at;
    if (statfs(mount_path, &at) != 0) {
        if (errno != ENOENT || mkdir(mount_path, 0755) != 0)
            return -errno;
    } else if ((unsigned long)at.f_type == BPF_FS_MAGIC) {
        return 0;
    }
    if (mount("bpf", mount_path, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") != 0)
        return -errno;
    return 0;
}

int pin_path(char ret_path[PIN_PATH_BYTES], const char *folder, const char *name)
{
    int length = snprintf(ret_path, PIN_PATH_BYTES, "%s/%s", folder, name);
    return length >= 0 && length < PIN_PATH_BYTES ? 0 : -ENAMETOOLONG;
}

int pin_path_of_name(char ret_path[PIN_PATH_BYTES], const char *folder, const char *name)
{
    enum { NAME_MAX_BYTES = 48 };
    char safe[NAME_MAX_BYTES + 1];
    bool same = strcmp(name, "claims") != 0 && strcmp(name, "listeners") != 0 && name[0] != 0;
    size_t length = 0;
    for (; name[length] && length < NAME_MAX_BYTES; length++) {
        unsigned char c = (unsigned char)name[length];
        bool plain = (isalnum(c) && c < 0x80) || c == '-' || c == '_';
        safe[length] = plain ? (char)c : '_';
        same = same && plain;
    }
    safe[length] = 0;
    if (same && !name[length])
        return pin_path(ret_path, folder, name);
    char hashed[NAME_MAX_BYTES + 20];
    snprintf(hashed, sizeof hashed, "%s_%016" PRIx64, safe,
             hash_bytes(name, strlen(name), hash_seed()));
    return pin_path(ret_path, folder, hashed);
}

int pins_lock(const char *root)
{
    /* Who unlocks may remove the folder while we wait for the lock: then it is another one. */
    for (;;) {
        if (mkdir(root, 0700) != 0 && errno != EEXIST)
            return -errno;
        scoped_fd int lock = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (lock < 0 && errno == ENOENT)
            continue;
        if (lock < 0 || flock(lock, LOCK_EX) != 0)
            return -errno;
        struct stat locked;
        struct stat present;
        if (fstat(lock, &locked) != 0)
            return -errno;
        if (stat(root, &present) == 0 && present.st_ino == locked.st_ino)
            return fd_take(&lock);
    }
}

void pins_unlock(const char *root, int lock)
{
    rmdir(root); /* fails while anything is in it */
    close(lock);
}

bool pins_any_folder(const char *root)
{
    scoped_dir DIR *directory = opendir(root);
    const struct dirent *entry;
    while (directory && (entry = readdir(directory)))
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
            return true;
    return false;
}

void pins_remove(const char *folder)
{
    scoped_dir DIR *directory = opendir(folder);
    if (!directory)
        return;
    const struct dirent *entry;
    while ((entry = readdir(directory)))
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(directory), entry->d_name, 0);
    rmdir(folder);
}
