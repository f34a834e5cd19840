#include "kernel/reuseport.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/socket.h>

/* Where things stand in a packet, from its network header (RFC 791 §3.1, RFC 8200 §3). */
enum {
    IP4_SOURCE = 12,
    IP4_DESTINATION = 16,
    IP6_SOURCE = 8,
    IP6_HEADER_BYTES = 40, /* extension headers are not looked through: a flow is then hashed by
                              two other bytes of it, which is as good */
};

/* ---- writing instructions ------------------------------------------------------------------- */

struct writer {
    struct sock_filter *code;
    size_t length; /* may pass max: then nothing more is written, and the caller says E2BIG */
    size_t max;
};

/* Jumps to a choice's body are written with this bit and the choice's number, and resolved when all
 * bodies have their place. */
enum { UNRESOLVED = 1 << 30 };

static void write_jump(struct writer *writer, uint16_t code, uint32_t k, uint8_t if_true,
                       uint8_t if_false)
{
    if (writer->length < writer->max)
        writer->code[writer->length] =
            (struct sock_filter){.code = code, .jt = if_true, .jf = if_false, .k = k};
    writer->length++;
}

static void write_statement(struct writer *writer, uint16_t code, uint32_t k)
{
    write_jump(writer, code, k, 0, 0);
}

static void write_go(struct writer *writer, size_t choice)
{
    write_statement(writer, BPF_JMP | BPF_JA, UNRESOLVED | (uint32_t)choice);
}

/* A jump over code that is not written yet (conditional jumps reach only 255 instructions). */
static size_t write_skip(struct writer *writer)
{
    write_statement(writer, BPF_JMP | BPF_JA, 0);
    return writer->length - 1;
}

static void skip_ends_here(struct writer *writer, size_t skip)
{
    if (skip < writer->max)
        writer->code[skip].k = (uint32_t)(writer->length - skip - 1);
}

static void write_load(struct writer *writer, uint16_t size, int offset)
{
    write_statement(writer, (uint16_t)(BPF_LD | BPF_ABS | size), (uint32_t)offset);
}

static void write_version(struct writer *writer)
{
    write_load(writer, BPF_B, SKF_NET_OFF);
    write_statement(writer, BPF_ALU | BPF_RSH | BPF_K, 4);
}

/* ---- ranges of a number, each with its member ------------------------------------------------ */

struct range { /* from `base` to the next range's base */
    uint32_t base;
    uint32_t index;  /* of its first member */
    uint32_t weight; /* of each of its members; 0: the whole range is one member's */
};

static void write_range(struct writer *writer, const struct range *range)
{
    if (!range->weight) {
        write_statement(writer, BPF_RET | BPF_K, range->index);
        return;
    }
    if (range->base)
        write_statement(writer, BPF_ALU | BPF_SUB | BPF_K, range->base);
    if (range->weight > 1)
        write_statement(writer, BPF_ALU | BPF_DIV | BPF_K, range->weight);
    if (range->index)
        write_statement(writer, BPF_ALU | BPF_ADD | BPF_K, range->index);
    write_statement(writer, BPF_RET | BPF_A, 0);
}

/* A tree of comparisons. Recursion halves: at most 10 deep for REUSEPORT_MEMBERS_MAX ranges. */
static void write_ranges(struct writer *writer, const struct range *ranges, size_t count)
{
    if (count == 1) {
        write_range(writer, ranges);
        return;
    }
    size_t half = count / 2;
    write_jump(writer, BPF_JMP | BPF_JGE | BPF_K, ranges[half].base, 0, 1);
    size_t skip = write_skip(writer);
    write_ranges(writer, ranges, half);
    skip_ends_here(writer, skip);
    write_ranges(writer, ranges + half, count - half);
}

/* ---- random --------------------------------------------------------------------------------- */

/* Neighbours in the group with equal weights become one range, so that the usual case, all equal,
 * is three instructions however many they are. */
