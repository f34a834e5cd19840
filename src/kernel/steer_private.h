/* What the files of kernel/steer.h share: steer.c (opening, and what is asked of the maps),
 * steer_members.c (who is who, and their counts), steer_settle.c (listeners that open) and
 * steer_load.c (bringing programs and maps into the kernel). */
#pragma once

#include "kernel/pins.h"
#include "kernel/steer.h"

enum map_kind {
    MAP_LAYOUT,
    MAP_MEMBERS,
    MAP_ADDRESSES,
    MAP_SOCKETS,
    MAP_SPREADS,
    MAP_SLOTS,
    MAP_SERVICES,
    MAP_ROTATIONS,
    MAP_TURNS,
    MAP_TARGETS,
    MAP_ADDRESSED,
    MAP_USES,
    MAP_EVENTS,
    MAP_KINDS,
};

extern const char *const steer_map_names[MAP_KINDS];

struct steer {
    char root[PIN_PATH_BYTES];   /* the folder of all clusters */
    char folder[PIN_PATH_BYTES]; /* of this one, in it */
    char claims_path[PIN_PATH_BYTES];
    char listeners_path[PIN_PATH_BYTES];
    int unmended; /* why listeners do not answer as they should: -errno; 0: they do */
    uint32_t cluster;
    uint64_t netns;
    uint32_t slots_max;
    uint32_t services_max;
    int maps[MAP_KINDS];
    int claims;
    int settle;               /* the link of steer_settle */
    int attendant[2];         /* a socket pair; the first is in `sockets` */
    struct steer_slot *slots; /* mapped, as is the next */
    uint64_t *addressed;
    struct ring_buffer *ring;
    steer_event_call *call; /* while events are being taken */
    void *call_owner;
    int call_left;
};

/* Loads, attaches and pins; the descriptors are closed again, the pins hold everything. */
int steer_load(struct steer *steer, const char *cgroup_path, const struct steer_layout *layout,
               char *why, size_t why_size);

int steer_map_set(const struct steer *steer, enum map_kind kind, const void *key,
                  const void *value);
int steer_map_remove(const struct steer *steer, enum map_kind kind, const void *key);

/* What the caller can tell a person about a failure of `step`. */
void steer_why(char *why, size_t why_size, const char *step, int error);
