#include "kernel/steer.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/scoped.h"
#include "base/table.h"
#include "kernel/claims.h"
#include "kernel/listeners.h"
#include "kernel/sockets.h"
#include "kernel/steer_private.h"

enum {
    EVENTS_PER_CALL_MAX = 256,
    SLOTS_LIMIT = 1 << 20,
    NO_MEMORY_TRIES = 16,
    ADDRESSED_BYTES = STEER_ADDRESSED_WORDS * sizeof(uint64_t),
};

/* ---- opening ------------------------------------------------------------------------------------
 */

static int pinned_map(const struct steer *steer, enum map_kind kind)
{
    char path[PIN_PATH_BYTES];
    int error = pin_path(path, steer->folder, steer_map_names[kind]);
    if (error)
        return error;
    int fd = bpf_obj_get(path);
    return fd < 0 ? -errno : fd;
}

/* Are there pins that serve `wanted`? */
static bool pins_fit(struct steer *steer, const struct steer_layout *wanted)
{
    scoped_fd int fd = pinned_map(steer, MAP_LAYOUT);
    struct bpf_map_info info = {0};
    uint32_t size = sizeof info;
    uint32_t zero = 0;
    struct steer_layout found;
    if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &size) != 0 ||
        info.value_size != sizeof found || bpf_map_lookup_elem(fd, &zero, &found) != 0)
        return false;
    if (found.version != wanted->version || found.cluster != wanted->cluster ||
        found.netns != wanted->netns || found.cgroup_id != wanted->cgroup_id ||
        found.slots_max < wanted->slots_max || found.services_max < wanted->services_max)
        return false;
    steer->slots_max = found.slots_max;
    steer->services_max = found.services_max;
    return true;
}

static size_t slots_bytes(const struct steer *steer)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (steer->slots_max * sizeof(struct steer_slot) + page - 1) / page * page;
}

static int map_shared(const struct steer *steer, enum map_kind kind, size_t bytes, void **ret)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, steer->maps[kind], 0);
    if (at == MAP_FAILED)
        return -errno;
    *ret = at;
    return 0;
}

static int event_received(void *owner, void *data, size_t size)
{
    struct steer *steer = owner;
    if (size >= sizeof(struct steer_event))
        steer->call(steer->call_owner, data);
    return --steer->call_left > 0 ? 0 : -ECANCELED;
}

static int pins_open(struct steer *steer)
{
    for (int kind = 0; kind < MAP_KINDS; kind++) {
        int fd = pinned_map(steer, (enum map_kind)kind);
        if (fd < 0)
            return fd;
        steer->maps[kind] = fd;
    }
    char path[PIN_PATH_BYTES];
    if (pin_path(path, steer->folder, "link_steer_settle") != 0)
        return -ENAMETOOLONG;
    steer->settle = bpf_obj_get(path);
    if (steer->settle < 0)
        return -errno;
    int error = map_shared(steer, MAP_SLOTS, slots_bytes(steer), (void **)&steer->slots);
    if (!error)
        error = map_shared(steer, MAP_ADDRESSED, ADDRESSED_BYTES, (void **)&steer->addressed);
    if (error)
        return error;
    steer->ring = ring_buffer__new(steer->maps[MAP_EVENTS], event_received, steer, NULL);
    return steer->ring ? 0 : -errno;
}

static struct steer *steer_new(const struct steer_options *options)
{
    struct steer *steer = calloc(1, sizeof *steer);
    if (!steer)
        return NULL;
    for (int kind = 0; kind < MAP_KINDS; kind++)
        steer->maps[kind] = -1;
    steer->claims = -1;
    steer->settle = steer->attendant[0] = steer->attendant[1] = -1;
    steer->cluster = claims_cluster_number(options->cluster);
    steer->netns = sockets_netns_cookie();
    steer->slots_max = options->slots_max;
    steer->services_max = options->services_max;
    return steer;
}

static int paths_set(struct steer *steer, const char *mount, const char *cluster)
{
    int error = pin_path(steer->root, mount ? mount : PIN_MOUNT, "enginx");
    if (!error)
        error = pin_path_of_name(steer->folder, steer->root, cluster);
    if (!error)
        error = pin_path(steer->claims_path, steer->root, "claims");
    if (!error)
        error = pin_path(steer->listeners_path, steer->root, "listeners");
    return error;
}