static size_t random_ranges(const struct reuseport_choice *choice, struct range *ret_ranges,
                            uint32_t *ret_total)
{
    size_t count = 0;
    uint32_t total = 0;
    const struct reuseport_member *previous = NULL;
    for (size_t i = 0; i < choice->count; i++) {
        const struct reuseport_member *member = &choice->members[i];
        assert(member->weight <= REUSEPORT_WEIGHT_MAX);
        if (!member->weight)
            continue;
        if (previous && member->index == previous->index + 1 && member->weight == previous->weight)
            ret_ranges[count - 1].weight = member->weight;
        else
            ret_ranges[count++] = (struct range){.base = total, .index = member->index};
        total += member->weight;
        previous = member;
    }
    *ret_total = total;
    return count;
}

static void write_random(struct writer *writer, uint32_t total)
{
    write_load(writer, BPF_W, SKF_AD_OFF + SKF_AD_RANDOM);
    write_statement(writer, BPF_ALU | BPF_MOD | BPF_K, total);
}

/* ---- hash ----------------------------------------------------------------------------------- */

/* splitmix64 (S. Vigna 2015). */
static uint64_t number_mix(uint64_t number)
{
    number += 0x9e3779b97f4a7c15ull;
    number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9ull;
    number = (number ^ (number >> 27)) * 0x94d049bb133111ebull;
    return number ^ (number >> 31);
}

/* The member of one bucket: the greatest weight / -ln(u), u evenly in (0, 1) by name and bucket. */
static const struct reuseport_member *bucket_member(const struct reuseport_choice *choice,
                                                    uint32_t bucket)
{
    const struct reuseport_member *best = NULL;
    double best_score = 0;
    for (size_t i = 0; i < choice->count; i++) {
        const struct reuseport_member *member = &choice->members[i];
        if (!member->weight)
            continue;
        uint64_t mixed = number_mix((uint64_t)member->name << 32 | bucket);
        double even = ((double)(mixed >> 11) + 0.5) / 9007199254740992.0; /* 2^53 */
        double score = member->weight / -log(even);
        if (!best || score > best_score) {
            best = member;
            best_score = score;
        }
    }
    return best;
}

static size_t hash_ranges(const struct reuseport_choice *choice, struct range *ret_ranges)
{
    size_t count = 0;
    for (uint32_t bucket = 0; bucket < REUSEPORT_HASH_BUCKETS; bucket++) {
        const struct reuseport_member *member = bucket_member(choice, bucket);
        if (!count || ret_ranges[count - 1].index != member->index)
            ret_ranges[count++] = (struct range){.base = bucket, .index = member->index};
    }
    return count;
}

/* The accumulator gets the client's address folded to 32 bits, and its port where wanted. */
static void write_client(struct writer *writer, bool with_port)
{
    enum { SCRATCH = 0 };
    write_version(writer);
    write_jump(writer, BPF_JMP | BPF_JEQ | BPF_K, 6, 0, 1);
    size_t to_ip6 = write_skip(writer);

    write_load(writer, BPF_W, SKF_NET_OFF + IP4_SOURCE);
    if (with_port) {
        write_statement(writer, BPF_ST, SCRATCH);
        write_statement(writer, BPF_LDX | BPF_B | BPF_MSH, (uint32_t)SKF_NET_OFF);
        write_statement(writer, BPF_LD | BPF_H | BPF_IND, (uint32_t)SKF_NET_OFF);
    }
    size_t to_end = write_skip(writer);

    skip_ends_here(writer, to_ip6);
    write_load(writer, BPF_W, SKF_NET_OFF + IP6_SOURCE);
    for (int word = 1; word < 4; word++) {
        write_statement(writer, BPF_MISC | BPF_TAX, 0);
        write_load(writer, BPF_W, SKF_NET_OFF + IP6_SOURCE + 4 * word);
        write_statement(writer, BPF_ALU | BPF_XOR | BPF_X, 0);
    }
    if (with_port) {
        write_statement(writer, BPF_ST, SCRATCH);
        write_load(writer, BPF_H, SKF_NET_OFF + IP6_HEADER_BYTES);
    }
    skip_ends_here(writer, to_end);
    if (with_port) {
        write_statement(writer, BPF_ALU | BPF_MUL | BPF_K, 0x27d4eb2fu);
        write_statement(writer, BPF_LDX | BPF_MEM, SCRATCH);
        write_statement(writer, BPF_ALU | BPF_XOR | BPF_X, 0);
    }
}

