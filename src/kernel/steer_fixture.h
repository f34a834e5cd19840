/* The fixture of steer_test.c and steer_count_test.c: one steer with instances that are tiny
 * servers, and the words that its tests are written in. */
#pragma once

#include "kernel/steer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/scoped.h"
#include "kernel/steer_rig.h"

enum {
    PORT = 3000,
    SLOTS = 64,
    EVENT_WITHIN_MS = 3000,
    HOME = 0x7f560101,  /* 127.86.1.1: service 0 */
    OTHER = 0x7f560102, /* 127.86.1.2: service 1 */
    NOBODY = 65534,
};
#define HOME_TEXT  "127.86.1.1"
#define OTHER_TEXT "127.86.1.2"

static struct rig *rig;
static struct steer *steer;
static struct rig_instance instances[SLOTS];
static struct steer_event seen[512];
static size_t seen_count;
static uint32_t epoch = 1;

static inline const struct steer_options *options(void)
{
    static struct steer_options values;
    values = (struct steer_options){.cluster = "test",
                                    .bpf_mount = rig->bpf_mount,
                                    .cgroup_path = rig->cgroup,
                                    .slots_max = SLOTS,
                                    .services_max = 4};
    return &values;
}

static inline int setup(void **state)
{
    (void)state;
    bool adopted = true;
    char why[256] = "";
    seen_count = 0;
    memset(instances, 0, sizeof instances);
    int error = steer_open(options(), &steer, &adopted, why, sizeof why);
    if (error)
        print_message("# %s\n", why);
    return error || adopted;
}

static inline int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < SLOTS; i++)
        rig_instance_remove(&instances[i]);
    steer_destroy(steer);
    steer = NULL;
    return 0;
}

static inline void event_note(void *owner, const struct steer_event *event)
{
    (void)owner;
    assert_true(seen_count < 512);
    seen[seen_count++] = *event;
}

static inline const struct steer_event *event_wait(enum steer_event_kind kind, uint32_t slot,
                                                   uint32_t of_epoch)
{
    for (int waited = 0; waited < EVENT_WITHIN_MS; waited += 10) {
        steer_events_take(steer, event_note, NULL);
        for (size_t i = 0; i < seen_count; i++)
            if (seen[i].kind == kind && seen[i].slot == slot && seen[i].epoch == of_epoch)
                return &seen[i];
        struct pollfd events = {.fd = steer_events_fd(steer), .events = POLLIN};
        poll(&events, 1, 10);
    }
    fail_msg("no event %d of slot %u", kind, slot);
    return NULL;
}

static uint32_t address_of(uint32_t slot)
{
    return 0x7f4d0101 + slot; /* 127.77.1.1 … */
}

static inline const char *text_of(uint32_t slot)
{
    static char text[32];
    snprintf(text, sizeof text, "127.77.1.%u", slot + 1);
    return text;
}

static inline void start_as(uint32_t slot, uint32_t service, const struct rig_server *server,
                            uint32_t flags)
{
    rig_instance_cgroup(rig, &instances[slot], slot);
    struct steer_member member = {.slot = slot,
                                  .service = service,
                                  .address = address_of(slot),
                                  .home = service == 0 ? HOME : OTHER,
                                  .epoch = epoch,
                                  .flags = flags};
    assert_int_equal(steer_member_set(steer, instances[slot].cgroup_id, &member), 0);
    rig_instance_start(&instances[slot], server, slot);
    assert_int_equal(instances[slot].error, 0);
    if (server->kind != RIG_NONE && server->kind != RIG_UDP && !server->is_late)
        event_wait(STEER_EVENT_LISTEN, slot, epoch);
}

static inline void start(uint32_t slot, const struct rig_server *server)
{
    start_as(slot, 0, server, 0);
}

static inline void start_four(enum rig_listen kind)
{
    struct rig_server server = {.kind = kind, .port = PORT};
    for (uint32_t slot = 0; slot < 4; slot++)
        start(slot, &server);
}

static inline void target(uint32_t address, uint16_t at, uint32_t service, uint16_t port,
                          uint16_t flags, uint8_t protocol)
{
    struct steer_target_key key = {
        .address = address, .port = at, .protocol = protocol, .family = address ? 4 : 0};
    struct steer_target value = {.service = service, .port = port, .flags = flags};
    assert_int_equal(steer_target_set(steer, &key, &value), 0);
}

static inline void rotate(uint32_t service, enum steer_policy policy, uint32_t first,
                          uint32_t count)
{
    uint32_t slots[SLOTS];
    for (uint32_t i = 0; i < count; i++)
        slots[i] = first + i;
    assert_int_equal(steer_rotation_set(steer, service, policy, slots, count), 0);
}

/* Connects `count` times, closing or (with `held`) keeping each, and counts who answers. */
static inline void connect_many(const char *address, uint16_t port, int count, int *held,
                                int *ret_counts)
{
    memset(ret_counts, 0, SLOTS * sizeof *ret_counts);
    for (int i = 0; i < count; i++) {
        int fd = -1;
        int who = rig_connect(address, port, &fd);
        assert_in_range(who, 0, SLOTS - 1);
        ret_counts[who]++;
        if (held)
            held[i] = fd;
        else
            close(fd);
    }
}

static inline void live_wait(uint32_t slot, int64_t expected)
{
    int64_t live = -1;
    uint64_t total;
    for (int waited = 0; waited < EVENT_WITHIN_MS; waited += 5) {
        steer_counts(steer, slot, &live, &total);
        if (live == expected)
            return;
        usleep(5000);
    }
    fail_msg("slot %u has %ld connections, not %ld", slot, (long)live, (long)expected);
}