/* What all clusters share, when none needs it any more. */
static void shared_pins_remove(const struct steer *steer)
{
    claims_remove_if_empty(steer->claims_path);
    if (!pins_any_folder(steer->root))
        unlink(steer->listeners_path);
}

static int open_locked(struct steer *steer, const struct steer_options *options, bool *ret_adopted,
                       char *why, size_t why_size)
{
    struct stat cgroup;
    if (stat(options->cgroup_path, &cgroup) != 0) {
        int error = -errno;
        snprintf(why, why_size, "%s: %s", options->cgroup_path, strerror(-error));
        return error;
    }
    int error = claims_open(steer->claims_path, &steer->claims);
    if (error) {
        steer_why(why, why_size, steer->claims_path, error);
        return error;
    }
    steer->unmended = listeners_mend(steer->listeners_path);
    struct steer_layout layout = {.version = STEER_LAYOUT_VERSION,
                                  .slots_max = steer->slots_max,
                                  .services_max = steer->services_max,
                                  .cluster = steer->cluster,
                                  .netns = steer->netns,
                                  .cgroup_id = cgroup.st_ino};
    *ret_adopted = pins_fit(steer, &layout);
    if (*ret_adopted && pins_open(steer) == 0)
        return 0;
    *ret_adopted = false;
    for (int kind = 0; kind < MAP_KINDS; kind++)
        fd_drop(&steer->maps[kind]);
    fd_drop(&steer->settle);
    pins_remove(steer->folder);
    claims_release_all(steer->claims, steer->cluster, steer->netns);
    steer->slots_max = options->slots_max;
    steer->services_max = options->services_max;
    error = steer_load(steer, options->cgroup_path, &layout, why, why_size);
    if (error)
        return error;
    error = pins_open(steer);
    if (error) {
        steer_why(why, why_size, "opening the BPF maps", error);
        pins_remove(steer->folder);
    }
    return error;
}

__attribute__((format(printf, 2, 0))) static int log_libbpf(enum libbpf_print_level level,
                                                            const char *format, va_list arguments)
{
    if (level == LIBBPF_DEBUG)
        return 0;
    char line[512];
    char text[600];
    int length = vsnprintf(line, sizeof line, format, arguments);
    log_debug("libbpf", "text=%s", log_text(line, text, sizeof text));
    return length;
}

int steer_open(const struct steer_options *options, struct steer **ret_steer, bool *ret_adopted,
               char *why, size_t why_size)
{
    assert(options->slots_max > 0 && options->slots_max <= SLOTS_LIMIT);
    assert(options->services_max > 0 && options->services_max <= SLOTS_LIMIT);
    libbpf_set_print(log_libbpf);
    const char *mount = options->bpf_mount ? options->bpf_mount : PIN_MOUNT;
    int error = pins_mount(mount);
    if (error) {
        steer_why(why, why_size, mount, error);
        return error;
    }
    struct steer *steer = steer_new(options);
    if (!steer)
        return -ENOMEM;
    error = paths_set(steer, mount, options->cluster);
    if (error) {
        snprintf(why, why_size, "%s: %s", options->cluster, strerror(-error));
        steer_close(steer);
        return error;
    }
    int lock = pins_lock(steer->root);
    if (lock < 0) {
        error = lock;
        steer_why(why, why_size, steer->root, error);
    } else {
        error = open_locked(steer, options, ret_adopted, why, why_size);
        if (error)
            shared_pins_remove(steer);
        pins_unlock(steer->root, lock);
    }
    if (error) {
        steer_close(steer);
        return error;
    }
    *ret_steer = steer;
    return 0;
}

void steer_close(struct steer *steer)
{
    if (!steer)
        return;
    ring_buffer__free(steer->ring);
    if (steer->slots)
        munmap(steer->slots, slots_bytes(steer));
    if (steer->addressed)
        munmap(steer->addressed, ADDRESSED_BYTES);
    for (int kind = 0; kind < MAP_KINDS; kind++)
        fd_drop(&steer->maps[kind]);
    fd_drop(&steer->claims);
    fd_drop(&steer->settle);
    fd_drop(&steer->attendant[0]);
    fd_drop(&steer->attendant[1]);
    free(steer);
}