/* The finalizer of MurmurHash3 (A. Appleby), cut to its upper bits: the bucket. */
static void write_hash(struct writer *writer, bool with_port)
{
    _Static_assert(REUSEPORT_HASH_BUCKETS == 1 << 8, "the shift below");
    write_client(writer, with_port);
    static const struct {
        uint32_t shift;
        uint32_t factor;
    } rounds[] = {{16, 0x85ebca6bu}, {13, 0xc2b2ae35u}};
    for (size_t i = 0; i < sizeof rounds / sizeof rounds[0]; i++) {
        write_statement(writer, BPF_MISC | BPF_TAX, 0);
        write_statement(writer, BPF_ALU | BPF_RSH | BPF_K, rounds[i].shift);
        write_statement(writer, BPF_ALU | BPF_XOR | BPF_X, 0);
        write_statement(writer, BPF_ALU | BPF_MUL | BPF_K, rounds[i].factor);
    }
    write_statement(writer, BPF_ALU | BPF_RSH | BPF_K, 32 - 8);
}

/* ---- choices -------------------------------------------------------------------------------- */

static size_t weighted_count(const struct reuseport_choice *choice, uint32_t *ret_index)
{
    size_t count = 0;
    for (size_t i = 0; i < choice->count; i++) {
        if (!choice->members[i].weight)
            continue;
        *ret_index = choice->members[i].index;
        count++;
    }
    return count;
}

static int choice_check(const struct reuseport_choice *choice)
{
    uint32_t index;
    if (choice->count > REUSEPORT_MEMBERS_MAX)
        return -E2BIG;
    return weighted_count(choice, &index) ? 0 : -EINVAL;
}

static void write_choice(struct writer *writer, const struct reuseport_choice *choice,
                         struct range *ranges)
{
    uint32_t index = 0;
    if (weighted_count(choice, &index) == 1) {
        write_statement(writer, BPF_RET | BPF_K, index);
        return;
    }
    size_t count;
    if (choice->policy == REUSEPORT_RANDOM) {
        uint32_t total;
        count = random_ranges(choice, ranges, &total);
        write_random(writer, total);
    } else {
        count = hash_ranges(choice, ranges);
        write_hash(writer, choice->policy == REUSEPORT_FLOW_HASH);
    }
    write_ranges(writer, ranges, count);
}

static bool choice_same(const struct reuseport_choice *left, const struct reuseport_choice *right)
{
    return left->members == right->members && left->count == right->count &&
           left->policy == right->policy;
}

/* The bodies that are jumped to. That of `others` stands first, where the program arrives that has
 * no choice by address; choices with the same members share one. */
static void write_bodies(struct writer *writer, const struct reuseport_choice *choices,
                         size_t count, size_t *ret_bodies, struct range *ranges)
{
    size_t others = count - 1;
    ret_bodies[others] = writer->length;
    write_choice(writer, &choices[others], ranges);
    for (size_t i = 0; i < others; i++) {
        uint32_t index;
        if (weighted_count(&choices[i], &index) == 1)
            continue; /* nobody jumps to it */
        size_t same = choice_same(&choices[i], &choices[others]) ? others : 0;
        while (same < i && !choice_same(&choices[i], &choices[same]))
            same++;
        if (same != i) {
            ret_bodies[i] = ret_bodies[same];
            continue;
        }
        ret_bodies[i] = writer->length;
        write_choice(writer, &choices[i], ranges);
    }
}

