#include "upstream/tally.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/table.h"
#include "upstream/segment.h"

/* The rows of a lane's threads for one thing lie side by side, so that a sum over threads reads
 * memory in a row, and a row that nobody uses costs at most a part of a page. */
enum {
    TALLY_MAGIC = 0x656e7479, /* "enty" */
    TALLY_VERSION = 2,
    TALLY_ROWS_MAX = 1 << 22,
    TRAFFIC_BYTES = 384,   /* whole pairs of cache lines, which processors fetch together */
    REMOTES = TALLY_KINDS, /* the list of names beside those of the kinds */
    NAME_LISTS,
};
_Static_assert(sizeof(struct tally_endpoint) == 192, "three cache lines");
_Static_assert(sizeof(struct tally_traffic) <= TRAFFIC_BYTES, "fits its place");

enum { WORD_THREADS, WORD_SLOTS, WORD_REMOTES, WORD_ROWS };
/* Of the header's words, the writer's: how many names are taken. */
enum { WORD_TAKEN = WORD_ROWS + TALLY_KINDS };
/* The lanes that are busy, and those that ever were: a bit each. */
enum { WORD_BUSY = WORD_TAKEN + NAME_LISTS, WORD_USED, WORDS };
_Static_assert((int)WORDS <= (int)SEGMENT_WORDS, "the words suffice");

struct name_list { /* the last row has no name: it is everybody else's */
    char *names;   /* rows × TALLY_NAME_BYTES */
    uint32_t rows;
    _Atomic uint32_t *taken;
    uint32_t *index; /* of the one who takes: 1 + row by hash of the name; made when first needed */
    uint32_t index_slots; /* a power of two */
};

struct tally {
    char *base;
    size_t bytes;
    int fd; /* our own, to see which pages were never touched */
    struct tally_sizes sizes;
    struct lane {
        char *endpoints;
        char *traffic[TALLY_KINDS];
    } lanes[TALLY_LANES];
    _Atomic uint32_t *busy;
    _Atomic uint32_t *used;
    struct name_list lists[NAME_LISTS];
};

/* ---- the layout ----------------------------------------------------------------------------- */

static uint32_t list_rows(const struct tally_sizes *sizes, unsigned list)
{
    return list == REMOTES ? sizes->remotes_max : sizes->rows[list];
}

static bool sizes_good(const struct tally_sizes *sizes)
{
    if (sizes->threads == 0 || sizes->threads > TALLY_THREADS_MAX || sizes->slots_max == 0 ||
        sizes->slots_max > TALLY_ROWS_MAX)
        return false;
    for (unsigned list = 0; list < NAME_LISTS; list++)
        if (list_rows(sizes, list) == 0 || list_rows(sizes, list) > TALLY_ROWS_MAX)
            return false;
    return true;
}

static size_t pages(size_t bytes)
{
    return (bytes + 4095) / 4096 * 4096;
}

static char *part(char *base, size_t at)
{
    return base ? base + at : NULL;
}

/* Gives out the parts in their order; with a `base` of NULL only the size is of use. */
static size_t tally_lay_out(struct tally *tally, char *base)
{
    const struct tally_sizes *sizes = &tally->sizes;
    size_t at = SEGMENT_HEADER_BYTES;
    for (struct lane *lane = tally->lanes; lane < tally->lanes + TALLY_LANES; lane++) {
        lane->endpoints = part(base, at);
        at += pages((size_t)(sizes->slots_max + sizes->remotes_max) * sizes->threads *
                    sizeof(struct tally_endpoint));
        for (unsigned kind = 0; kind < TALLY_KINDS; kind++) {
            lane->traffic[kind] = part(base, at);
            at += pages((size_t)sizes->rows[kind] * sizes->threads * TRAFFIC_BYTES);
        }
    }
    for (unsigned list = 0; list < NAME_LISTS; list++) {
        tally->lists[list].names = part(base, at);
        tally->lists[list].rows = list_rows(sizes, list);
        at += pages((size_t)list_rows(sizes, list) * TALLY_NAME_BYTES);
    }
    return at;
}

static void tally_place(struct tally *tally, void *base, size_t bytes)
{
    tally->base = base;
    tally->bytes = bytes;
    tally_lay_out(tally, base);
    struct segment_header *header = base;
    tally->busy = (_Atomic uint32_t *)&header->words[WORD_BUSY];
    tally->used = (_Atomic uint32_t *)&header->words[WORD_USED];
    for (unsigned list = 0; list < NAME_LISTS; list++)
        tally->lists[list].taken = (_Atomic uint32_t *)&header->words[WORD_TAKEN + list];
}

static struct tally *tally_alloc(void)
{
    struct tally *tally = calloc(1, sizeof *tally);
    if (tally)
        tally->fd = -1;
    return tally;
}

