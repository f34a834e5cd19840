/* Who a program runs as, and which file it is: the look-ups of spawn.h, made before anything
 * starts. */
#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "supervise/spawn.h"

/* A decimal id; false: it is a name. */
static bool id_parse(const char *text, unsigned *ret_id)
{
    char *end;
    if (!*text || strspn(text, "0123456789") != strlen(text))
        return false;
    errno = 0;
    unsigned long id = strtoul(text, &end, 10);
    if (errno || id >= UINT_MAX) /* the highest means "unchanged" to setresuid */
        return false;
    *ret_id = (unsigned)id;
    return true;
}

static int user_look_up(const char *user, struct spawn_user *found)
{
    unsigned id = geteuid();
    bool number = !user || id_parse(user, &id);
    const struct passwd *entry = number ? getpwuid(id) : getpwnam(user);
    if (!entry && !number)
        return -ENOENT;
    found->uid = entry ? entry->pw_uid : id;
    found->gid = entry ? entry->pw_gid : user ? id : getegid();
    snprintf(found->home, sizeof found->home, "%s", entry ? entry->pw_dir : "/");
    if (entry)
        snprintf(found->name, sizeof found->name, "%s", entry->pw_name);
    else
        snprintf(found->name, sizeof found->name, "%u", id);
    return 0;
}

int spawn_user_find(const char *user, const char *group, struct spawn_user *ret_user)
{
    struct spawn_user found = {0};
    int error = user_look_up(user, &found);
    if (error)
        return error;
    unsigned id;
    const struct group *entry = NULL;
    if (group && id_parse(group, &id))
        found.gid = id;
    else if (group && (entry = getgrnam(group)))
        found.gid = entry->gr_gid;
    else if (group)
        return -ESRCH;
    found.group_count = SPAWN_GROUPS_MAX; /* of a user with more groups, the first ones are taken */
    if (getgrouplist(found.name, found.gid, found.groups, &found.group_count) < 0)
        found.group_count = SPAWN_GROUPS_MAX;
    found.change =
        geteuid() == 0 ? user || group : found.uid != geteuid() || found.gid != getegid();
    *ret_user = found;
    return 0;
}

static int program_check(const char *path)
{
    struct stat status;
    if (stat(path, &status))
        return -errno;
    if (S_ISDIR(status.st_mode))
        return -EISDIR;
    return S_ISREG(status.st_mode) && access(path, X_OK) == 0 ? 0 : -EACCES;
}

/* DIRECTORY/NAME, or NAME when it is absolute. */
static int path_join(const char *directory, size_t directory_length, const char *name,
                     char *ret_path, size_t size)
{
    int length = *name == '/'
                     ? snprintf(ret_path, size, "%s", name)
                     : snprintf(ret_path, size, "%.*s/%s", (int)directory_length, directory, name);
    return length < 0 || (size_t)length >= size ? -ENAMETOOLONG : 0;
}

/* One entry of PATH; relative ones (and the empty one, which means ".") begin at `directory`. */
static int entry_try(const char *entry, size_t length, const char *program, const char *directory,
                     char *ret_path, size_t size)
{
    char folder[PATH_MAX];
    int written = length && *entry == '/'
                      ? snprintf(folder, sizeof folder, "%.*s", (int)length, entry)
                      : snprintf(folder, sizeof folder, "%s/%.*s", directory, (int)length, entry);
    if (written < 0 || (size_t)written >= sizeof folder)
        return -ENAMETOOLONG;
    int error = path_join(folder, strlen(folder), program, ret_path, size);
    return error ? error : program_check(ret_path);
}

int spawn_program_find(const char *program, const char *path, const char *directory, char *ret_path,
                       size_t size)
{
    if (!*program)
        return -ENOENT;
    if (strchr(program, '/')) {
        int error = path_join(directory, strlen(directory), program, ret_path, size);
        return error ? error : program_check(ret_path);
    }
    int worst = -ENOENT;
    for (const char *entry = path;;) {
        size_t length = strcspn(entry, ":");
        int error = entry_try(entry, length, program, directory, ret_path, size);
        if (!error)
            return 0;
        if (error == -EACCES)
            worst = error;
        if (!entry[length])
            return worst;
        entry += length + 1;
    }
}
