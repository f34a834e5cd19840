#include <assert.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/scoped.h"
#include "kernel/steer_private.h"

/* The skeleton is generated code, which our warnings do not concern. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wcast-qual"
#pragma GCC diagnostic ignored "-Wshadow"
#include "steer.skel.h"
#pragma GCC diagnostic pop

enum {
    EVENT_BYTES = sizeof(struct steer_event) + 8, /* with the ring's header */
    EVENTS_PER_SLOT = 8,                          /* that may wait for a supervisor */
    EVENTS_BYTES_MIN = 64 * 1024,
    EVENTS_BYTES_MAX = 4 * 1024 * 1024,
    SOCKETS_PER_SLOT = 8,
    TARGETS_PER_SERVICE = 16,
    USES_PER_SERVICE = 32,
    ENTRIES_MIN = 1024,
    ENTRIES_MAX = 1 << 20,
};

const char *const steer_map_names[MAP_KINDS] = {
    [MAP_LAYOUT] = "layout",     [MAP_MEMBERS] = "members",     [MAP_ADDRESSES] = "addresses",
    [MAP_SOCKETS] = "sockets",   [MAP_SPREADS] = "spreads",     [MAP_SLOTS] = "slots",
    [MAP_SERVICES] = "services", [MAP_ROTATIONS] = "rotations", [MAP_TURNS] = "turns",
    [MAP_TARGETS] = "targets",   [MAP_ADDRESSED] = "addressed", [MAP_USES] = "uses",
    [MAP_EVENTS] = "events",
};

static uint32_t clamp(uint64_t value, uint32_t least, uint32_t most)
{
    return value < least ? least : value > most ? most : (uint32_t)value;
}

static uint32_t events_bytes(uint32_t slots_max)
{
    uint32_t wanted = clamp((uint64_t)slots_max * EVENTS_PER_SLOT * EVENT_BYTES, EVENTS_BYTES_MIN,
                            EVENTS_BYTES_MAX);
    uint32_t bytes = EVENTS_BYTES_MIN; /* a power of two, says the kernel */
    while (bytes < wanted)
        bytes *= 2;
    return bytes;
}

static uint32_t map_entries(enum map_kind kind, uint32_t slots, uint32_t services)
{
    switch (kind) {
    case MAP_LAYOUT:
        return 1;
    case MAP_MEMBERS:
        return slots * (1 + STEER_FORMER_MAX);
    case MAP_SLOTS:
        return slots;
    case MAP_ADDRESSES:
        return slots + services;
    case MAP_SOCKETS:
    case MAP_SPREADS:
        return clamp((uint64_t)slots * SOCKETS_PER_SLOT, ENTRIES_MIN, ENTRIES_MAX);
    case MAP_SERVICES:
    case MAP_ROTATIONS:
    case MAP_TURNS:
        return services;
    case MAP_TARGETS:
        return clamp((uint64_t)services * TARGETS_PER_SERVICE, ENTRIES_MIN, ENTRIES_MAX);
    case MAP_ADDRESSED:
        return STEER_ADDRESSED_WORDS;
    case MAP_USES:
        return clamp((uint64_t)services * USES_PER_SERVICE, ENTRIES_MIN, ENTRIES_MAX);
    case MAP_EVENTS:
        return events_bytes(slots);
    case MAP_KINDS:
        break;
    }
    assert(false);
    return 0;
}

void steer_why(char *why, size_t why_size, const char *step, int error)
{
    if (error == -EPERM || error == -EACCES)
        snprintf(why, why_size,
                 "%s: %s: the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON (and "
                 "CAP_SYS_ADMIN to mount the BPF file system) are needed",
                 step, strerror(-error));
    else if (access("/sys/kernel/btf/vmlinux", R_OK) != 0)
        snprintf(why, why_size,
                 "%s: %s: the kernel has no type information "
                 "(/sys/kernel/btf/vmlinux, CONFIG_DEBUG_INFO_BTF)",
                 step, strerror(-error));
    else if (error == -EINVAL || error == -ENOTSUP || error == -ENOSYS || error == -E2BIG)
        snprintf(why, why_size, "%s: %s: the kernel lacks what is needed; Linux 6.1 has it", step,
                 strerror(-error));
    else
        snprintf(why, why_size, "%s: %s", step, strerror(-error));
}