struct entry { /* an address and its choice's number */
    uint32_t address;
    uint32_t choice;
};

static int entry_compare(const void *left, const void *right)
{
    const struct entry *a = left;
    const struct entry *b = right;
    if (a->address != b->address)
        return a->address < b->address ? -1 : 1;
    return a->choice < b->choice ? -1 : a->choice > b->choice;
}

/* Sorted by address; of several choices for one address only the first stays. */
static size_t entries_collect(const struct reuseport_choice *choices, size_t count,
                              struct entry *ret_entries)
{
    for (size_t i = 0; i < count; i++)
        ret_entries[i] = (struct entry){.address = choices[i].address, .choice = (uint32_t)i};
    qsort(ret_entries, count, sizeof *ret_entries, entry_compare);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (!kept || ret_entries[kept - 1].address != ret_entries[i].address)
            ret_entries[kept++] = ret_entries[i];
    return kept;
}

/* The choice's only member with weight at once, or a jump to its body. */
static void write_choice_short(struct writer *writer, const struct reuseport_choice *choices,
                               size_t choice)
{
    uint32_t index = 0;
    if (weighted_count(&choices[choice], &index) == 1)
        write_statement(writer, BPF_RET | BPF_K, index);
    else
        write_go(writer, choice);
}

/* Goes to the choice for the address in the accumulator, or to `others`. Recursion halves: at most
 * log2 of the number of choices, which REUSEPORT_INSTRUCTIONS_MAX bounds. */
static void write_addresses(struct writer *writer, const struct reuseport_choice *choices,
                            const struct entry *entries, size_t count, size_t others)
{
    if (count == 1) {
        write_jump(writer, BPF_JMP | BPF_JEQ | BPF_K, entries[0].address, 0, 1);
        write_choice_short(writer, choices, entries[0].choice);
        write_choice_short(writer, choices, others);
        return;
    }
    size_t half = count / 2;
    write_jump(writer, BPF_JMP | BPF_JGE | BPF_K, entries[half].address, 0, 1);
    size_t skip = write_skip(writer);
    write_addresses(writer, choices, entries, half, others);
    skip_ends_here(writer, skip);
    write_addresses(writer, choices, entries + half, count - half, others);
}

static void write_dispatch(struct writer *writer, const struct reuseport_choice *choices,
                           size_t count, struct entry *entries)
{
    size_t others = count - 1;
    size_t kept = others ? entries_collect(choices, others, entries) : 0;
    if (!kept)
        return; /* `others` follows at once */
    write_version(writer);
    write_jump(writer, BPF_JMP | BPF_JEQ | BPF_K, 4, 1, 0);
    write_go(writer, others);
    write_load(writer, BPF_W, SKF_NET_OFF + IP4_DESTINATION);
    write_addresses(writer, choices, entries, kept, others);
}

/* Packets from elsewhere; those of this machine go on behind. */
static void write_guard(struct writer *writer, const struct reuseport_choice *choices, size_t count,
                        const struct reuseport_guard *guard)
{
    write_load(writer, BPF_W, SKF_AD_OFF + SKF_AD_IFINDEX);
    write_jump(writer, BPF_JMP | BPF_JEQ | BPF_K, guard->loopback, 0, 1);
    size_t local = write_skip(writer);
    write_version(writer);
    write_jump(writer, BPF_JMP | BPF_JEQ | BPF_K, 4, 1, 0);
    size_t not_ip4 = write_skip(writer);
    write_load(writer, BPF_W, SKF_NET_OFF + IP4_DESTINATION);
    for (size_t i = 0; i + 1 < count; i++) {
        if (!choices[i].outside)
            continue;
        write_jump(writer, BPF_JMP | BPF_JEQ | BPF_K, choices[i].address, 0, 1);
        write_choice_short(writer, choices, i);
    }
    skip_ends_here(writer, not_ip4);
    if (choices[count - 1].outside)
        write_go(writer, count - 1);
    else
        write_statement(writer, BPF_RET | BPF_K, guard->sink);
    skip_ends_here(writer, local);
}

