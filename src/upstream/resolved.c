/* What is known of remotes. One writer; readers copy under a sequence lock. A reader that meets a
 * writer waits for it: the writer is a thread of the same process and writes a few cache lines. */
#include <assert.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/table.h"
#include "upstream/resolved_private.h"

/* A remote's row is the first free one from the place on that the hash of its text gives. */
enum { SPINS_MAX = 1000, ROW_NEVER_USED = 0, ROW_FREE = 1, HASH_MIN = 2 };

struct resolved_row {
    _Atomic uint32_t version; /* odd: being written */
    _Atomic uint32_t pending;
    uint64_t hash; /* of the text; ROW_…: nobody's */
    char text[RESOLVED_TEXT_BYTES];
    uint64_t count;
    struct resolved_address addresses[RESOLVE_ADDRESSES_MAX];
};
_Static_assert(sizeof(struct resolved_address) % 8 == 0, "copied in words");

struct resolved {
    _Atomic uint32_t changes;
    struct resolved_row rows[RESOLVED_REMOTES_MAX];
};

struct resolved *resolved_new(void)
{
    return calloc(1, sizeof(struct resolved)); /* pages that nobody touches cost nothing */
}

void resolved_free(struct resolved *resolved)
{
    free(resolved);
}

/* ---- both sides, word by word: the other may be at it --------------------------------------- */

