#include "topology/access.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { BITS = 128, DEPTH_MAX = BITS + 2 }; /* networks in networks, and the space around them */

struct ordered { /* a rule with its place in the list: the lower place goes before */
    const struct access_rule *rule;
    size_t place;
};

struct open { /* a network that the walk is in */
    uint8_t last[16];
    size_t place;    /* the first rule of all that it lies in */
    uint8_t verdict; /* of that rule */
};

struct walk {
    struct access_segment *segments;
    size_t count;
    struct open stack[DEPTH_MAX];
    unsigned depth;
};

static int ordered_compare(const void *left, const void *right)
{
    const struct ordered *a = left, *b = right;
    int order = memcmp(a->rule->network.address, b->rule->network.address, 16);
    if (order)
        return order;
    if (a->rule->network.length != b->rule->network.length)
        return a->rule->network.length - b->rule->network.length;
    return a->place < b->place ? -1 : 1;
}

static void last_of(const struct network *network, uint8_t last[16])
{
    memcpy(last, network->address, 16);
    for (unsigned bit = network->length; bit < BITS; bit++)
        last[bit / 8] |= (uint8_t)(0x80 >> bit % 8);
}

/* False: it was the last address of all. */
static bool address_next(uint8_t address[16])
{
    for (int i = 15; i >= 0; i--)
        if (++address[i])
            return true;
    return false;
}

static void segment_begin(struct walk *walk, const uint8_t from[16], uint8_t verdict)
{
    struct access_segment *last = walk->count ? &walk->segments[walk->count - 1] : NULL;
    if (last && memcmp(last->from, from, 16) == 0) {
        last->verdict = verdict;
        walk->count--; /* it may now say the same as the one before */
        last = walk->count ? last - 1 : NULL;
    }
    if (last && last->verdict == verdict)
        return;
    memcpy(walk->segments[walk->count].from, from, 16);
    walk->segments[walk->count++].verdict = verdict;
}

/* Leaves the networks that end before `address` (NULL: all but the outermost). */
static void networks_close(struct walk *walk, const uint8_t *address)
{
    while (walk->depth > 1) {
        struct open *inner = &walk->stack[walk->depth - 1];
        if (address && memcmp(inner->last, address, 16) >= 0)
            return;
        uint8_t next[16];
        memcpy(next, inner->last, 16);
        walk->depth--;
        if (address_next(next))
            segment_begin(walk, next, walk->stack[walk->depth - 1].verdict);
    }
}

static void network_open(struct walk *walk, const struct ordered *at)
{
    const struct open *outer = &walk->stack[walk->depth - 1];
    struct open *inner = &walk->stack[walk->depth];
    assert(walk->depth < DEPTH_MAX);
    last_of(&at->rule->network, inner->last);
    bool first = at->place < outer->place;
    inner->place = first ? at->place : outer->place;
    inner->verdict = first ? (uint8_t)at->rule->verdict : outer->verdict;
    segment_begin(walk, at->rule->network.address, inner->verdict);
    walk->depth++;
}

static bool same_network(const struct ordered *one, const struct ordered *other)
{
    return one->rule->network.length == other->rule->network.length &&
           memcmp(one->rule->network.address, other->rule->network.address, 16) == 0;
}

/* Networks lie in each other or apart, so a stack holds all that an address is in. */
static void rules_walk(struct walk *walk, const struct ordered *list, size_t count)
{
    static const uint8_t zeros[16];
    memset(walk->stack[0].last, 0xff, 16);
    walk->stack[0].place = SIZE_MAX;
    walk->stack[0].verdict = ACCESS_NONE;
    walk->depth = 1;
    segment_begin(walk, zeros, ACCESS_NONE);
    for (size_t i = 0; i < count; i++) {
        if (i && same_network(&list[i - 1], &list[i]))
            continue; /* the one before stands earlier in the file */
        networks_close(walk, list[i].rule->network.address);
        network_open(walk, &list[i]);
    }
    networks_close(walk, NULL);
}

const struct access_list *access_list_make(struct arena *arena, struct arena *scratch,
                                           const struct access_rule *rules, size_t count)
{
    struct ordered *ordered = arena_array(scratch, count, sizeof *ordered);
    struct walk *walk = arena_alloc(scratch, sizeof *walk);
    for (size_t i = 0; i < count; i++)
        ordered[i] = (struct ordered){&rules[i], i};
    qsort(ordered, count, sizeof *ordered, ordered_compare);
    walk->segments = arena_array(scratch, 2 * count + 1, sizeof *walk->segments);
    rules_walk(walk, ordered, count);
    struct access_segment *segments = arena_array(arena, walk->count, sizeof *segments);
    memcpy(segments, walk->segments, walk->count * sizeof *segments);
    struct access_list *list = arena_alloc(arena, sizeof *list);
    *list = (struct access_list){.segments = segments, .count = walk->count};
    return list;
}

enum access_verdict access_list_find(const struct access_list *list, const uint8_t address[16])
{
    size_t low = 0, high = list->count; /* segments[low] begins at or before it */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(list->segments[middle].from, address, 16) <= 0)
            low = middle;
        else
            high = middle;
    }
    return list->segments[low].verdict;
}
