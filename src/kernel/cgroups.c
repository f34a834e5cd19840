/* The cluster's side of kernel/cgroup.h: finding hierarchies, making the cluster's folders,
 * enabling controllers on v2. */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"
#include "kernel/cgroup_private.h"

enum {
    PROC_TEXT_BYTES_MAX = 1 << 20, /* of mountinfo: a machine with thousands of mounts fits */
    LEAF_PIDS_MAX = 64,            /* more processes than that are not ours alone */
    PLACES_MAX = 2,
};

/* Appends to the sentence that tells the user what was tried. */
static void __attribute__((format(printf, 3, 4)))
why_add(char *why, size_t size, const char *format, ...)
{
    size_t length = strlen(why);
    if (length + 3 >= size)
        return;
    if (length) {
        memcpy(why + length, "; ", 3);
        length += 2;
    }
    va_list list;
    va_start(list, format);
    vsnprintf(why + length, size - length, format, list);
    va_end(list);
}

/* ---- making way: no v2 group may have both processes and controllers for groups below
 * ------------ */

static bool same_program(long pid)
{
    char link[64], ours[PATH_MAX], theirs[PATH_MAX];
    snprintf(link, sizeof link, "/proc/%ld/exe", pid);
    ssize_t our_length = readlink("/proc/self/exe", ours, sizeof ours);
    ssize_t their_length = readlink(link, theirs, sizeof theirs);
    return our_length > 0 && our_length == their_length &&
           memcmp(ours, theirs, (size_t)our_length) == 0;
}

/* Moves enginx's own processes out of the group, into the leaf BASE.self; only when nobody else is
 * in it, since others' processes are not ours to move. */
static int make_way(int parent_fd, const char *base)
{
    scoped_fd int list = openat(parent_fd, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    scoped_file FILE *file = list < 0 ? NULL : fdopen(list, "r");
    if (!file)
        return -errno;
    list = -1; /* the stream has it now */
    long pids[LEAF_PIDS_MAX];
    int count = 0;
    for (long pid; fscanf(file, "%ld", &pid) == 1;) {
        if (count == LEAF_PIDS_MAX || !same_program(pid))
            return -EBUSY;
        pids[count++] = pid;
    }
    char leaf[NAME_MAX];
    snprintf(leaf, sizeof leaf, "%s.self", base);
    scoped_fd int leaf_fd = cgroup_folder_make(parent_fd, leaf);
    if (leaf_fd < 0)
        return leaf_fd;
    for (int at = 0; at < count; at++) {
        char text[32];
        snprintf(text, sizeof text, "%ld", pids[at]);
        int error = cgroup_file_write(leaf_fd, "cgroup.procs", text);
        if (error && error != -ESRCH)
            return error;
    }
    return 0;
}

/* Lets the groups below the folder have the controller. */
static int controller_enable(int fd, const char *name)
{
    if (cgroup_file_has(fd, "cgroup.subtree_control", name))
        return 0;
    if (!cgroup_file_has(fd, "cgroup.controllers", name))
        return -ENOENT;
    char text[32];
    snprintf(text, sizeof text, "+%s", name);
    return cgroup_file_write(fd, "cgroup.subtree_control", text);
}

/* ---- places -------------------------------------------------------------------------------------
 */

/* One folder below which BASE/NAME might be made. */
struct place {
    const char *parent;
    bool own; /* it is the group that we are in */
    bool top; /* there is none above it */
};

/* Our own group, or the one above when an earlier start has moved us into the leaf. */
static void own_trim(char *own, const char *base)
{
    char *slash = strrchr(own, '/');
    size_t length = strlen(base);
    if (slash && strncmp(slash + 1, base, length) == 0 && strcmp(slash + 1 + length, ".self") == 0)
        *slash = 0;
}

/* Where to try, best first; the number of places. */
static int places_list(struct hierarchy *hierarchy, const char *base, bool root,
                       struct place places[PLACES_MAX])
{
    int count = 0;
    own_trim(hierarchy->own, base);
    bool at_top = strcmp(hierarchy->mount, hierarchy->own) == 0;
    if (root || at_top)
        places[count++] = (struct place){.parent = hierarchy->mount, .own = at_top, .top = true};
    if (!at_top && hierarchy->own[0])
        places[count++] = (struct place){.parent = hierarchy->own, .own = true};
    return count;
}

/* Makes PARENT/BASE/NAME and opens it. */
static int folder_open(const char *parent, const char *base, const char *cluster,
                       struct cgroup_folder *ret_folder)
{
    scoped_fd int parent_fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent_fd < 0)
        return -errno;
    int length =
        snprintf(ret_folder->path, sizeof ret_folder->path, "%s/%s/%s", parent, base, cluster);
    if (length < 0 || (size_t)length >= sizeof ret_folder->path)
        return -ENAMETOOLONG;
    /* Who may not write here may not put a process below it either (cgroups(7), delegation). */
    if (faccessat(parent_fd, "cgroup.procs", W_OK, AT_EACCESS))
        return -errno;
    int fd = -ENOENT;
    for (int tries = 0; tries < 2 && fd == -ENOENT; tries++) { /* the last cluster may be leaving */
        scoped_fd int base_fd = cgroup_folder_make(parent_fd, base);
        fd = base_fd < 0 ? base_fd : cgroup_folder_make(base_fd, cluster);
    }
    if (fd < 0)
        return fd;
    if (faccessat(fd, "cgroup.procs", W_OK, AT_EACCESS)) {
        int error = -errno;
        close(fd);
        return error;
    }
    ret_folder->fd = fd;
    return 0;
}

