#include "cli/place.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/table.h"
#include "control/client.h"
#include "topology/build.h"

#define TEMPORARY_ROOT "/tmp/enginx-" /* and the user's number; where there is nothing better */

static int fits(int length)
{
    return length < 0 || length >= PLACE_BYTES ? -ENAMETOOLONG : 0;
}

/* The folder that holds the states of all clusters of this user. */
static int states_root(char path[PLACE_BYTES])
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (geteuid() == 0)
        return fits(snprintf(path, PLACE_BYTES, "/run/enginx"));
    if (runtime && runtime[0] == '/')
        return fits(snprintf(path, PLACE_BYTES, "%s/enginx", runtime));
    return fits(snprintf(path, PLACE_BYTES, TEMPORARY_ROOT "%u", geteuid()));
}

int place_state(const struct cli *cli, const char *cluster, char path[PLACE_BYTES])
{
    if (cli->state && cli->state[0] == '/')
        return fits(snprintf(path, PLACE_BYTES, "%s", cli->state));
    if (cli->state) {
        scoped_memory char *here = getcwd(NULL, 0);
        return here ? fits(snprintf(path, PLACE_BYTES, "%s/%s", here, cli->state)) : -errno;
    }
    char root[PLACE_BYTES];
    int error = states_root(root);
    return error ? error : fits(snprintf(path, PLACE_BYTES, "%s/%s", root, cluster));
}

int place_log(const struct cli *cli, const char *state, const char *cluster, char path[PLACE_BYTES])
{
    const char *home = getenv("HOME");
    const char *xdg = getenv("XDG_STATE_HOME");
    if (cli->state)
        return fits(snprintf(path, PLACE_BYTES, "%s/log", state));
    if (geteuid() == 0)
        return fits(snprintf(path, PLACE_BYTES, "/var/log/enginx/%s", cluster));
    if (xdg && xdg[0] == '/')
        return fits(snprintf(path, PLACE_BYTES, "%s/enginx/%s", xdg, cluster));
    if (home && home[0] == '/' && access(home, W_OK) == 0)
        return fits(snprintf(path, PLACE_BYTES, "%s/.local/state/enginx/%s", home, cluster));
    return fits(snprintf(path, PLACE_BYTES, "%s/log", state));
}

/* In the folder that everybody may write to, the one above must be ours too: whoever made it could
 * put another in our place. */
static int last_good_folder(char path[PLACE_BYTES])
{
    const char *home = getenv("HOME");
    const char *xdg = getenv("XDG_STATE_HOME");
    if (geteuid() == 0)
        return fits(snprintf(path, PLACE_BYTES, "/var/lib/enginx/last-good"));
    if (xdg && xdg[0] == '/')
        return fits(snprintf(path, PLACE_BYTES, "%s/enginx/last-good", xdg));
    if (home && home[0] == '/')
        return fits(snprintf(path, PLACE_BYTES, "%s/.local/state/enginx/last-good", home));
    return -ENOENT;
}

int place_last_good(const struct cli *cli, const char *file, char path[PLACE_BYTES])
{
    char folder[PLACE_BYTES];
    scoped_memory char *whole = realpath(file, NULL);
    int error = whole ? 0 : -errno;
    if (error)
        return error;
    if (cli->state) {
        error = place_state(cli, "", folder);
        return error ? error : fits(snprintf(path, PLACE_BYTES, "%s/last-good", folder));
    }
    error = last_good_folder(folder);
    if (!error)
        error = place_make(folder);
    unsigned long long hash = hash_bytes(whole, strlen(whole), 0);
    return error ? error : fits(snprintf(path, PLACE_BYTES, "%s/%016llx", folder, hash));
}

static int parent_check(const char *path)
{
    char parent[PLACE_BYTES];
    struct stat stat;
    snprintf(parent, sizeof parent, "%s", path);
    *strrchr(parent, '/') = 0;
    if (strncmp(path, TEMPORARY_ROOT, strlen(TEMPORARY_ROOT)) != 0)
        return 0;
    if (lstat(parent, &stat) < 0)
        return -errno;
    return S_ISDIR(stat.st_mode) && stat.st_uid == geteuid() ? 0 : -EPERM;
}

