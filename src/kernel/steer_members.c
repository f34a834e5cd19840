/* A start of an instance has a cgroup and an epoch of its own. Its connections are found by the
 * cgroup that their listener was made in, and its slot counts them from zero.
 *
 * But for one case: it died, the slot's listener was kept, and what waits there (and was counted
 * when it came) goes to the next start. Then the count goes on, and the old cgroup still belongs to
 * the slot: the dead program has no connections, so what is open in the count is what waits. */
#include <assert.h>
#include <bpf/bpf.h>
#include <string.h>

#include "kernel/steer_private.h"

/* The `most` oldest. */
static void former_forget(struct steer *steer, struct steer_slot *slot, uint32_t most)
{
    assert(slot->former_count <= STEER_FORMER_MAX);
    uint32_t count = most < slot->former_count ? most : slot->former_count;
    for (uint32_t i = 0; i < count; i++)
        steer_map_remove(steer, MAP_MEMBERS, &slot->former[i]);
    slot->former_count -= count;
    memmove(slot->former, slot->former + count, slot->former_count * sizeof slot->former[0]);
}

/* The oldest is forgotten when there are too many: to leave something behind, a connection would
 * have to wait through all of them. */
static void count_go_on(struct steer *steer, struct steer_slot *slot, uint64_t cgroup_id)
{
    struct steer_count *count = &slot->counts[slot->counting & 1];
    slot->before = __atomic_load_n(&count->ended, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&count->begun, __ATOMIC_SEQ_CST) == slot->before)
        former_forget(steer, slot, STEER_FORMER_MAX); /* nothing of theirs is left */
    else if (slot->former_count == STEER_FORMER_MAX)
        former_forget(steer, slot, 1);
    if (slot->cgroup_id != cgroup_id)
        slot->former[slot->former_count++] = slot->cgroup_id;
}

static void count_anew(struct steer *steer, struct steer_slot *slot, uint64_t cgroup_id)
{
    struct steer_count *count = &slot->counts[(slot->counting + 1) & 1];
    former_forget(steer, slot, STEER_FORMER_MAX);
    if (slot->cgroup_id && slot->cgroup_id != cgroup_id)
        steer_map_remove(steer, MAP_MEMBERS, &slot->cgroup_id);
    slot->before = 0;
    /* The number last: until then nobody counts here. */
    __atomic_store_n(&count->begun, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&count->ended, 0, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&slot->counting, 1, __ATOMIC_SEQ_CST);
}

static void slot_begin(struct steer *steer, uint64_t cgroup_id, const struct steer_member *member)
{
    struct steer_slot *slot = &steer->slots[member->slot];
    if (slot->epoch == member->epoch && slot->cgroup_id == cgroup_id)
        return;
    if (member->flags & STEER_MEMBER_CONTINUES && slot->cgroup_id)
        count_go_on(steer, slot, cgroup_id);
    else
        count_anew(steer, slot, cgroup_id);
    slot->cgroup_id = cgroup_id;
    slot->epoch = member->epoch;
}

int steer_member_set(struct steer *steer, uint64_t cgroup_id, const struct steer_member *member)
{
    assert(member->slot < steer->slots_max && member->service < steer->services_max);
    static const uint32_t home_mark = STEER_SLOT_HOME;
    struct steer_member counted = *member;
    slot_begin(steer, cgroup_id, member);
    counted.counting = steer->slots[member->slot].counting;
    int error = steer_map_set(steer, MAP_ADDRESSES, &member->home, &home_mark);
    if (!error)
        error = steer_map_set(steer, MAP_ADDRESSES, &member->address, &member->slot);
    if (!error)
        error = steer_map_set(steer, MAP_MEMBERS, &cgroup_id, &counted);
    return error;
}

int steer_guest_set(struct steer *steer, uint64_t cgroup_id, uint32_t service)
{
    assert(service < steer->services_max);
    struct steer_member guest = {.slot = STEER_SLOT_GUEST, .service = service};
    return steer_map_set(steer, MAP_MEMBERS, &cgroup_id, &guest);
}

int steer_guest_remove(struct steer *steer, uint64_t cgroup_id)
{
    return steer_map_remove(steer, MAP_MEMBERS, &cgroup_id);
}

/* What it leaves (connections that went to a sibling before it accepted them) counts no more. */
static void slot_end(struct steer *steer, struct steer_slot *slot)
{
    struct steer_count *count = &slot->counts[slot->counting & 1];
    former_forget(steer, slot, STEER_FORMER_MAX);
    slot->cgroup_id = 0;
    __atomic_store_n(&count->ended, __atomic_load_n(&count->begun, __ATOMIC_SEQ_CST),
                     __ATOMIC_SEQ_CST);
}

int steer_member_remove(struct steer *steer, uint64_t cgroup_id, uint32_t address)
{
    struct steer_member member;
    bool known = bpf_map_lookup_elem(steer->maps[MAP_MEMBERS], &cgroup_id, &member) == 0;
    int error = steer_map_remove(steer, MAP_MEMBERS, &cgroup_id);
    int other = steer_map_remove(steer, MAP_ADDRESSES, &address);
    if (known && steer->slots[member.slot].cgroup_id == cgroup_id)
        slot_end(steer, &steer->slots[member.slot]);
    return error ? error : other;
}

void steer_counts(const struct steer *steer, uint32_t slot, int64_t *ret_live, uint64_t *ret_total)
{
    assert(slot < steer->slots_max);
    const struct steer_slot *counters = &steer->slots[slot];
    uint32_t counting = __atomic_load_n(&counters->counting, __ATOMIC_RELAXED);
    const struct steer_count *count = &counters->counts[counting & 1];
    /* In this order none ends before it began. */
    uint64_t ended = __atomic_load_n(&count->ended, __ATOMIC_ACQUIRE);
    uint64_t begun = __atomic_load_n(&count->begun, __ATOMIC_ACQUIRE);
    *ret_live = begun > ended ? (int64_t)(begun - ended) : 0;
    *ret_total = begun - counters->before;
}