/* The first place where the folder can be had. */
static int folder_find(const struct place *places, int count, const char *base, const char *cluster,
                       struct cgroup_folder *ret_folder, struct place *ret_place, char *why,
                       size_t why_size)
{
    int first = -ENOENT;
    for (int at = 0; at < count; at++) {
        int error = folder_open(places[at].parent, base, cluster, ret_folder);
        if (!error) {
            *ret_place = places[at];
            return 0;
        }
        why_add(why, why_size, "%s/%s: %s", places[at].parent, base, strerror(-error));
        if (at == 0)
            first = error;
    }
    ret_folder->path[0] = 0;
    return first;
}

/* ---- v2 and v1 ----------------------------------------------------------------------------------
 */

/* Why the groups below PLACE do not get the controller. */
static void v2_lack_tell(const struct place *place, const char *name, int error, char *why)
{
    if (error == -ENOENT && place->top)
        why_add(why, CGROUP_WHY_BYTES, "%s has no %s controller", place->parent, name);
    else if (error == -ENOENT)
        why_add(
            why, CGROUP_WHY_BYTES,
            "the group above does not hand the %s controller down to %s (systemd: Delegate=yes)",
            name, place->parent);
    else if (error == -EBUSY)
        why_add(why, CGROUP_WHY_BYTES, "other programs' processes are in %s itself", place->parent);
    else
        why_add(why, CGROUP_WHY_BYTES, "%s: %s", place->parent, strerror(-error));
}