int tally_new(const struct tally_sizes *sizes, struct tally **ret_tally, int *ret_fd)
{
    assert(sizes_good(sizes));
    struct tally *tally = tally_alloc();
    if (!tally)
        return -ENOMEM;
    tally->sizes = *sizes;
    struct segment_header header = {
        .magic = TALLY_MAGIC,
        .version = TALLY_VERSION,
        .bytes = tally_lay_out(tally, NULL),
        .words = {[WORD_THREADS] = sizes->threads,
                  [WORD_SLOTS] = sizes->slots_max,
                  [WORD_REMOTES] = sizes->remotes_max,
                  [WORD_BUSY] = 1,
                  [WORD_USED] = 1},
    };
    memcpy(&header.words[WORD_ROWS], sizes->rows, sizeof sizes->rows);
    void *base = NULL;
    scoped_fd int fd = -1;
    int error = segment_new("enginx-tally", &header, &base, &fd);
    if (!error) {
        tally_place(tally, base, header.bytes);
        tally->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        error = tally->fd < 0 ? -errno : 0;
    }
    if (error) {
        tally_close(tally);
        return error;
    }
    *ret_tally = tally;
    *ret_fd = fd_take(&fd);
    return 0;
}

static int tally_check(struct tally *tally, const struct segment_header *header)
{
    tally->sizes = (struct tally_sizes){.threads = header->words[WORD_THREADS],
                                        .slots_max = header->words[WORD_SLOTS],
                                        .remotes_max = header->words[WORD_REMOTES]};
    memcpy(tally->sizes.rows, &header->words[WORD_ROWS], sizeof tally->sizes.rows);
    if (!sizes_good(&tally->sizes) || tally_lay_out(tally, NULL) != header->bytes)
        return -EPROTO;
    return 0;
}

int tally_open(int fd, bool writable, struct tally **ret_tally)
{
    struct tally *tally = tally_alloc();
    if (!tally)
        return -ENOMEM;
    void *base = NULL;
    struct segment_header header;
    int error = segment_open(fd, writable, TALLY_MAGIC, TALLY_VERSION, &base, &header);
    if (!error) {
        error = tally_check(tally, &header);
        if (error)
            munmap(base, header.bytes);
        else
            tally_place(tally, base, header.bytes);
    }
    if (!error) {
        tally->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
        error = tally->fd < 0 ? -errno : 0;
    }
    if (error) {
        tally_close(tally);
        return error;
    }
    *ret_tally = tally;
    return 0;
}

void tally_close(struct tally *tally)
{
    if (!tally)
        return;
    if (tally->base)
        munmap(tally->base, tally->bytes);
    fd_drop(&tally->fd);
    for (unsigned list = 0; list < NAME_LISTS; list++)
        free(tally->lists[list].index);
    free(tally);
}

const struct tally_sizes *tally_sizes(const struct tally *tally)
{
    return &tally->sizes;
}

static struct tally_endpoint *endpoint_rows(const struct tally *tally, uint32_t lane, uint32_t row)
{
    size_t place = (size_t)row * tally->sizes.threads;
    return (struct tally_endpoint *)(void *)tally->lanes[lane].endpoints + place;
}

struct tally_endpoint *tally_endpoint(const struct tally *tally, uint32_t thread, uint32_t row)
{
    assert(thread < tally->sizes.threads * TALLY_LANES);
    assert(row < tally->sizes.slots_max + tally->sizes.remotes_max);
    uint32_t lane = thread / tally->sizes.threads;
    return endpoint_rows(tally, lane, row) + thread % tally->sizes.threads;
}

uint32_t tally_row(const struct tally *tally, enum tally_kind kind, uint32_t number)
{
    uint32_t rows = tally->sizes.rows[kind];
    return number < rows ? number : rows - 1;
}

struct tally_traffic *tally_traffic(const struct tally *tally, uint32_t thread,
                                    enum tally_kind kind, uint32_t row)
{
    assert(thread < tally->sizes.threads * TALLY_LANES);
    assert(row < tally->sizes.rows[kind]);
    uint32_t lane = thread / tally->sizes.threads;
    size_t place = (size_t)row * tally->sizes.threads + thread % tally->sizes.threads;
    char *traffic = tally->lanes[lane].traffic[kind];
    return (struct tally_traffic *)(void *)(traffic + place * TRAFFIC_BYTES);
}

/* ---- names ---------------------------------------------------------------------------------- */

static char *list_name(const struct name_list *list, uint32_t row)
{
    return list->names + (size_t)row * TALLY_NAME_BYTES;
}

static uint32_t list_taken(const struct name_list *list)
{
    uint32_t taken = atomic_load_explicit(list->taken, memory_order_acquire);
    return taken < list->rows ? taken : list->rows - 1;
}

