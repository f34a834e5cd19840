/* What a service's traffic through the gateway looks like to people: requests in all, requests per
 * second between two looks, and how long they take, from the tally's counters and histogram. Looks
 * that follow at once show the same. Pure: the clock and the sums come in. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "upstream/tally.h"

enum { TRAFFIC_LOOK_MS = 900 }; /* who looks once a second is never too early by a timer */

struct traffic {
    uint64_t requests;
    double requests_per_second;
    bool timed; /* there were requests since the look before: the rest is known */
    uint64_t p50_us, p95_us, p99_us;
};

struct traffic_look { /* zero-initialised: never looked */
    uint64_t at_ms;
    uint64_t requests;
    uint64_t buckets[TALLY_BUCKETS];
    struct traffic shown;
};

/* Looks, and tells what is to be shown now. */
const struct traffic *traffic_look(struct traffic_look *look, const struct tally_traffic *sum,
                                   uint64_t now_ms);
/* The time under which that part (0 … 1) of the requests stayed; within a bucket they are taken to
 * be spread evenly. 0: no request. */
uint64_t traffic_quantile_us(const uint64_t buckets[TALLY_BUCKETS], double part);