static int folders_make(const char *path)
{
    char part[PLACE_BYTES];
    for (const char *at = strchr(path + 1, '/');; at = strchr(at + 1, '/')) {
        size_t length = at ? (size_t)(at - path) : strlen(path);
        if (length >= sizeof part)
            return -ENAMETOOLONG;
        memcpy(part, path, length);
        part[length] = 0;
        if (mkdir(part, at ? 0755 : 0711) < 0 && errno != EEXIST)
            return -errno;
        if (!at)
            return 0;
    }
}

int place_make(const char *path)
{
    mode_t mask = umask(022); /* instances of other users must come through, whatever it is */
    int error = folders_make(path);
    umask(mask);
    if (!error)
        error = parent_check(path);
    if (error)
        return error;
    struct stat stat;
    if (lstat(path, &stat) < 0)
        return -errno;
    if (!S_ISDIR(stat.st_mode))
        return -ENOTDIR;
    if (stat.st_uid != geteuid())
        return -EPERM; /* somebody else made it: not a place for our sockets */
    return 0;
}

/* The cluster of ./enginx.conf; "" when there is none. */
static void cluster_here(char name[PLACE_BYTES])
{
    name[0] = 0;
    if (access("enginx.conf", R_OK) < 0)
        return;
    struct diagnostics *diagnostics = diagnostics_new();
    struct topology_options options = {.environment = environ};
    struct topology *topology =
        diagnostics ? topology_load("enginx.conf", &options, diagnostics) : NULL;
    if (topology)
        snprintf(name, PLACE_BYTES, "%s", topology->name);
    topology_free(topology);
    diagnostics_free(diagnostics);
}

static int connects(const char *state)
{
    int fd = control_connect(state);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

void place_each(void (*call)(void *owner, const char *name), void *owner)
{
    char root[PLACE_BYTES];
    char path[PLACE_BYTES * 2];
    if (states_root(root) < 0)
        return;
    scoped_dir DIR *dir = opendir(root);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", root, entry->d_name);
        if (strlen(path) < PLACE_BYTES && connects(path))
            call(owner, entry->d_name);
    }
}

struct running {
    unsigned count;
    char last[PLACE_BYTES]; /* its name */
};

static void running_count(void *owner, const char *name)
{
    struct running *running = owner;
    running->count++;
    snprintf(running->last, sizeof running->last, "%s", name);
}

/* The only one that runs. */
static int cluster_only(char state[PLACE_BYTES])
{
    char root[PLACE_BYTES];
    struct running running = {0};
    if (states_root(root) < 0)
        return CLI_FAILED;
    place_each(running_count, &running);
    if (running.count == 1)
        return fits(snprintf(state, PLACE_BYTES, "%s/%s", root, running.last)) ? CLI_FAILED
                                                                               : CLI_OK;
    return running.count ? cli_fail("%u clusters run here; say which with -c NAME", running.count)
                         : cli_fail("no cluster runs here (looked in %s)", root);
}

int place_find(const struct cli *cli, char state[PLACE_BYTES])
{
    char name[PLACE_BYTES] = "";
    if (cli->cluster)
        snprintf(name, sizeof name, "%s", cli->cluster);
    else if (!cli->state)
        cluster_here(name);
    if (!cli->state && !name[0])
        return cluster_only(state);
    if (place_state(cli, name, state) < 0)
        return cli_fail("the name of the state directory is too long");
    if (connects(state))
        return CLI_OK;
    if (!cli->cluster && !cli->state) /* there is a file here, but its cluster does not run */
        return cluster_only(state);
    if (!name[0])
        return cli_fail("no cluster runs there (no supervisor answers in %s)", state);
    return cli_fail("the cluster %s is not running (no supervisor answers in %s)", name, state);
}