static void jumps_resolve(struct writer *writer, const size_t *bodies)
{
    for (size_t i = 0; i < writer->length; i++) {
        struct sock_filter *jump = &writer->code[i];
        if (jump->code == (BPF_JMP | BPF_JA) && jump->k & UNRESOLVED)
            jump->k = (uint32_t)(bodies[jump->k & ~(uint32_t)UNRESOLVED] - i - 1);
    }
}

int reuseport_build(const struct reuseport_choice *choices, size_t count,
                    const struct reuseport_guard *guard, struct sock_filter *ret_program,
                    size_t max)
{
    assert(count && choices[count - 1].address == 0);
    if (count > max)
        return -E2BIG;
    struct writer writer = {.code = ret_program, .max = max};
    struct entry *entries = calloc(count, sizeof *entries);
    size_t *bodies = calloc(count, sizeof *bodies);
    struct range *ranges = calloc(REUSEPORT_MEMBERS_MAX, sizeof *ranges);
    int error = entries && bodies && ranges ? 0 : -ENOMEM;
    for (size_t i = 0; i < count && !error; i++)
        error = choice_check(&choices[i]);
    if (!error && guard)
        write_guard(&writer, choices, count, guard);
    if (!error)
        write_dispatch(&writer, choices, count, entries);
    if (!error)
        write_bodies(&writer, choices, count, bodies, ranges);
    if (!error && writer.length > max)
        error = -E2BIG;
    if (!error)
        jumps_resolve(&writer, bodies);
    free(entries);
    free(bodies);
    free(ranges);
    return error ? error : (int)writer.length;
}

/* ---- attaching ------------------------------------------------------------------------------ */

static int program_set(int fd, int option, const struct sock_filter *program, size_t count)
{
    assert(count <= REUSEPORT_INSTRUCTIONS_MAX);
    struct sock_fprog value = {.len = (unsigned short)count,
                               .filter = (struct sock_filter *)(uintptr_t)program};
    return setsockopt(fd, SOL_SOCKET, option, &value, sizeof value) < 0 ? -errno : 0;
}

int reuseport_attach(int fd, const struct sock_filter *program, size_t count)
{
    return program_set(fd, SO_ATTACH_REUSEPORT_CBPF, program, count);
}

int reuseport_only_local(int fd, uint32_t address)
{
    unsigned loopback = if_nametoindex("lo");
    if (!loopback)
        return -errno;
    enum { CODE_MAX = 16, ALL_BYTES = 0xffff };
    struct sock_filter code[CODE_MAX];
    struct writer writer = {.code = code, .max = CODE_MAX};
    write_load(&writer, BPF_W, SKF_AD_OFF + SKF_AD_IFINDEX);
    write_jump(&writer, BPF_JMP | BPF_JEQ | BPF_K, loopback, 0, 1);
    write_statement(&writer, BPF_RET | BPF_K, ALL_BYTES);
    if (address) {
        write_version(&writer);
        write_jump(&writer, BPF_JMP | BPF_JEQ | BPF_K, 4, 0, 3);
        write_load(&writer, BPF_W, SKF_NET_OFF + IP4_DESTINATION);
        write_jump(&writer, BPF_JMP | BPF_JEQ | BPF_K, address, 0, 1);
        write_statement(&writer, BPF_RET | BPF_K, ALL_BYTES);
    }
    write_statement(&writer, BPF_RET | BPF_K, 0);
    return program_set(fd, SO_ATTACH_FILTER, code, writer.length);
}