/* Enables what can be had, level by level: the parent, BASE, BASE/NAME. */
static void controllers_enable(struct cgroups *cgroups, const struct place *place, const char *base)
{
    scoped_fd int parent_fd = open(place->parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    scoped_fd int base_fd = openat(parent_fd, base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int controller = 0; controller < CGROUP_CONTROLLERS; controller++) {
        const char *name = cgroup_controller_names[controller];
        int error = controller_enable(parent_fd, name);
        if (error == -EBUSY && place->own && make_way(parent_fd, base) == 0)
            error = controller_enable(parent_fd, name);
        if (!error)
            error = controller_enable(base_fd, name);
        if (!error)
            error = controller_enable(cgroups->v2.fd, name);
        cgroups->v2_has[controller] = !error;
        if (error)
            v2_lack_tell(place, name, error, cgroups->lack[controller]);
    }
}

static int v2_open(struct cgroups *cgroups, const struct cgroup_machine *machine, const char *base,
                   const char *cluster, char *why, size_t why_size)
{
    struct hierarchy hierarchy;
    if (!hierarchy_find(machine->mountinfo, machine->own_groups, NULL, &hierarchy)) {
        why_add(why, why_size, "no cgroup v2 hierarchy is mounted");
        return -ENOENT;
    }
    struct place places[PLACES_MAX], place;
    int count = places_list(&hierarchy, base, machine->root, places);
    if (!count)
        why_add(why, why_size, "%s does not show the group that enginx is in", hierarchy.mount);
    int error = folder_find(places, count, base, cluster, &cgroups->v2, &place, why, why_size);
    if (!error)
        controllers_enable(cgroups, &place, base);
    return error;
}

/* The controller on v1, if it is bound there; then v1 alone is to blame where it cannot be had. */
static void v1_open(struct cgroups *cgroups, enum cgroup_controller controller,
                    const struct cgroup_machine *machine, const char *base, const char *cluster)
{
    static const char *const limit_files[CGROUP_CONTROLLERS] = {
        [CGROUP_MEMORY] = "memory.limit_in_bytes",
        [CGROUP_CPU] = "cpu.cfs_quota_us",
        [CGROUP_PIDS] = "pids.max",
        [CGROUP_IO] = "blkio.bfq.weight",
    };
    struct hierarchy hierarchy;
    const char *name = controller == CGROUP_IO ? "blkio" : cgroup_controller_names[controller];
    if (!hierarchy_find(machine->mountinfo, machine->own_groups, name, &hierarchy))
        return;
    struct place places[PLACES_MAX], place;
    char *why = cgroups->lack[controller];
    int count = places_list(&hierarchy, base, machine->root, places);
    struct cgroup_folder *folder = &cgroups->v1[controller];
    why[0] = 0;
    if (folder_find(places, count, base, cluster, folder, &place, why, CGROUP_WHY_BYTES))
        return;
    why[0] = 0;
    if (faccessat(folder->fd, limit_files[controller], W_OK, AT_EACCESS)) {
        why_add(why, CGROUP_WHY_BYTES, "%s/%s: %s", folder->path, limit_files[controller],
                strerror(errno));
        fd_drop(&folder->fd);
        folder->path[0] = 0;
    } else if (controller == CGROUP_MEMORY) {
        /* Before Linux 5.11 a ceiling counts what is below only when it is told to. */
        (void)cgroup_file_write(folder->fd, "memory.use_hierarchy", "1");
    }
}

int cgroups_open_on(const struct cgroup_machine *machine, const char *base, const char *cluster,
                    struct cgroups **ret_cgroups, char *why, size_t why_size)
{
    if (why_size)
        why[0] = 0;
    if (!cgroup_name_valid(base) || !cgroup_name_valid(cluster)) {
        why_add(why, why_size, "\"%s/%s\" cannot name a group", base, cluster);
        return -EINVAL;
    }
    struct cgroups *cgroups = calloc(1, sizeof *cgroups);
    if (!cgroups)
        return -ENOMEM;
    cgroups->v2.fd = -1;
    for (int controller = 0; controller < CGROUP_CONTROLLERS; controller++)
        cgroups->v1[controller].fd = -1;
    int error = v2_open(cgroups, machine, base, cluster, why, why_size);
    if (error) {
        cgroups_close(cgroups);
        return error;
    }
    for (enum cgroup_controller controller = 0; controller < CGROUP_CONTROLLERS; controller++)
        if (!cgroups->v2_has[controller])
            v1_open(cgroups, controller, machine, base, cluster);
    *ret_cgroups = cgroups;
    return 0;
}

/* The whole file as text, owned by the caller; NULL with errno. */
static char *proc_text_read(const char *path)
{
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    scoped_memory char *text = fd < 0 ? NULL : malloc(PROC_TEXT_BYTES_MAX);
    if (!text)
        return NULL;
    if (cgroup_file_read(AT_FDCWD, path, text, PROC_TEXT_BYTES_MAX))
        return NULL;
    char *taken = text;
    text = NULL;
    return taken;
}

int cgroups_open(const char *base, const char *cluster, struct cgroups **ret_cgroups, char *why,
                 size_t why_size)
{
    scoped_memory char *mountinfo = proc_text_read("/proc/self/mountinfo");
    scoped_memory char *own_groups = proc_text_read("/proc/self/cgroup");
    if (!mountinfo || !own_groups) {
        snprintf(why, why_size, "/proc/self/mountinfo or /proc/self/cgroup: %s", strerror(errno));
        return -ENOENT;
    }
    struct cgroup_machine machine = {mountinfo, own_groups, geteuid() == 0};
    return cgroups_open_on(&machine, base, cluster, ret_cgroups, why, why_size);
}

void cgroups_close(struct cgroups *cgroups)
{
    if (!cgroups)
        return;
    fd_drop(&cgroups->v2.fd);
    for (int controller = 0; controller < CGROUP_CONTROLLERS; controller++)
        fd_drop(&cgroups->v1[controller].fd);
    free(cgroups);
}

/* Removes BASE/NAME with all below it, then BASE if that was the last. */
static int folder_destroy(const struct cgroup_folder *folder)
{
    if (!folder->path[0])
        return 0;
    char parent[HIERARCHY_PATH_BYTES];
    strcpy(parent, folder->path);
    char *slash = strrchr(parent, '/');
    assert(slash);
    *slash = 0;
    scoped_fd int parent_fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent_fd < 0)
        return errno == ENOENT ? 0 : -errno;
    int error = cgroup_folder_remove(parent_fd, slash + 1);
    if (!error)
        (void)rmdir(parent); /* fails while another cluster is there */
    return error;
}

