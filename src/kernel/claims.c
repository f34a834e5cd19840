#include "kernel/claims.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/table.h"

static const char migrate_path[] = "/proc/sys/net/ipv4/tcp_migrate_req";

uint32_t claims_cluster_number(const char *cluster)
{
    uint64_t hash = hash_bytes(cluster, strlen(cluster), hash_seed());
    uint32_t number = (uint32_t)(hash ^ hash >> 32);
    return number ? number : 1;
}

static bool map_fits(int map)
{
    struct bpf_map_info info = {0};
    uint32_t size = sizeof info;
    return bpf_obj_get_info_by_fd(map, &info, &size) == 0 &&
           info.key_size == sizeof(struct steer_claim_key) &&
           info.value_size == sizeof(struct steer_claim) && info.max_entries == STEER_CLAIMS_MAX;
}

int claims_open(const char *path, int *ret_map)
{
    scoped_fd int map = bpf_obj_get(path);
    if (map >= 0) {
        if (!map_fits(map))
            return -EPROTO;
        *ret_map = fd_take(&map);
        return 0;
    }
    if (errno != ENOENT)
        return -errno;
    LIBBPF_OPTS(bpf_map_create_opts, options, .map_flags = BPF_F_NO_PREALLOC);
    map = bpf_map_create(BPF_MAP_TYPE_HASH, "enginx_claims", sizeof(struct steer_claim_key),
                         sizeof(struct steer_claim), STEER_CLAIMS_MAX, &options);
    if (map < 0)
        return -errno;
    if (bpf_obj_pin(map, path) != 0)
        return -errno;
    *ret_map = fd_take(&map);
    return 0;
}

void claims_remove_if_empty(const char *path)
{
    scoped_fd int map = bpf_obj_get(path);
    struct steer_claim_key first;
    if (map >= 0 && bpf_map_get_next_key(map, NULL, &first) != 0 && errno == ENOENT)
        unlink(path);
}

bool claims_find(int map, const struct steer_claim_key *key, struct steer_claim *ret_claim)
{
    return bpf_map_lookup_elem(map, key, ret_claim) == 0;
}

int claims_take(int map, const struct steer_claim_key *key, const struct steer_claim *claim,
                struct steer_claim *ret_other)
{
    if (bpf_map_update_elem(map, key, claim, BPF_NOEXIST) == 0)
        return 0;
    if (errno != EEXIST)
        return -errno;
    struct steer_claim other;
    if (!claims_find(map, key, &other)) /* it went this moment: as if it were held still */
        return -EEXIST;
    if (other.cluster == claim->cluster && other.owner == claim->owner)
        return 0;
    if (ret_other)
        *ret_other = other;
    return -EEXIST;
}

void claims_release(int map, const struct steer_claim_key *key, uint32_t cluster)
{
    struct steer_claim claim;
    if (claims_find(map, key, &claim) && claim.cluster == cluster)
        bpf_map_delete_elem(map, key);
}

/* Calls for each claim; the call may delete the one that it is given. */
static void claims_each(int map,
                        bool (*call)(void *owner, const struct steer_claim_key *key,
                                     const struct steer_claim *claim),
                        void *owner)
{
    struct steer_claim_key key;
    struct steer_claim_key next;
    /* Others may add and delete meanwhile, which makes the walk start anew: it is bounded. */
    uint32_t left = 2 * STEER_CLAIMS_MAX;
    int more = bpf_map_get_next_key(map, NULL, &next);
    while (more == 0 && left-- > 0) {
        key = next;
        more = bpf_map_get_next_key(map, &key, &next);
        struct steer_claim claim;
        if (claims_find(map, &key, &claim) && !call(owner, &key, &claim))
            return;
    }
}

struct sweep {
    int map;
    uint32_t cluster;
};

static bool sweep_claim(void *owner, const struct steer_claim_key *key,
                        const struct steer_claim *claim)
{
    struct sweep *sweep = owner;
    if (claim->cluster == sweep->cluster && key->kind != STEER_CLAIM_MIGRATE_WAS)
        bpf_map_delete_elem(sweep->map, key);
    return true;
}

void claims_release_all(int map, uint32_t cluster, uint64_t netns)
{
    bool restored;
    claims_migrate_disable(map, netns, cluster, &restored);
    claims_each(map, sweep_claim, &(struct sweep){.map = map, .cluster = cluster});
}

/* ---- tcp_migrate_req ----------------------------------------------------------------------------
 */

static int migrate_read(uint32_t *ret_value)
{
    scoped_fd int fd = open(migrate_path, O_RDONLY | O_CLOEXEC);
    char digit;
    if (fd < 0 || read(fd, &digit, 1) != 1)
        return errno ? -errno : -EIO;
    *ret_value = digit == '1';
    return 0;
}

static int migrate_write(uint32_t value)
{
    scoped_fd int fd = open(migrate_path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, value ? "1" : "0", 1) != 1)
        return errno ? -errno : -EIO;
    return 0;
}

static struct steer_claim_key migrate_was_key(uint64_t netns)
{
    return (struct steer_claim_key){.netns = netns, .kind = STEER_CLAIM_MIGRATE_WAS};
}

int claims_migrate_enable(int map, uint64_t netns, uint32_t cluster, bool *ret_changed)
{
    uint32_t was;
    int error = migrate_read(&was);
    if (error)
        return error;
    struct steer_claim_key key = migrate_was_key(netns);
    struct steer_claim value = {.cluster = cluster, .owner = was};
    if (bpf_map_update_elem(map, &key, &value, BPF_NOEXIST) != 0 && errno != EEXIST)
        return -errno;
    key.kind = STEER_CLAIM_MIGRATE;
    key.value = cluster;
    value.owner = 0;
    if (bpf_map_update_elem(map, &key, &value, BPF_ANY) != 0)
        return -errno;
    error = was ? 0 : migrate_write(1);
    if (!error)
        *ret_changed = !was;
    return error;
}

struct migrate_search {
    uint64_t netns;
    bool found;
};

static bool migrate_is_needed(void *owner, const struct steer_claim_key *key,
                              const struct steer_claim *claim)
{
    (void)claim;
    struct migrate_search *search = owner;
    if (key->kind == STEER_CLAIM_MIGRATE && key->netns == search->netns)
        search->found = true;
    return !search->found;
}

int claims_migrate_disable(int map, uint64_t netns, uint32_t cluster, bool *ret_restored)
{
    *ret_restored = false;
    struct steer_claim_key key = {.netns = netns, .kind = STEER_CLAIM_MIGRATE, .value = cluster};
    if (bpf_map_delete_elem(map, &key) != 0)
        return errno == ENOENT ? 0 : -errno;
    struct migrate_search search = {.netns = netns};
    claims_each(map, migrate_is_needed, &search);
    if (search.found)
        return 0;
    key = migrate_was_key(netns);
    struct steer_claim was;
    if (!claims_find(map, &key, &was))
        return 0;
    bpf_map_delete_elem(map, &key);
    int error = migrate_write(was.owner);
    *ret_restored = error == 0;
    return error;
}
