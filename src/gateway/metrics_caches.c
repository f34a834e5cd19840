/* The metrics page's part on caches. */
#include <inttypes.h>

#include "gateway/http/cache_store.h"
#include "gateway/metrics_page.h"

struct row {
    const char *name;
    const char *type;
    const char *help;
    size_t offset; /* in cache_figures */
};

#define FIGURE(field) offsetof(struct cache_figures, field)
static const struct row rows[] = {
    {"stored_total", "counter", "Answers that were stored.", FIGURE(stored)},
    {"unstorable_total", "counter", "Answers that may not be stored.", FIGURE(unstorable)},
    {"refused_total", "counter", "Answers too large for the room that there is.", FIGURE(refused)},
    {"coalesced_total", "counter", "Requests answered by what another fetched.", FIGURE(coalesced)},
    {"evicted_total", "counter", "Answers that made room for others.", FIGURE(evicted)},
    {"purged_total", "counter", "Answers taken out as no longer true.", FIGURE(purged)},
    {"objects", "gauge", "Answers in it.", FIGURE(objects)},
    {"bytes", "gauge", "Memory that it takes.", FIGURE(bytes)},
    {"bytes_max", "gauge", "Memory that it may take.", FIGURE(bytes_max)},
    {"disk_objects", "gauge", "Answers in its file.", FIGURE(disk_objects)},
    {"disk_bytes", "gauge", "Size of its file.", FIGURE(disk_bytes)},
    {"disk_reads_total", "counter", "Answers read from it.", FIGURE(disk_reads)},
    {"disk_writes_total", "counter", "Answers written to it.", FIGURE(disk_writes)},
    {"disk_skipped_total", "counter", "Answers not written, since it was behind or failed.",
     FIGURE(disk_skipped)},
    {"disk_failures_total", "counter", "Reads and writes that failed.", FIGURE(disk_failures)},
};

static const struct {
    const char *result;
    size_t offset;
} results[] = {
    {"hit", FIGURE(hits)},    {"stale", FIGURE(stale)}, {"revalidated", FIGURE(revalidated)},
    {"miss", FIGURE(misses)}, {"pass", FIGURE(passed)},
};

static uint64_t figure(const struct cache_figures *figures, size_t offset)
{
    return *(const uint64_t *)(const void *)((const char *)figures + offset);
}

/* Of requests that were looked up: hits, stale ones too, through all. */
static double ratio(const struct cache_figures *figures)
{
    uint64_t answered = figures->hits + figures->stale + figures->revalidated;
    uint64_t all = answered + figures->misses;
    return all ? (double)answered / (double)all : 0;
}

static void head_print(struct buffer *out, const char *name, const char *type, const char *help)
{
    buffer_printf(out, "# HELP enginx_cache_%s %s\n# TYPE enginx_cache_%s %s\n", name, help, name,
                  type);
}

static void requests_print(struct buffer *out, const struct generation *generation,
                           const struct cache_figures *figures)
{
    head_print(out, "requests_total", "counter", "Requests of routes with it, by what it did.");
    for (size_t i = 0; i < generation->topology->cache_count; i++)
        for (size_t k = 0; k < sizeof results / sizeof results[0]; k++)
            buffer_printf(out,
                          "enginx_cache_requests_total{cache=\"%s\",result=\"%s\"} %" PRIu64 "\n",
                          generation->topology->caches[i].name, results[k].result,
                          figure(&figures[i], results[k].offset));
    head_print(out, "hit_ratio", "gauge",
               "Answered from it, of all that it was asked for since the gateway began.");
    for (size_t i = 0; i < generation->topology->cache_count; i++)
        buffer_printf(out, "enginx_cache_hit_ratio{cache=\"%s\"} %.6f\n",
                      generation->topology->caches[i].name, ratio(&figures[i]));
}

void metrics_caches_print(const struct generation *generation, struct buffer *out)
{
    struct cache_figures figures[CACHES_MAX];
    size_t count = generation->stores ? generation->topology->cache_count : 0;
    if (!count)
        return;
    for (size_t i = 0; i < count; i++)
        cache_store_figures(generation->stores[i], &figures[i]);
    requests_print(out, generation, figures);
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        head_print(out, rows[k].name, rows[k].type, rows[k].help);
        for (size_t i = 0; i < count; i++)
            buffer_printf(out, "enginx_cache_%s{cache=\"%s\"} %" PRIu64 "\n", rows[k].name,
                          generation->topology->caches[i].name,
                          figure(&figures[i], rows[k].offset));
    }
}
