#include "supervise/traffic.h"

uint64_t traffic_quantile_us(const uint64_t buckets[TALLY_BUCKETS], double part)
{
    uint64_t all = 0;
    for (unsigned i = 0; i < TALLY_BUCKETS; i++)
        all += buckets[i];
    double wanted = part * (double)all;
    double passed = 0;
    uint64_t low = 0;
    for (unsigned i = 0; i < TALLY_BUCKETS && all; i++) {
        bool last = i + 1 == TALLY_BUCKETS;
        uint64_t high = last ? low : tally_bucket_us(i); /* the last has no upper bound */
        double count = (double)buckets[i];
        if (count > 0 && passed + count >= wanted)
            return low + (uint64_t)((double)(high - low) * (wanted - passed) / count);
        passed += count;
        low = high;
    }
    return 0;
}

/* Counters of a gateway that was killed stay; those of a new tally begin at 0. */
static uint64_t grown(uint64_t now, uint64_t before)
{
    return now >= before ? now - before : now;
}

const struct traffic *traffic_look(struct traffic_look *look, const struct tally_traffic *sum,
                                   uint64_t now_ms)
{
    struct traffic *shown = &look->shown;
    uint64_t requests = sum->requests;
    uint64_t buckets[TALLY_BUCKETS];
    shown->requests = requests;
    if (look->at_ms && now_ms < look->at_ms + TRAFFIC_LOOK_MS)
        return shown;
    for (unsigned i = 0; i < TALLY_BUCKETS; i++)
        buckets[i] = grown(sum->latency[i], look->buckets[i]);
    uint64_t more = grown(requests, look->requests);
    shown->requests_per_second =
        look->at_ms ? (double)more * 1000.0 / (double)(now_ms - look->at_ms) : 0;
    shown->timed = false;
    for (unsigned i = 0; i < TALLY_BUCKETS; i++)
        shown->timed |= buckets[i] > 0;
    shown->p50_us = traffic_quantile_us(buckets, 0.50);
    shown->p95_us = traffic_quantile_us(buckets, 0.95);
    shown->p99_us = traffic_quantile_us(buckets, 0.99);
    look->at_ms = now_ms ? now_ms : 1;
    look->requests = requests;
    for (unsigned i = 0; i < TALLY_BUCKETS; i++)
        look->buckets[i] = sum->latency[i];
    return shown;
}