/* Needs of `steer` the paths and numbers only. */
static void pins_and_claims_remove(struct steer *steer)
{
    if (access(steer->root, F_OK) != 0)
        return;
    int lock = pins_lock(steer->root);
    if (lock < 0)
        return;
    pins_remove(steer->folder);
    scoped_fd int claims = bpf_obj_get(steer->claims_path);
    if (claims >= 0)
        claims_release_all(claims, steer->cluster, steer->netns);
    shared_pins_remove(steer);
    pins_unlock(steer->root, lock);
}

void steer_destroy(struct steer *steer)
{
    if (!steer)
        return;
    pins_and_claims_remove(steer);
    steer_close(steer);
}

void steer_remove(const char *bpf_mount, const char *cluster)
{
    struct steer_options options = {.cluster = cluster};
    struct steer *steer = steer_new(&options);
    if (steer && paths_set(steer, bpf_mount, cluster) == 0)
        pins_and_claims_remove(steer);
    steer_close(steer);
}

/* ---- maps ---------------------------------------------------------------------------------------
 */

/* The kernel's allocator for map entries refills itself a moment later; large entries can meet it
 * empty. */
static int map_set_flags(const struct steer *steer, enum map_kind kind, const void *key,
                         const void *value, uint64_t flags)
{
    for (int tries = 0; tries < NO_MEMORY_TRIES; tries++) {
        if (bpf_map_update_elem(steer->maps[kind], key, value, flags) == 0)
            return 0;
        if (errno != ENOMEM)
            break;
    }
    return -errno;
}

int steer_map_set(const struct steer *steer, enum map_kind kind, const void *key, const void *value)
{
    return map_set_flags(steer, kind, key, value, BPF_ANY);
}

int steer_map_remove(const struct steer *steer, enum map_kind kind, const void *key)
{
    return bpf_map_delete_elem(steer->maps[kind], key) == 0 ? 0 : -errno;
}

/* All entries are filled, round and round: a program that reads while this is written, or still has
 * the old count, finds a member at every index. */
static void slots_fill(uint32_t *ret_slots, uint32_t size, const uint32_t *slots, uint32_t count)
{
    for (uint32_t i = 0; i < size; i++)
        ret_slots[i] = slots[i % count];
}

static int rotation_large_set(struct steer *steer, uint32_t service, const uint32_t *slots,
                              uint32_t count)
{
    struct steer_rotation_large *large = malloc(sizeof *large);
    if (!large)
        return -ENOMEM;
    slots_fill(large->slots, STEER_ROTATION_LARGE, slots, count);
    int error = steer_map_set(steer, MAP_ROTATIONS, &service, large);
    free(large);
    return error;
}

int steer_rotation_set(struct steer *steer, uint32_t service, enum steer_policy policy,
                       const uint32_t *slots, uint32_t count)
{
    assert(service < steer->services_max);
    if (count > STEER_ROTATION_LARGE)
        return -E2BIG;
    struct steer_rotation rotation;
    if (bpf_map_lookup_elem(steer->maps[MAP_SERVICES], &service, &rotation) != 0)
        return -errno;
    rotation.policy = policy;
    rotation.count = count;
    if (count > 0) /* else those of before stay, for who has read the old count */
        slots_fill(rotation.slots, STEER_ROTATION_SMALL, slots, count);
    if (count > STEER_ROTATION_SMALL) {
        int error = rotation_large_set(steer, service, slots, count);
        if (error)
            return error;
    }
    int error = steer_map_set(steer, MAP_SERVICES, &service, &rotation);
    if (!error && count <= STEER_ROTATION_SMALL)
        steer_map_remove(steer, MAP_ROTATIONS, &service); /* if there was one */
    return error;
}

static bool address_is_ours(uint32_t address) /* 127.64.0.0/10 */
{
    return address >> 22 == (127u << 2 | 1);
}

int steer_target_set(struct steer *steer, const struct steer_target_key *key,
                     const struct steer_target *target)
{
    assert(target->service < steer->services_max || target->flags & STEER_TARGET_GATE);
    if (key->family && !address_is_ours(key->address))
        __atomic_fetch_or(&steer->addressed[key->port / STEER_ADDRESSED_BITS],
                          1ull << key->port % STEER_ADDRESSED_BITS, __ATOMIC_SEQ_CST);
    return steer_map_set(steer, MAP_TARGETS, key, target);
}