static int maps_size(struct steer *steer, struct steer_bpf *program)
{
    for (int kind = 0; kind < MAP_KINDS; kind++) {
        struct bpf_map *map = bpf_object__find_map_by_name(program->obj, steer_map_names[kind]);
        assert(map);
        int error = bpf_map__set_max_entries(
            map, map_entries((enum map_kind)kind, steer->slots_max, steer->services_max));
        if (error)
            return error;
    }
    return bpf_map__reuse_fd(program->maps.claims, steer->claims);
}

static int maps_pin(struct steer *steer, struct steer_bpf *program)
{
    /* The layout's pin comes last, and with all links: without it the others are rubbish. */
    for (int kind = MAP_KINDS - 1; kind >= 0; kind--) {
        struct bpf_map *map = bpf_object__find_map_by_name(program->obj, steer_map_names[kind]);
        char path[PIN_PATH_BYTES];
        if (pin_path(path, steer->folder, steer_map_names[kind]))
            return -ENAMETOOLONG;
        if (bpf_obj_pin(bpf_map__fd(map), path) != 0)
            return -errno;
    }
    return 0;
}

static struct bpf_link *link_make(const struct bpf_program *program, int cgroup, int netns,
                                  int owners)
{
    union bpf_iter_link_info over = {.map.map_fd = (uint32_t)owners};
    LIBBPF_OPTS(bpf_iter_attach_opts, options, .link_info = &over, .link_info_len = sizeof over);
    switch ((int)bpf_program__type(program)) {
    case BPF_PROG_TYPE_SK_LOOKUP:
        return bpf_program__attach_netns(program, netns);
    case BPF_PROG_TYPE_TRACING: /* an iterator: it runs when it is read */
        return bpf_program__attach_iter(program, &options);
    default:
        return bpf_program__attach_cgroup(program, cgroup);
    }
}

static int program_attach(struct steer *steer, struct bpf_program *program, int cgroup, int netns,
                          int owners)
{
    struct bpf_link *link = link_make(program, cgroup, netns, owners);
    if (!link)
        return -errno;
    char name[64];
    char path[PIN_PATH_BYTES];
    snprintf(name, sizeof name, "link_%s", bpf_program__name(program));
    int error = pin_path(path, steer->folder, name);
    if (!error)
        error = bpf_link__pin(link, path);
    bpf_link__destroy(link);
    return error;
}

static int programs_attach(struct steer *steer, struct steer_bpf *program, const char *cgroup_path)
{
    scoped_fd int cgroup = open(cgroup_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    scoped_fd int netns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (cgroup < 0 || netns < 0)
        return -errno;
    struct bpf_program *each;
    bpf_object__for_each_program(each, program->obj)
    {
        int error = program_attach(steer, each, cgroup, netns, bpf_map__fd(program->maps.owners));
        if (error)
            return error;
    }
    return 0;
}

static int layout_store(const struct steer_bpf *program, const struct steer_layout *layout)
{
    uint32_t zero = 0;
    return bpf_map_update_elem(bpf_map__fd(program->maps.layout), &zero, layout, BPF_ANY) == 0
               ? 0
               : -errno;
}

int steer_load(struct steer *steer, const char *cgroup_path, const struct steer_layout *layout,
               char *why, size_t why_size)
{
    const char *step = "opening the BPF programs";
    struct steer_bpf *program = steer_bpf__open();
    int error = program ? 0 : -errno;
    if (!error) {
        step = "sizing the BPF maps";
        program->rodata->cluster_number = steer->cluster;
        error = maps_size(steer, program);
    }
    if (!error) {
        step = "loading the BPF programs";
        error = steer_bpf__load(program);
    }
    if (!error)
        error = layout_store(program, layout);
    if (!error) {
        step = "attaching the BPF programs";
        error = mkdir(steer->folder, 0700) == 0 ? 0 : -errno;
    }
    if (!error)
        error = programs_attach(steer, program, cgroup_path);
    if (!error) {
        step = "pinning the BPF maps";
        error = maps_pin(steer, program);
    }
    steer_bpf__destroy(program);
    /* libbpf had the whole kernel's type information in memory. */
    malloc_trim(0);
    if (error) {
        steer_why(why, why_size, step, error);
        pins_remove(steer->folder);
    }
    return error;
}