/* Names longer than there is room are the same when they begin alike. */
static size_t name_length(const char *name)
{
    return strnlen(name, TALLY_NAME_BYTES - 1);
}

/* The place of the name in the index, or the empty one where it belongs. */
static uint32_t *index_find(const struct name_list *list, const char *name, size_t length)
{
    uint64_t at = hash_bytes(name, length, hash_seed());
    for (;; at++) {
        uint32_t *slot = &list->index[at & (list->index_slots - 1)];
        if (*slot == 0)
            return slot;
        const char *other = list_name(list, *slot - 1);
        if (strncmp(other, name, length) == 0 && other[length] == '\0')
            return slot;
    }
}

static bool index_make(struct name_list *list)
{
    uint32_t slots = 16;
    while (slots < 2 * list->rows)
        slots *= 2;
    list->index = calloc(slots, sizeof *list->index);
    if (!list->index)
        return false;
    list->index_slots = slots;
    for (uint32_t row = 0; row < list_taken(list); row++) {
        char *name = list_name(list, row);
        name[TALLY_NAME_BYTES - 1] = '\0';
        *index_find(list, name, strlen(name)) = row + 1;
    }
    return true;
}

static uint32_t list_take(struct name_list *list, const char *name)
{
    if (!list->index && !index_make(list))
        return list->rows - 1;
    size_t length = name_length(name);
    uint32_t *slot = index_find(list, name, length);
    if (*slot)
        return *slot - 1;
    uint32_t row = list_taken(list);
    if (row == list->rows - 1)
        return row;
    char *place = list_name(list, row);
    memcpy(place, name, length);
    place[length] = '\0';
    atomic_store_explicit(list->taken, row + 1, memory_order_release);
    *slot = row + 1;
    return row;
}

uint32_t tally_row_take(struct tally *tally, enum tally_kind kind, const char *name)
{
    return list_take(&tally->lists[kind], name);
}

uint32_t tally_remote_take(struct tally *tally, const char *name)
{
    return tally->sizes.slots_max + list_take(&tally->lists[REMOTES], name);
}

const char *tally_row_name(const struct tally *tally, enum tally_kind kind, uint32_t row)
{
    const struct name_list *list = &tally->lists[kind];
    return row < list_taken(list) ? list_name(list, row) : "";
}

const char *tally_remote_name(const struct tally *tally, uint32_t row)
{
    const struct name_list *list = &tally->lists[REMOTES];
    if (row < tally->sizes.slots_max)
        return "";
    row -= tally->sizes.slots_max;
    return row < list_taken(list) ? list_name(list, row) : "";
}

/* ---- sums ----------------------------------------------------------------------------------- */

/* Both kinds of rows are nothing but counters. */
static void counts_add(uint64_t *sum, const tally_count *counts, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof *sum; i++)
        sum[i] += atomic_load_explicit(&counts[i], memory_order_relaxed);
}

static bool lane_in(const _Atomic uint32_t *lanes, uint32_t lane)
{
    return atomic_load_explicit(lanes, memory_order_relaxed) >> lane & 1;
}

void tally_endpoint_sum(const struct tally *tally, uint32_t row, struct tally_endpoint *ret_sum)
{
    uint64_t sum[sizeof *ret_sum / sizeof(uint64_t)] = {0};
    uint32_t threads = tally->sizes.threads;
    for (uint32_t i = 0; i < threads * TALLY_LANES; i++)
        if (lane_in(tally->used, i / threads))
            counts_add(sum, (const tally_count *)tally_endpoint(tally, i, row), sizeof sum);
    memcpy(ret_sum, sum, sizeof sum);
}

void tally_traffic_sum(const struct tally *tally, enum tally_kind kind, uint32_t row,
                       struct tally_traffic *ret_sum)
{
    uint64_t sum[sizeof *ret_sum / sizeof(uint64_t)] = {0};
    uint32_t threads = tally->sizes.threads;
    for (uint32_t i = 0; i < threads * TALLY_LANES; i++)
        if (lane_in(tally->used, i / threads))
            counts_add(sum, (const tally_count *)tally_traffic(tally, i, kind, row), sizeof sum);
    memcpy(ret_sum, sum, sizeof sum);
}

/* Rows are read one after the other while they change: a sum may miss what ended in one and began
 * in another, but it is never below zero. */
uint64_t tally_requests_now(const struct tally *tally, uint32_t row)
{
    uint64_t sum = 0;
    for (uint32_t lane = 0; lane < TALLY_LANES; lane++) {
        if (!lane_in(tally->busy, lane))
            continue;
        const struct tally_endpoint *of_thread = endpoint_rows(tally, lane, row);
        for (uint32_t thread = 0; thread < tally->sizes.threads; thread++)
            sum += atomic_load_explicit(&of_thread[thread].requests_now, memory_order_relaxed);
    }
    return sum;
}