int steer_target_remove(struct steer *steer, const struct steer_target_key *key)
{
    return steer_map_remove(steer, MAP_TARGETS, key);
}

int steer_home_set(struct steer *steer, uint32_t home)
{
    static const uint32_t home_mark = STEER_SLOT_HOME;
    return steer_map_set(steer, MAP_ADDRESSES, &home, &home_mark);
}

int steer_home_remove(struct steer *steer, uint32_t home)
{
    return steer_map_remove(steer, MAP_ADDRESSES, &home);
}

int steer_use_set(struct steer *steer, const struct steer_use_key *key, uint32_t home)
{
    return steer_map_set(steer, MAP_USES, key, &home);
}

int steer_use_remove(struct steer *steer, const struct steer_use_key *key)
{
    return steer_map_remove(steer, MAP_USES, key);
}

/* ---- events and sockets
 * -------------------------------------------------------------------------- */

int steer_events_fd(const struct steer *steer)
{
    return ring_buffer__epoll_fd(steer->ring);
}

void steer_events_take(struct steer *steer, steer_event_call *call, void *owner)
{
    steer->call = call;
    steer->call_owner = owner;
    steer->call_left = EVENTS_PER_CALL_MAX;
    ring_buffer__consume(steer->ring);
}

uint64_t steer_events_lost(const struct steer *steer)
{
    uint32_t zero = 0;
    struct steer_layout layout = {0};
    bpf_map_lookup_elem(steer->maps[MAP_LAYOUT], &zero, &layout);
    return layout.lost;
}

int steer_udp_add(struct steer *steer, uint32_t slot, uint16_t port, uint8_t family, int fd)
{
    assert(family == 4 || family == 6);
    struct steer_socket_key key = {
        .slot = slot, .port = port, .protocol = STEER_UDP, .family = family};
    struct steer_socket_key spread = key;
    uint64_t value = (uint64_t)fd;
    int error = -ENOSPC;
    for (key.ordinal = 0; key.ordinal < STEER_LISTENERS_PER_PORT; key.ordinal++) {
        error = map_set_flags(steer, MAP_SOCKETS, &key, &value, BPF_NOEXIST);
        if (error != -EEXIST)
            break;
    }
    if (error)
        return error;
    if (key.ordinal > 0)
        __atomic_store_n(&steer->slots[slot].several, 1, __ATOMIC_SEQ_CST);
    uint32_t count = key.ordinal + 1;
    uint32_t known;
    if (bpf_map_lookup_elem(steer->maps[MAP_SPREADS], &spread, &known) == 0 && known >= count)
        return 0;
    return steer_map_set(steer, MAP_SPREADS, &spread, &count);
}

/* The kernel looks at each packet whether the socket may have its family. 0 or -errno. */
static int gate_socket_set(const struct steer *steer, uint32_t slot, uint16_t port, uint8_t family,
                           int fd)
{
    struct steer_socket_key key = {
        .slot = slot, .port = port, .protocol = STEER_TCP, .family = family};
    uint64_t value = (uint64_t)fd;
    return steer_map_set(steer, MAP_SOCKETS, &key, &value);
}

int steer_gate_set(struct steer *steer, const struct steer_target_key *key, int fd)
{
    uint64_t place = hash_bytes(key->address6, sizeof key->address6, hash_seed());
    place = hash_bytes(&key->address, sizeof key->address, place);
    uint32_t slot = STEER_GATE_FIRST | (uint32_t)(place >> 8);
    struct steer_target target = {.service = slot, .port = key->port, .flags = STEER_TARGET_GATE};
    int error = key->family == 6 ? 0 : gate_socket_set(steer, slot, key->port, 4, fd);
    if (!error && key->family != 4)
        error = gate_socket_set(steer, slot, key->port, 6, fd);
    return error ? error : steer_target_set(steer, key, &target);
}