static void words_load(void *out, const void *in, size_t bytes)
{
    uint64_t *to = out;
    const uint64_t *from = in;
    for (size_t i = 0; i < bytes / sizeof *to; i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

static void words_store(void *out, const void *in, size_t bytes)
{
    uint64_t *to = out;
    const uint64_t *from = in;
    for (size_t i = 0; i < bytes / sizeof *to; i++)
        __atomic_store_n(&to[i], from[i], __ATOMIC_RELAXED);
}

/* ---- reading -------------------------------------------------------------------------------- */

static uint32_t version_read(const struct resolved_row *row)
{
    for (unsigned spins = 0;; spins++) {
        uint32_t version = atomic_load_explicit(&row->version, memory_order_acquire);
        if (!(version & 1))
            return version;
        if (spins % SPINS_MAX == SPINS_MAX - 1)
            sched_yield();
    }
}

static bool version_holds(const struct resolved_row *row, uint32_t version)
{
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&row->version, memory_order_relaxed) == version;
}

static uint64_t text_hash(const char *text)
{
    uint64_t hash = hash_bytes(text, strlen(text), hash_seed());
    return hash < HASH_MIN ? hash + HASH_MIN : hash;
}

static bool row_is(const struct resolved_row *row, uint64_t hash, const char *text)
{
    uint64_t copy[RESOLVED_TEXT_BYTES / 8];
    if (__atomic_load_n(&row->hash, __ATOMIC_RELAXED) != hash)
        return false;
    uint32_t version;
    do {
        version = version_read(row);
        words_load(copy, row->text, sizeof copy);
    } while (!version_holds(row, version));
    return strncmp((const char *)copy, text, sizeof copy) == 0;
}

uint32_t resolved_find(const struct resolved *resolved, const char *text)
{
    uint64_t hash = text_hash(text);
    uint32_t place = (uint32_t)(hash % RESOLVED_REMOTES_MAX);
    for (uint32_t i = 0; i < RESOLVED_REMOTES_MAX; i++) {
        const struct resolved_row *row = &resolved->rows[place];
        if (row_is(row, hash, text))
            return place;
        if (__atomic_load_n(&row->hash, __ATOMIC_RELAXED) == ROW_NEVER_USED)
            break;
        place = (place + 1) % RESOLVED_REMOTES_MAX;
    }
    return UINT32_MAX;
}

uint32_t resolved_changes(const struct resolved *resolved)
{
    return atomic_load_explicit(&resolved->changes, memory_order_acquire);
}

uint32_t resolved_version(const struct resolved *resolved, uint32_t place)
{
    assert(place < RESOLVED_REMOTES_MAX);
    return atomic_load_explicit(&resolved->rows[place].version, memory_order_acquire);
}

bool resolved_pending(const struct resolved *resolved, uint32_t place)
{
    assert(place < RESOLVED_REMOTES_MAX);
    return atomic_load_explicit(&resolved->rows[place].pending, memory_order_relaxed);
}

uint32_t resolved_read(const struct resolved *resolved, uint32_t place,
                       struct resolved_address ret_addresses[RESOLVE_ADDRESSES_MAX],
                       uint32_t *ret_version)
{
    assert(place < RESOLVED_REMOTES_MAX);
    const struct resolved_row *row = &resolved->rows[place];
    for (;;) {
        uint32_t version = version_read(row);
        uint64_t count = __atomic_load_n(&row->count, __ATOMIC_RELAXED);
        if (count > RESOLVE_ADDRESSES_MAX)
            count = RESOLVE_ADDRESSES_MAX;
        words_load(ret_addresses, row->addresses, count * sizeof *ret_addresses);
        if (!version_holds(row, version))
            continue;
        *ret_version = version;
        return (uint32_t)count;
    }
}

/* ---- writing -------------------------------------------------------------------------------- */

static void row_begin(struct resolved_row *row)
{
    uint32_t version = atomic_load_explicit(&row->version, memory_order_relaxed);
    atomic_store_explicit(&row->version, version + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
}

static void row_end(struct resolved *resolved, struct resolved_row *row)
{
    uint32_t version = atomic_load_explicit(&row->version, memory_order_relaxed);
    atomic_store_explicit(&row->version, version + 1, memory_order_release);
    uint32_t changes = atomic_load_explicit(&resolved->changes, memory_order_relaxed);
    atomic_store_explicit(&resolved->changes, changes + 1, memory_order_release);
}

static void row_name(struct resolved *resolved, uint32_t place, const char *text, uint64_t hash)
{
    struct resolved_row *row = &resolved->rows[place];
    uint64_t copy[RESOLVED_TEXT_BYTES / 8] = {0};
    memcpy(copy, text, strlen(text));
    row_begin(row);
    words_store(row->text, copy, sizeof copy);
    __atomic_store_n(&row->count, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&row->hash, hash, __ATOMIC_RELAXED);
    row_end(resolved, row);
}

uint32_t resolved_take(struct resolved *resolved, const char *text)
{
    if (strlen(text) >= RESOLVED_TEXT_BYTES || !*text)
        return UINT32_MAX;
    uint32_t place = resolved_find(resolved, text);
    if (place != UINT32_MAX)
        return place;
    uint64_t hash = text_hash(text);
    place = (uint32_t)(hash % RESOLVED_REMOTES_MAX);
    for (uint32_t i = 0; i < RESOLVED_REMOTES_MAX; i++) {
        struct resolved_row *row = &resolved->rows[place];
        if (row->hash < HASH_MIN) {
            atomic_store_explicit(&row->pending, 1, memory_order_relaxed);
            row_name(resolved, place, text, hash);
            return place;
        }
        place = (place + 1) % RESOLVED_REMOTES_MAX;
    }
    return UINT32_MAX;
}

void resolved_drop(struct resolved *resolved, uint32_t place)
{
    row_name(resolved, place, "", ROW_FREE);
}

void resolved_write(struct resolved *resolved, uint32_t place,
                    const struct resolved_address *addresses, uint32_t count)
{
    assert(count <= RESOLVE_ADDRESSES_MAX);
    struct resolved_row *row = &resolved->rows[place];
    atomic_store_explicit(&row->pending, 0, memory_order_relaxed);
    row_begin(row);
    words_store(row->addresses, addresses, count * sizeof *addresses);
    __atomic_store_n(&row->count, count, __ATOMIC_RELAXED);
    row_end(resolved, row);
}

void resolved_pending_set(struct resolved *resolved, uint32_t place, bool pending)
{
    struct resolved_row *row = &resolved->rows[place];
    if (atomic_load_explicit(&row->pending, memory_order_relaxed) == pending)
        return;
    atomic_store_explicit(&row->pending, pending, memory_order_relaxed);
    row_begin(row);
    row_end(resolved, row);
}

static void address_write(struct resolved *resolved, struct resolved_row *row, uint32_t index,
                          const struct resolved_address *changed)
{
    row_begin(row);
    words_store(&row->addresses[index], changed, sizeof *changed);
    row_end(resolved, row);
}

bool resolved_ill_set(struct resolved *resolved, uint32_t place, uint32_t index, bool ill)
{
    assert(place < RESOLVED_REMOTES_MAX);
    struct resolved_row *row = &resolved->rows[place];
    if (index >= row->count || row->addresses[index].ill == ill)
        return false;
    struct resolved_address changed = row->addresses[index];
    changed.ill = ill;
    address_write(resolved, row, index, &changed);
    return true;
}

bool resolved_role_set(struct resolved *resolved, uint32_t place, uint32_t index,
                       enum endpoint_role role)
{
    assert(place < RESOLVED_REMOTES_MAX);
    struct resolved_row *row = &resolved->rows[place];
    if (index >= row->count || row->addresses[index].role == role)
        return false;
    struct resolved_address changed = row->addresses[index];
    changed.role = (uint8_t)role;
    address_write(resolved, row, index, &changed);
    return true;
}
