#include "gateway/build.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/scoped.h"
#include "base/table.h"
#include "conf/bundle.h"
#include "gateway/caches.h"
#include "gateway/guard/key_set.h"
#include "gateway/http/cache_store.h"
#include "gateway/http/match.h"
#include "tls/client.h"
#include "topology/build.h"

#define ALPN_H1      "\x08http/1.1"
#define ALPN_H2_ONLY "\x02h2"
#define ALPN_H2      ALPN_H2_ONLY ALPN_H1

/* ---- the end -----------------------------------------------------------------------------------
 */

static void generation_free(struct generation *generation)
{
    if (!generation)
        return;
    for (size_t i = 0; i < generation->plan_count; i++) {
        struct plan_listener *plan = &generation->plans[i];
        match_free(plan->match);
        tls_server_free(plan->tls);
        free((void *)(uintptr_t)plan->route_rows);
        free((void *)(uintptr_t)plan->fds);
    }
    for (size_t i = 0; generation->tls_to && i < generation->topology->service_count; i++)
        tls_client_free(generation->tls_to[i]);
    for (size_t i = 0; generation->directories && i < generation->topology->directory_count; i++)
        fd_drop(&generation->directories[i].fd);
    for (size_t i = 0; generation->key_sets && i < generation->topology->token_count; i++)
        key_set_free(generation->key_sets[i]);
    free(generation->key_sets);
    free(generation->directories);
    for (size_t i = 0; generation->stores && i < generation->topology->cache_count; i++)
        cache_store_unref(generation->stores[i]);
    free(generation->stores);
    free(generation->tls_to);
    free(generation->plans);
    table_free(generation->services);
    topology_free(generation->topology);
    free(generation);
}

/* ---- the parts ---------------------------------------------------------------------------------
 */

struct building {
    const struct build_setup *setup;
    struct bundle *bundle;
    struct generation *generation;
    char *why; /* BUILD_WHY_BYTES */
};

static const char *file_read(void *owner, const char *path, size_t *ret_length)
{
    const struct building *building = owner;
    return bundle_find(building->bundle, BUNDLE_FILE, path, ret_length);
}

/* The first few of the errors, which the supervisor has not seen, since it built the same. */
static void diagnostics_tell(const struct diagnostics *diagnostics, char *why)
{
    FILE *out = fmemopen(why, BUILD_WHY_BYTES, "w");
    if (!out)
        return;
    diagnostics_print(diagnostics, out, false);
    fclose(out);
}

static int topology_make(struct building *building)
{
    struct diagnostics *diagnostics = diagnostics_new();
    if (!diagnostics)
        return -ENOMEM;
    building->generation->topology = topology_load_bundle(building->bundle, diagnostics);
    if (!building->generation->topology)
        diagnostics_tell(diagnostics, building->why);
    diagnostics_free(diagnostics);
    return building->generation->topology ? 0 : -EINVAL;
}

static int services_learn(struct generation *generation)
{
    const struct topology *topology = generation->topology;
    generation->services = table_new();
    int error = generation->services ? 0 : -ENOMEM;
    for (size_t i = 0; !error && i < topology->service_count; i++)
        error = table_add(generation->services, topology->services[i].name, &topology->services[i],
                          NULL);
    return error;
}

static int sockets_copy(struct building *building, struct plan_listener *plan)
{
    uint32_t count;
    const int *fds = sockets_find(building->setup->sockets, plan->listener->text, &count);
    if (!count) {
        snprintf(building->why, BUILD_WHY_BYTES, "no socket was given for %s",
                 plan->listener->text);
        return -EPROTO;
    }
    int *copy = calloc(count, sizeof *copy);
    if (!copy)
        return -ENOMEM;
    memcpy(copy, fds, count * sizeof *copy);
    plan->fds = copy;
    plan->fd_count = count;
    return 0;
}

/* Named "LISTENER ROUTE", which metrics_page.c takes apart: two listeners may have a route alike.
 */
static uint32_t route_row(struct tally *tally, const struct listener *listener,
                          const struct route *route)
{
    char name[TALLY_NAME_BYTES];
    snprintf(name, sizeof name, "%s %s", listener->text, route->name);
    return tally_row_take(tally, TALLY_ROUTE, name);
}

static int routes_make(struct building *building, struct plan_listener *plan)
{
    int error = match_new(plan->listener->site, &plan->match, building->why, BUILD_WHY_BYTES);
    if (error)
        return error;
    uint32_t count = match_route_count(plan->match);
    uint32_t *rows = calloc(count ? count : 1, sizeof *rows);
    if (!rows)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        rows[i] = route_row(building->setup->tally, plan->listener, match_route(plan->match, i));
    plan->route_rows = rows;
    return 0;
}

static const char *alpn_of(const struct listener *listener)
{
    if (listener->kind != LISTENER_HTTP)
        return NULL;
    return listener->site->http2 ? ALPN_H2 : ALPN_H1;
}

