/* The tally: counters that the gateway's threads write and everybody reads — other threads (to
 * choose by load over all threads), the supervisor (`status`), the metrics page. One segment; each
 * thread has rows of its own, so that no cache line has two writers; a reader sums over threads.
 * All counters only grow, but those named `…_now`, whose sum over the threads is what is under way
 * (a row alone may be below zero: a connection that changed threads was counted up in another).
 *
 * A gateway that an upgrade replaces goes on for as long as its connections do, beside the new one,
 * so there are TALLY_LANES sets of rows, one for each process: thread t of the process in lane l
 * has the rows of thread l × threads + t. What is under way is summed over the lanes that are busy,
 * the rest over all that ever were. Lane 0 is busy from the beginning.
 *
 * Rows: 0 … endpoints_max - 1 are endpoints. The first slots_max of them are instances, by their
 * slot; the rest are given to remote endpoints by the gateway (tally_remote_take). Then come
 * services (board numbers), then listeners and routes (given by name when a generation is built).
 * When rows are used up the last one, shared, counts for all others (and the metrics say so). */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TALLY_THREADS_MAX = 64, /* of a lane */
    TALLY_LANES = 3,
    TALLY_BUCKETS = 20, /* of latency: up to 100 µs, 200, 400, … by doubling; the last: above */
    TALLY_NAME_BYTES = 192,
    TALLY_GUARDS = 8,
    /* Of each process that counts, so their sum tells both. */
    TALLY_BREAKER_OPEN = 1,
    TALLY_BREAKER_HALF_OPEN = 256,
};

/* Written with relaxed stores by the owning thread only. */
typedef _Atomic uint64_t tally_count;

static inline void tally_add(tally_count *count, uint64_t value)
{
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + value,
                          memory_order_relaxed);
}

struct tally_endpoint {          /* of one thread, three cache lines */
    tally_count connections_now; /* open to it, idle ones too */
    tally_count requests_now;    /* under way (relay: connections or sessions) */
    tally_count connections;     /* opened */
    tally_count requests;
    tally_count bytes_in;  /* from clients to it */
    tally_count bytes_out; /* from it to clients */
    tally_count failures_connect;
    tally_count failures;   /* reset, garbage, timeout after the connection stood */
    tally_count status[6];  /* [1] 1xx … [5] 5xx of its responses; [0] none (relay) */
    tally_count latency_us; /* sum, to the response's head (relay: to the connection) */
    tally_count ejected;    /* times that passive health took it out */
    /* By the checker, which is the main thread's: in the rows of the lane's first thread, whose
     * worker leaves them alone. */
    tally_count checks;
    tally_count checks_failed;
    tally_count reserved[6]; /* no cache line of two threads */
};

struct tally_traffic { /* of a service, listener or route */
    tally_count requests;
    tally_count status[6]; /* as sent to clients; [0]: ended without a response */
    tally_count bytes_in;
    tally_count bytes_out;
    tally_count requests_now;
    tally_count connections_now; /* listeners */
    tally_count connections;     /* listeners */
    tally_count refused;         /* over a cap, or a limit */
    tally_count retries;
    tally_count held; /* requests that had to wait for an endpoint */
    tally_count held_now;
    tally_count latency_us; /* sum, of whole requests */
    tally_count latency[TALLY_BUCKETS];
    tally_count guarded[TALLY_GUARDS]; /* refused by guards, by their kind (topology/guard.h) */
    tally_count broken;                /* refused by the service's breaker */
    /* Of the breaker, by the main thread, in the rows of the lane's first thread. */
    tally_count breaker_opened;
    tally_count breaker_now; /* TALLY_BREAKER_…; 0: closed */
};

/* As enum breaker_state (breaker.h), of a sum: open where any process has it open. */
static inline unsigned tally_breaker_state(const struct tally_traffic *sum)
{
    uint64_t now = sum->breaker_now;
    return now % TALLY_BREAKER_HALF_OPEN ? 1 : now ? 2 : 0;
}

enum tally_kind { TALLY_SERVICE, TALLY_LISTENER, TALLY_ROUTE, TALLY_KINDS };

struct tally;

struct tally_sizes {
    uint32_t threads;     /* of a lane */
    uint32_t slots_max;   /* of instances */
    uint32_t remotes_max; /* further endpoints */
    uint32_t rows[TALLY_KINDS];
};

/* A new segment; *ret_fd is the caller's. 0 or -errno. Untouched rows cost no memory. */
int tally_new(const struct tally_sizes *sizes, struct tally **ret_tally, int *ret_fd);
int tally_open(int fd, bool writable, struct tally **ret_tally);
void tally_close(struct tally *tally);
const struct tally_sizes *tally_sizes(const struct tally *tally);

struct tally_endpoint *tally_endpoint(const struct tally *tally, uint32_t thread, uint32_t row);
struct tally_traffic *tally_traffic(const struct tally *tally, uint32_t thread,
                                    enum tally_kind kind, uint32_t row);

/* The row of that name, taken when there is none; the last row when all are used. By the gateway's
 * main thread only, while it builds a generation. Names stay over reloads. */
uint32_t tally_row_take(struct tally *tally, enum tally_kind kind, const char *name);
uint32_t tally_remote_take(struct tally *tally, const char *name);
const char *tally_row_name(const struct tally *tally, enum tally_kind kind, uint32_t row); /* "" */
const char *tally_remote_name(const struct tally *tally, uint32_t row);

/* The row of what has this number on the board; who has none of its own shares the last. */
uint32_t tally_row(const struct tally *tally, enum tally_kind kind, uint32_t number);

/* Sums over all threads. */
void tally_endpoint_sum(const struct tally *tally, uint32_t row, struct tally_endpoint *ret_sum);
void tally_traffic_sum(const struct tally *tally, enum tally_kind kind, uint32_t row,
                       struct tally_traffic *ret_sum);
/* requests_now and connections_now over all threads: what a choice reads. */
uint64_t tally_requests_now(const struct tally *tally, uint32_t row);
uint64_t tally_connections_now(const struct tally *tally, uint32_t row);

/* Adds one whole request to the histogram. */
void tally_latency(struct tally_traffic *traffic, uint64_t latency_us);
/* The bucket's upper bound; UINT64_MAX for the last. */
uint64_t tally_bucket_us(unsigned bucket);

/* A gateway begins in a lane: what was `…_now` of one that was killed there is nobody's any more.
 * The lane is busy until its end. */
void tally_lane_begin(struct tally *tally, uint32_t lane);
void tally_lane_end(struct tally *tally, uint32_t lane);
/* Is nobody else counting? */
bool tally_lane_alone(const struct tally *tally);
