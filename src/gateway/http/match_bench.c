/* How long a route takes to be found, by the number of hosts and routes: for a person to look at
 * (build/src/gateway/http/match_bench), not a test. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/random.h"
#include "gateway/http/match.h"

enum { TEXT_BYTES = 48, ASKED = 4096, ROUNDS = 400 };

struct bench {
    struct site site;
    struct site_host *hosts;
    struct route *routes;
    char (*paths)[TEXT_BYTES];
    char (*names)[TEXT_BYTES];
    const char **lists;
    size_t routes_each;
};

static void bench_make(struct bench *bench, size_t hosts, size_t routes, bool regex)
{
    bench->hosts = calloc(hosts, sizeof *bench->hosts);
    bench->names = calloc(hosts, TEXT_BYTES);
    bench->lists = calloc(hosts * 2, sizeof *bench->lists);
    bench->routes = calloc(hosts * routes, sizeof *bench->routes);
    bench->paths = calloc(routes, TEXT_BYTES);
    bench->routes_each = routes;
    for (size_t i = 0; i < routes; i++)
        snprintf(bench->paths[i], TEXT_BYTES, regex ? "^/team%zu/u/([0-9]+)" : "/team%zu/service/",
                 i);
    for (size_t i = 0; i < hosts; i++) {
        snprintf(bench->names[i], TEXT_BYTES, "%stenant%zu.shop.example", i % 2 ? "*." : "", i);
        bench->lists[2 * i] = bench->names[i];
        bench->hosts[i] = (struct site_host){.names = &bench->lists[2 * i],
                                             .routes = &bench->routes[i * routes],
                                             .route_count = routes};
        for (size_t j = 0; j < routes; j++)
            bench->routes[i * routes + j] = (struct route){
                .path_kind = regex ? PATH_REGEX : PATH_PREFIX, .path = bench->paths[j]};
    }
    bench->site = (struct site){.hosts = bench->hosts, .host_count = hosts};
}

static void bench_free(struct bench *bench)
{
    free(bench->hosts);
    free(bench->names);
    free(bench->lists);
    free(bench->routes);
    free(bench->paths);
}

/* Nanoseconds for one, over ASKED random ones. */
static double bench_find(const struct bench *bench, const struct match *match)
{
    static char scratch[MATCH_SCRATCH_BYTES], texts[ASKED][2][TEXT_BYTES * 2];
    struct head *heads = calloc(ASKED, sizeof *heads);
    struct random_state random;
    random_seed(&random, 7);
    for (size_t i = 0; i < ASKED; i++) {
        size_t host = random_below(&random, bench->site.host_count);
        size_t route = random_below(&random, bench->routes_each);
        snprintf(texts[i][0], sizeof texts[i][0], "%stenant%zu.shop.example",
                 host % 2 ? "www." : "", host);
        snprintf(texts[i][1], sizeof texts[i][1],
                 bench->routes->path_kind == PATH_REGEX ? "/team%zu/u/4711"
                                                        : "/team%zu/service/item/4711",
                 route);
        heads[i] = (struct head){.method = METHOD_GET,
                                 .host = {texts[i][0], (uint32_t)strlen(texts[i][0])},
                                 .path = {texts[i][1], (uint32_t)strlen(texts[i][1])}};
    }
    struct matched matched;
    uint64_t begun = clock_monotonic_ns();
    for (size_t round = 0; round < ROUNDS; round++)
        for (size_t i = 0; i < ASKED; i++)
            if (match_find(match, &heads[i], scratch, &matched) != MATCH_FOUND)
                abort();
    double each = (double)(clock_monotonic_ns() - begun) / ROUNDS / ASKED;
    free(heads);
    return each;
}

static void bench_print(size_t hosts, size_t routes, bool regex)
{
    struct bench bench;
    struct match *match;
    char why[256];
    bench_make(&bench, hosts, routes, regex);
    uint64_t begun = clock_monotonic_ns();
    if (match_new(&bench.site, &match, why, sizeof why))
        abort();
    double made = (double)(clock_monotonic_ns() - begun) / 1e6;
    printf("%6zu hosts × %5zu %-8s  %6.0f ns a request, compiled in %7.1f ms\n", hosts, routes,
           regex ? "regexes" : "prefixes", bench_find(&bench, match), made);
    match_free(match);
    bench_free(&bench);
}

int main(void)
{
    bench_print(1, 10, false);
    bench_print(1, 1000, false);
    bench_print(1, 10000, false);
    bench_print(10000, 10, false);
    bench_print(10000, 100, false);
    bench_print(1000, 1000, false);
    bench_print(1, 10, true);
    bench_print(1, 1000, true);
    return 0;
}
