/* The inside of a share: a group of sockets, and the program that chooses among them. Only for
 * share.c, which keeps the members, and share_group.c, which writes the program. */
#pragma once

#include "steering/share.h"

struct share_group {
    struct share_group *next;
    struct share_address bound;
    struct share_member **members; /* in the kernel's order: members[i] has index i */
    size_t count;
    size_t places;
    size_t too_long; /* from so many members on the program with all own addresses is; 0: unknown */
    bool attached;   /* it has a program */
    bool recalled;   /* found without names, so the order is a guess; not settled yet */
    bool pending;    /* in the share's list */
    bool concerned;  /* by the change that is being carried out */
    struct share_group *next_pending;
};

struct share {
    struct share_setup setup;
    struct share_group *groups;
    struct share_group *pending; /* whose programs are attached at the end of the turn */
    struct deferred attach;
    struct share_member *leaving; /* at the end of the turn */
    struct deferred leave;
    struct share_member **of_slot;    /* first of each slot's list */
    struct share_member **of_service; /* first of each service's list */
    uint32_t *slot_seen;              /* by slot: the walk that last came by one of its members */
    uint32_t *service_seen;           /* the same by service; the last entry is nobody's */
    uint32_t walk;
    uint32_t ordinal_next;
    uint32_t loopback; /* interface number */
    bool sinks;        /* are needed */
};

static inline bool share_group_has_sink(const struct share_group *group)
{
    return group->count && group->members[0]->sink;
}
/* Its instance's, as the supervisor has set it. */
static inline uint32_t share_member_weight(const struct share_member *member)
{
    return member->slot == SHARE_NO_SLOT ? 0 : member->share->setup.slots[member->slot].weight;
}
/* Members, their state or their weights changed: attaches the program anew. */
void share_group_changed(struct share *share, struct share_group *group);
/* The same at the end of the turn, once for all changes until then: for those that leave every
 * member where the program that is attached has it. When a thousand instances start, that is a few
 * programs of a thousand members and not thousands. The first program of a group is not put off. */
void share_group_change_later(struct share *share, struct share_group *group);
/* It is about to be freed. */
void share_group_forget(struct share *share, struct share_group *group);