static int plan_make(struct building *building, struct plan_listener *plan)
{
    const struct listener *listener = plan->listener;
    plan->row = tally_row_take(building->setup->tally, TALLY_LISTENER, listener->text);
    int error = sockets_copy(building, plan);
    if (!error && listener->kind == LISTENER_HTTP)
        error = routes_make(building, plan);
    if (!error && listener->tls)
        error =
            tls_server_new(listener->tls, alpn_of(listener), file_read, building,
                           building->setup->tickets, &plan->tls, building->why, BUILD_WHY_BYTES);
    return error;
}

static int plans_make(struct building *building)
{
    struct generation *generation = building->generation;
    const struct topology *topology = generation->topology;
    generation->plans = calloc(topology->listener_count + 1, sizeof *generation->plans);
    if (!generation->plans)
        return -ENOMEM;
    int error = 0;
    for (size_t i = 0; !error && i < topology->listener_count; i++) {
        if (topology->listeners[i].path == LISTENER_DIRECT)
            continue;
        struct plan_listener *plan = &generation->plans[generation->plan_count++];
        plan->listener = &topology->listeners[i];
        error = plan_make(building, plan);
    }
    return error;
}

static const char *alpn_to(const struct service *service)
{
    return service->gateway.speaks == SPEAKS_HTTP2 ? ALPN_H2_ONLY : NULL;
}

static int tls_to_make(struct building *building)
{
    struct generation *generation = building->generation;
    const struct topology *topology = generation->topology;
    generation->tls_to = calloc(topology->service_count + 1, sizeof *generation->tls_to);
    int error = generation->tls_to ? 0 : -ENOMEM;
    for (size_t i = 0; !error && i < topology->service_count; i++)
        if (topology->services[i].gateway.tls.on)
            error = tls_client_new(&topology->services[i].gateway.tls,
                                   alpn_to(&topology->services[i]), file_read, building,
                                   &generation->tls_to[i], building->why, BUILD_WHY_BYTES);
    return error;
}

static int keys_make(struct building *building)
{
    struct generation *generation = building->generation;
    const struct topology *topology = generation->topology;
    char why[KEY_WHY_BYTES] = "";
    generation->key_sets = calloc(topology->token_count + 1, sizeof *generation->key_sets);
    if (!generation->key_sets)
        return -ENOMEM;
    for (size_t i = 0; i < topology->token_count; i++) {
        const struct guard_jwt *jwt = topology->tokens[i];
        if (jwt->keys == GUARD_KEYS_SERVICE)
            continue;
        generation->key_sets[i] = key_set_of_setting(jwt, why);
        if (generation->key_sets[i])
            continue;
        snprintf(building->why, BUILD_WHY_BYTES, "%s: %s", jwt->file, why);
        return -EINVAL;
    }
    return 0;
}

static int directories_take(struct building *building)
{
    struct generation *generation = building->generation;
    const struct topology *topology = generation->topology;
    size_t count = topology->directory_count;
    generation->directories = calloc(count + 1, sizeof *generation->directories);
    if (!generation->directories)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++)
        generation->directories[i].fd = fd_take(&building->setup->directories[i]);
    for (size_t i = 0; i < count; i++) {
        struct plan_directory *directory = &generation->directories[i];
        struct stat status;
        if (directory->fd < 0 || fstat(directory->fd, &status) < 0) {
            snprintf(building->why, BUILD_WHY_BYTES, "the folder %s was not given",
                     topology->directories[i]);
            return -EPROTO;
        }
        directory->device = status.st_dev;
        directory->inode = status.st_ino;
    }
    return 0;
}

int generation_build(const struct build_setup *setup, struct generation **ret_generation,
                     char why[BUILD_WHY_BYTES])
{
    why[0] = 0;
    struct building building = {.setup = setup, .why = why};
    int error = bundle_open(setup->bundle_fd, &building.bundle);
    if (error) {
        snprintf(why, BUILD_WHY_BYTES, "the bundle: %s", strerror(-error));
        return error;
    }
    building.generation = calloc(1, sizeof *building.generation);
    error = building.generation ? topology_make(&building) : -ENOMEM;
    if (!error) {
        atomic_init(&building.generation->refs, 1);
        building.generation->number = setup->number;
        building.generation->free = generation_free;
        error = services_learn(building.generation);
    }
    if (!error)
        error = tls_to_make(&building);
    if (!error)
        error = directories_take(&building);
    if (!error)
        error = caches_take(setup->caches, building.generation->topology,
                            tally_sizes(setup->tally)->threads, setup->cache_files,
                            &building.generation->stores);
    if (!error)
        error = keys_make(&building);
    if (!error)
        error = plans_make(&building);
    bundle_free(building.bundle);
    if (!error) {
        *ret_generation = building.generation;
        return 0;
    }
    if (!why[0])
        snprintf(why, BUILD_WHY_BYTES, "%s", strerror(-error));
    generation_free(building.generation);
    return error;
}
