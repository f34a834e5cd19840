/* How long a configuration takes from text to topology: `build_bench [N] [services|hosts|routes]`
 * (10,000 services by default) prints the best and the median of some runs, and the memory that the
 * topology keeps. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "conf/source.h"
#include "topology/build.h"

enum { RUNS = 11 };

/* What people write: a line each for a program, its place, its bounds, its checks; every service
 * uses its predecessor, every tenth one is published. */
static void text_write(struct buffer *text, unsigned services)
{
    buffer_puts(text, "cluster bench;\nquota memory=64g tasks=100000;\n");
    for (unsigned i = 0; i < services; i++) {
        buffer_printf(text,
                      "service shop-%u {\n"
                      "    run node server.js --id $instance --state \"$state/%u\";\n"
                      "    directory ./shop-%u;  env NODE_ENV=production SHOP=%u;\n"
                      "    instances 1;  port 3000;  quota memory=256m cpu=50%%;\n"
                      "    check listen every=1s;  restart always backoff=100ms..30s;\n"
                      "    stop SIGTERM within=30s;\n",
                      i, i, i, i);
        if (i)
            buffer_printf(text, "    uses shop-%u;\n", i - 1);
        buffer_puts(text, "}\n");
        if (i % 10 == 0)
            buffer_printf(text, "listen %u tcp -> shop-%u;\n", 10000 + i / 10, i);
    }
}

/* A site of many hosts with a route each, or of one host with many routes, as people have them:
 * each with a rule of its own now and then. */
static void site_write(struct buffer *text, unsigned count, bool hosts)
{
    buffer_puts(text, "service a { run a; } service b { run b; }\nlisten 80 http {\n");
    if (!hosts)
        buffer_puts(text, "host shop.example {\n");
    for (unsigned i = 0; i < count; i++) {
        if (hosts)
            buffer_printf(text, "host shop-%u.example *.shop-%u.example { ", i, i);
        buffer_printf(text, "route /part-%u/ method=GET,POST -> a weight=95, b weight=5", i);
        buffer_puts(text, i % 10 ? ";" : " { rewrite strip=/x; header request set X-Part $path; }");
        buffer_puts(text, hosts ? " }\n" : "\n");
    }
    buffer_puts(text, hosts ? "}\n" : "} }\n");
}

static int compare(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left;
    uint64_t b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

/* Kilobytes of this process in memory. */
static long resident(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file && fscanf(file, "%*d %ld", &pages) != 1)
        pages = 0;
    if (file)
        fclose(file);
    return pages * 4;
}

static uint64_t run(const struct buffer *text, size_t *ret_bytes, long *ret_resident)
{
    struct diagnostics *diagnostics = diagnostics_new();
    long before = resident();
    uint64_t start = clock_monotonic_ns();
    struct topology *topology =
        topology_parse(text->data, text->length, "bench.conf", "/srv", NULL, diagnostics);
    uint64_t took = clock_monotonic_ns() - start;
    if (!topology) {
        diagnostics_print(diagnostics, stderr, false);
        exit(1);
    }
    *ret_bytes = arena_used(topology->arena);
    *ret_resident = resident() - before;
    topology_free(topology);
    diagnostics_free(diagnostics);
    return took;
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[2] : "services";
    unsigned count = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : TOPOLOGY_SERVICES_MAX;
    struct buffer text;
    uint64_t took[RUNS];
    size_t bytes = 0;
    long kilobytes = 0;
    buffer_init(&text, SOURCE_BYTES_MAX);
    if (strcmp(what, "services") == 0)
        text_write(&text, count);
    else
        site_write(&text, count, strcmp(what, "hosts") == 0);
    for (int i = 0; i < RUNS; i++)
        took[i] = run(&text, &bytes, &kilobytes);
    qsort(took, RUNS, sizeof took[0], compare);
    printf("%u %s, %zu bytes of text: best %.1f ms, median %.1f ms; topology %zu bytes, "
           "process %+ld kB\n",
           count, what, text.length, (double)took[0] / 1e6, (double)took[RUNS / 2] / 1e6, bytes,
           kilobytes);
    buffer_done(&text);
    return 0;
}
