#include "gateway/core/rate_table.h"

#include <pthread.h>

enum { LOCKS = 256 };

struct entry {
    uint64_t key;     /* 0: free */
    uint64_t full_ns; /* when its bucket is full again */
};

static struct entry sets[RATE_SETS][RATE_WAYS];
static pthread_mutex_t locks[LOCKS] = {[0 ... LOCKS - 1] = PTHREAD_MUTEX_INITIALIZER};

/* The key's entry, or that of a key which says nothing any more, or least. */
static struct entry *entry_of(struct entry *set, uint64_t key)
{
    struct entry *least = set;
    for (unsigned i = 0; i < RATE_WAYS; i++) {
        if (set[i].key == key)
            return &set[i];
        if (set[i].full_ns < least->full_ns)
            least = &set[i];
    }
    *least = (struct entry){.key = key};
    return least;
}

static bool entry_take(struct entry *entry, const struct rate *rate, uint64_t now_ns,
                       uint64_t *ret_wait_ns)
{
    uint64_t full_ns = entry->full_ns > now_ns ? entry->full_ns : now_ns;
    uint64_t next_ns = full_ns + rate->interval_ns;
    uint64_t bound_ns = now_ns + rate->interval_ns * rate->burst;
    *ret_wait_ns = 0;
    if (next_ns > bound_ns) {
        *ret_wait_ns = next_ns - bound_ns;
        return false;
    }
    entry->full_ns = next_ns;
    return true;
}

bool rate_take(uint64_t key, const struct rate *rate, uint64_t now_ns, uint64_t *ret_wait_ns)
{
    key = key ? key : 1;
    uint64_t number = key % RATE_SETS;
    pthread_mutex_t *lock = &locks[number % LOCKS];
    pthread_mutex_lock(lock);
    bool taken = entry_take(entry_of(sets[number], key), rate, now_ns, ret_wait_ns);
    pthread_mutex_unlock(lock);
    return taken;
}