uint64_t tally_connections_now(const struct tally *tally, uint32_t row)
{
    uint64_t sum = 0;
    for (uint32_t lane = 0; lane < TALLY_LANES; lane++) {
        if (!lane_in(tally->busy, lane))
            continue;
        const struct tally_endpoint *of_thread = endpoint_rows(tally, lane, row);
        for (uint32_t thread = 0; thread < tally->sizes.threads; thread++)
            sum += atomic_load_explicit(&of_thread[thread].connections_now, memory_order_relaxed);
    }
    /* Rows were read one after the other: one may have been closed that was not yet counted. */
    return (int64_t)sum < 0 ? 0 : sum;
}

/* ---- latency -------------------------------------------------------------------------------- */

enum { BUCKET_FIRST_US = 100 };

uint64_t tally_bucket_us(unsigned bucket)
{
    return bucket + 1 < TALLY_BUCKETS ? (uint64_t)BUCKET_FIRST_US << bucket : UINT64_MAX;
}

void tally_latency(struct tally_traffic *traffic, uint64_t latency_us)
{
    uint64_t hundreds = latency_us ? (latency_us - 1) / BUCKET_FIRST_US : 0;
    unsigned bucket = hundreds ? 64 - (unsigned)__builtin_clzll(hundreds) : 0;
    if (bucket >= TALLY_BUCKETS)
        bucket = TALLY_BUCKETS - 1;
    tally_add(&traffic->latency[bucket], 1);
    tally_add(&traffic->latency_us, latency_us);
}

/* ---- lanes ---------------------------------------------------------------------------------- */

static void count_clear(tally_count *count)
{
    if (atomic_load_explicit(count, memory_order_relaxed))
        atomic_store_explicit(count, 0, memory_order_relaxed);
}

static void endpoint_restart(void *row)
{
    struct tally_endpoint *endpoint = row;
    count_clear(&endpoint->connections_now);
    count_clear(&endpoint->requests_now);
}

static void traffic_restart(void *row)
{
    struct tally_traffic *traffic = row;
    count_clear(&traffic->requests_now);
    count_clear(&traffic->connections_now);
    count_clear(&traffic->held_now);
    count_clear(&traffic->breaker_now);
}

/* Calls for the rows of the table [start, start + count × stride) that lie in pages which were
 * written once: to read the others would make them (a row that begins in the page before makes
 * that one, and one that ends in the next, that). */
static void touched_rows(const struct tally *tally, char *start, size_t count, size_t stride,
                         void (*call)(void *row))
{
    size_t first = (size_t)(start - tally->base);
    size_t end = first + count * stride;
    size_t next_row = 0;
    off_t data = lseek(tally->fd, (off_t)first, SEEK_DATA);
    while (data >= 0 && (size_t)data < end) {
        off_t hole = lseek(tally->fd, data, SEEK_HOLE);
        size_t from = ((size_t)data - first) / stride;
        size_t to =
            hole < 0 || (size_t)hole >= end ? count : ((size_t)hole - first - 1) / stride + 1;
        for (size_t row = from > next_row ? from : next_row; row < to; row++)
            call(start + row * stride);
        next_row = to;
        data = hole < 0 ? -1 : lseek(tally->fd, hole, SEEK_DATA);
    }
}

static void lane_clear(const struct tally *tally, const struct lane *lane)
{
    const struct tally_sizes *sizes = &tally->sizes;
    touched_rows(tally, lane->endpoints,
                 (size_t)(sizes->slots_max + sizes->remotes_max) * sizes->threads,
                 sizeof(struct tally_endpoint), endpoint_restart);
    for (unsigned kind = 0; kind < TALLY_KINDS; kind++)
        touched_rows(tally, lane->traffic[kind], (size_t)sizes->rows[kind] * sizes->threads,
                     TRAFFIC_BYTES, traffic_restart);
}

void tally_lane_begin(struct tally *tally, uint32_t lane)
{
    assert(lane < TALLY_LANES);
    lane_clear(tally, &tally->lanes[lane]);
    atomic_fetch_or(tally->used, 1u << lane);
    atomic_fetch_or(tally->busy, 1u << lane);
}

void tally_lane_end(struct tally *tally, uint32_t lane)
{
    assert(lane < TALLY_LANES);
    atomic_fetch_and(tally->busy, ~(1u << lane));
    lane_clear(tally, &tally->lanes[lane]);
}

bool tally_lane_alone(const struct tally *tally)
{
    uint32_t busy = atomic_load_explicit(tally->busy, memory_order_relaxed);
    return (busy & (busy - 1)) == 0;
}