int cgroups_destroy(struct cgroups *cgroups)
{
    uint64_t populated;
    if (cgroup_number_read(cgroups->v2.fd, "cgroup.events", "populated", &populated) == 0 &&
        populated)
        return -EBUSY;
    int first = folder_destroy(&cgroups->v2);
    for (int controller = 0; controller < CGROUP_CONTROLLERS; controller++) {
        int error = folder_destroy(&cgroups->v1[controller]);
        if (!first)
            first = error;
    }
    return first;
}

const char *cgroups_path(const struct cgroups *cgroups)
{
    return cgroups->v2.path;
}

const char *cgroups_backend(const struct cgroups *cgroups, enum cgroup_controller controller)
{
    return cgroups->v2_has[controller] ? "v2" : cgroups->v1[controller].fd >= 0 ? "v1" : NULL;
}

const char *cgroups_lack(const struct cgroups *cgroups, enum cgroup_controller controller)
{
    return cgroups->lack[controller];
}

int cgroups_quota_set(struct cgroups *cgroups, const struct cgroup_quota *quota,
                      unsigned *ret_failed)
{
    int v1_fds[CGROUP_CONTROLLERS];
    for (int controller = 0; controller < CGROUP_CONTROLLERS; controller++)
        v1_fds[controller] = cgroups->v1[controller].fd;
    cgroups->ceiling[CGROUP_MEMORY] = quota->memory_bytes != 0;
    cgroups->ceiling[CGROUP_CPU] = quota->cpu_percent != 0;
    cgroups->ceiling[CGROUP_PIDS] = quota->tasks != 0;
    cgroups->ceiling[CGROUP_IO] = quota->io_weight != 0;
    return cgroup_limits_set(cgroups, cgroups->v2.fd, v1_fds, quota, ret_failed);
}

int cgroups_each(struct cgroups *cgroups, void (*call)(void *owner, const char *name), void *owner)
{
    /* A description of its own: the position in a directory belongs to the open file. */
    int fd = openat(cgroups->v2.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    scoped_dir DIR *directory = fd < 0 ? NULL : fdopendir(fd);
    if (!directory) {
        int error = -errno;
        fd_drop(&fd);
        return error;
    }
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_type == DT_DIR && cgroup_name_valid(entry->d_name))
            call(owner, entry->d_name);
    return 0;
}