int steer_waiting_set(struct steer *steer, uint32_t slot, uint16_t port, uint8_t family, int fd)
{
    assert(slot < steer->slots_max && (family == 4 || family == 6));
    struct steer_socket_key key = {
        .slot = STEER_WAITING | slot, .port = port, .protocol = STEER_TCP, .family = family};
    uint64_t value = (uint64_t)fd;
    uint32_t one = 1;
    int error = steer_map_set(steer, MAP_SOCKETS, &key, &value);
    return error ? error : steer_map_set(steer, MAP_SPREADS, &key, &one);
}

void steer_listener_remove(struct steer *steer, uint32_t slot, uint16_t port, uint64_t cookie)
{
    for (unsigned family = 4; family <= 6; family += 2) {
        struct steer_socket_key key = {
            .slot = slot, .port = port, .protocol = STEER_TCP, .family = (uint8_t)family};
        uint32_t count = 0;
        bpf_map_lookup_elem(steer->maps[MAP_SPREADS], &key, &count);
        for (key.ordinal = 0; key.ordinal < count; key.ordinal++) {
            uint64_t there;
            if (bpf_map_lookup_elem(steer->maps[MAP_SOCKETS], &key, &there) == 0 && there == cookie)
                steer_map_remove(steer, MAP_SOCKETS, &key);
        }
    }
}

bool steer_has_listener(struct steer *steer, uint32_t slot, uint8_t protocol, uint16_t port,
                        uint8_t family)
{
    struct steer_socket_key key = {
        .slot = slot, .port = port, .protocol = protocol, .family = family};
    uint32_t count = 0;
    if (bpf_map_lookup_elem(steer->maps[MAP_SPREADS], &key, &count) != 0)
        return false;
    for (key.ordinal = 0; key.ordinal < count; key.ordinal++) {
        uint64_t cookie;
        if (bpf_map_lookup_elem(steer->maps[MAP_SOCKETS], &key, &cookie) == 0)
            return true;
    }
    return false;
}

void steer_sockets_each(struct steer *steer, steer_socket_call *call, void *owner)
{
    struct steer_socket_key spread;
    struct steer_socket_key *last = NULL;
    struct steer_socket_key next;
    while (bpf_map_get_next_key(steer->maps[MAP_SPREADS], last, &next) == 0) {
        spread = next;
        last = &spread;
        uint32_t count = 0;
        bpf_map_lookup_elem(steer->maps[MAP_SPREADS], &spread, &count);
        for (next.ordinal = 0; next.ordinal < count; next.ordinal++) {
            uint64_t cookie;
            if (bpf_map_lookup_elem(steer->maps[MAP_SOCKETS], &next, &cookie) == 0)
                call(owner, &next, cookie);
        }
    }
}

/* ---- claims -------------------------------------------------------------------------------------
 */

static struct steer_claim_key claim_key(const struct steer *steer, enum steer_claim_kind kind,
                                        uint32_t value)
{
    return (struct steer_claim_key){.netns = steer->netns, .kind = kind, .value = value};
}

int steer_claim(struct steer *steer, enum steer_claim_kind kind, uint32_t value, uint32_t owner,
                struct steer_claim *ret_other)
{
    struct steer_claim_key key = claim_key(steer, kind, value);
    struct steer_claim claim = {.cluster = steer->cluster, .owner = owner};
    return claims_take(steer->claims, &key, &claim, ret_other);
}

bool steer_claim_find(const struct steer *steer, enum steer_claim_kind kind, uint32_t value,
                      struct steer_claim *ret_claim)
{
    struct steer_claim_key key = claim_key(steer, kind, value);
    return claims_find(steer->claims, &key, ret_claim);
}

void steer_release(struct steer *steer, enum steer_claim_kind kind, uint32_t value)
{
    struct steer_claim_key key = claim_key(steer, kind, value);
    claims_release(steer->claims, &key, steer->cluster);
}

uint32_t steer_cluster_number(const struct steer *steer)
{
    return steer->cluster;
}

int steer_migrate_enable(struct steer *steer, bool *ret_changed)
{
    return claims_migrate_enable(steer->claims, steer->netns, steer->cluster, ret_changed);
}

int steer_migrate_disable(struct steer *steer, bool *ret_restored)
{
    return claims_migrate_disable(steer->claims, steer->netns, steer->cluster, ret_restored);
}
