#include "topology/difference.h"

#include <stdlib.h>
#include <string.h>

#include "base/table.h"
#include "topology/mark.h"

enum {
    CHANGES_OF_SERVICE = 4, /* at most */
    CHANGES_OF_CLUSTER = 8,
};

static void change_add(struct difference *difference, const struct change *change)
{
    difference->changes[difference->count++] = *change;
}

/* ---- the cluster ------------------------------------------------------------------------------
 */

static bool texts_differ(const char *one, const char *other)
{
    return strcmp(one ? one : "", other ? other : "") != 0;
}

static bool quotas_differ(const struct quota *one, const struct quota *other)
{
    return one->memory_bytes != other->memory_bytes ||
           one->memory_soft_bytes != other->memory_soft_bytes ||
           one->cpu_percent != other->cpu_percent || one->tasks != other->tasks ||
           one->io_weight != other->io_weight;
}

static const struct cache_setting *cache_find(const struct topology *topology, const char *name)
{
    for (size_t i = 0; i < topology->cache_count; i++)
        if (strcmp(topology->caches[i].name, name) == 0)
            return &topology->caches[i];
    return NULL;
}

static bool cache_differs(const struct cache_setting *one, const struct cache_setting *other)
{
    return one->memory_bytes != other->memory_bytes || one->object_bytes != other->object_bytes ||
           texts_differ(one->disk, other->disk) || one->disk_bytes != other->disk_bytes;
}

/* There are few of them (CACHES_MAX). */
static void caches_compare(struct difference *difference)
{
    const struct topology *before = difference->before, *after = difference->after;
    for (size_t i = 0; i < after->cache_count; i++) {
        const struct cache_setting *now = &after->caches[i];
        const struct cache_setting *was = cache_find(before, now->name);
        struct change change = {.kind = was ? CHANGE_CACHE_CHANGED : CHANGE_CACHE_ADDED,
                                .what = now->name};
        if (!was || cache_differs(was, now))
            change_add(difference, &change);
    }
    for (size_t i = 0; i < before->cache_count; i++)
        if (!cache_find(after, before->caches[i].name))
            change_add(difference, &(struct change){.kind = CHANGE_CACHE_REMOVED,
                                                    .what = before->caches[i].name});
}

static void cluster_compare(struct difference *difference)
{
    const struct topology *before = difference->before, *after = difference->after;
    const struct {
        bool differs;
        enum change_kind kind;
        const char *what;
    } parts[] = {
        {texts_differ(before->name, after->name), CHANGE_REFUSED, "the cluster's name"},
        {before->steering != after->steering, CHANGE_LATER, "steering"},
        {quotas_differ(&before->quota, &after->quota), CHANGE_LATER, "the cluster's quota"},
        {texts_differ(before->log_directory, after->log_directory) ||
             before->log_file_bytes_max != after->log_file_bytes_max ||
             before->log_files_max != after->log_files_max,
         CHANGE_LATER, "log"},
        {before->gateway.threads != after->gateway.threads, CHANGE_LATER, "gateway threads="},
        {before->gateway.connections_max != after->gateway.connections_max, CHANGE_GATEWAY, NULL},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i].differs)
            change_add(difference, &(struct change){.kind = parts[i].kind, .what = parts[i].what});
    caches_compare(difference);
}

/* ---- services ---------------------------------------------------------------------------------
 */

static void service_compare(struct difference *difference, const struct service *was,
                            const struct service *now)
{
    struct change change = {.service = now, .service_was = was};
    if (!was->job != !now->job)
        change_add(difference,
                   &(struct change){.kind = CHANGE_REFUSED,
                                    .what = "whether a name is a job's or a service's"});
    if (was->definition != now->definition) {
        change.kind = CHANGE_SERVICE_RESTARTED;
        change_add(difference, &change);
    }
    if (was->instances != now->instances) {
        change.kind = CHANGE_SERVICE_SCALED;
        change_add(difference, &change);
    }
    if (service_mark(was) != service_mark(now)) {
        change.kind = CHANGE_SERVICE_SETTINGS;
        change_add(difference, &change);
    }
}

/* -ENOMEM, or 0. */
static int services_compare(struct difference *difference)
{
    const struct topology *before = difference->before, *after = difference->after;
    struct table *were = table_new(), *are = table_new();
    bool full = !were || !are;
    for (size_t i = 0; !full && i < before->service_count; i++)
        full = !before->services[i].absent &&
               table_add(were, before->services[i].name, &before->services[i], NULL);
    for (size_t i = 0; !full && i < after->service_count; i++) {
        struct service *now = &after->services[i];
        const struct service *was = now->absent ? now : table_get(were, now->name);
        if (!was)
            change_add(difference, &(struct change){.kind = CHANGE_SERVICE_ADDED, .service = now});
        else if (was != now)
            service_compare(difference, was, now);
        full = !now->absent && table_add(are, now->name, now, NULL);
    }
    for (size_t i = 0; !full && i < before->service_count; i++)
        if (!before->services[i].absent && !table_get(are, before->services[i].name))
            change_add(difference, &(struct change){.kind = CHANGE_SERVICE_REMOVED,
                                                    .service = &before->services[i]});
    table_free(were);
    table_free(are);
    return full ? -1 : 0;
}

/* ---- listeners --------------------------------------------------------------------------------
 */

static void listener_compare(struct difference *difference, const struct listener *was,
                             const struct listener *now)
{
    struct change change = {.listener = now, .listener_was = was};
    if (listener_mark(difference->before, was) == listener_mark(difference->after, now))
        return;
    change.kind = was->path != now->path ? CHANGE_LISTENER_MOVED : CHANGE_LISTENER_CHANGED;
    change_add(difference, &change);
}

static int listeners_compare(struct difference *difference)
{
    const struct topology *before = difference->before, *after = difference->after;
    struct table *were = table_new(), *are = table_new();
    bool full = !were || !are;
    for (size_t i = 0; !full && i < before->listener_count; i++)
        full = table_add(were, before->listeners[i].text, &before->listeners[i], NULL) != 0;
    for (size_t i = 0; !full && i < after->listener_count; i++) {
        struct listener *now = &after->listeners[i];
        const struct listener *was = table_get(were, now->text);
        if (was)
            listener_compare(difference, was, now);
        else
            change_add(difference,
                       &(struct change){.kind = CHANGE_LISTENER_ADDED, .listener = now});
        full = table_add(are, now->text, now, NULL) != 0;
    }
    for (size_t i = 0; !full && i < before->listener_count; i++)
        if (!table_get(are, before->listeners[i].text))
            change_add(difference, &(struct change){.kind = CHANGE_LISTENER_REMOVED,
                                                    .listener_was = &before->listeners[i]});
    table_free(were);
    table_free(are);
    return full ? -1 : 0;
}

/* ---- all ---------------------------------------------------------------------------------------
 */

struct difference *difference_new(const struct topology *before, const struct topology *after)
{
    struct difference *difference = calloc(1, sizeof *difference);
    if (!difference)
        return NULL;
    size_t most = CHANGES_OF_CLUSTER + before->cache_count + after->cache_count +
                  CHANGES_OF_SERVICE * (before->service_count + after->service_count) +
                  before->listener_count + after->listener_count;
    difference->before = before;
    difference->after = after;
    difference->changes = calloc(most, sizeof *difference->changes);
    if (difference->changes) {
        cluster_compare(difference);
        if (services_compare(difference) == 0 && listeners_compare(difference) == 0)
            return difference;
    }
    difference_free(difference);
    return NULL;
}

void difference_free(struct difference *difference)
{
    if (!difference)
        return;
    free(difference->changes);
    free(difference);
}

const struct change *difference_find(const struct difference *difference, enum change_kind kind)
{
    for (size_t i = 0; i < difference->count; i++)
        if (difference->changes[i].kind == kind)
            return &difference->changes[i];
    return NULL;
}

/* ---- in words ----------------------------------------------------------------------------------
 */

static const char *path_name(const struct listener *listener)
{
    static const char *const names[] = {
        [LISTENER_DIRECT] = "direct", [LISTENER_RELAY] = "relay", [LISTENER_GATEWAY_HTTP] = "http"};
    return names[listener->path];
}

static const char *plural(uint32_t count)
{
    return count == 1 ? "" : "s";
}

static void service_added_print(const struct service *service, FILE *out)
{
    if (service->gateway.remote_count)
        fprintf(out, "+ service %s, elsewhere\n", service->name);
    else
        fprintf(out, "+ service %s, %u instance%s\n", service->name, service->instances,
                plural(service->instances));
}

/* What is started when it is due, and has no instances to speak of. */
static void job_change_print(const struct change *change, FILE *out)
{
    const char *name = change->service->name;
    if (change->kind == CHANGE_SERVICE_ADDED)
        fprintf(out, "+ job %s\n", name);
    else if (change->kind == CHANGE_SERVICE_REMOVED)
        fprintf(out, "- job %s: a run of it is stopped\n", name);
    else if (change->kind == CHANGE_SERVICE_RESTARTED)
        fprintf(out, "~ job %s: its program changed; the next run is of the new one\n", name);
    else if (change->kind == CHANGE_SERVICE_SETTINGS)
        fprintf(out, "~ job %s: its settings\n", name);
}

static void change_print(const struct change *change, FILE *out)
{
    if (change->service && change->service->job) {
        job_change_print(change, out);
        return;
    }
    switch (change->kind) {
    case CHANGE_SERVICE_ADDED:
        service_added_print(change->service, out);
        break;
    case CHANGE_SERVICE_REMOVED:
        fprintf(out, "- service %s: drained and stopped\n", change->service->name);
        break;
    case CHANGE_SERVICE_RESTARTED:
        fprintf(out, "~ service %s: its program changed; its instances are replaced\n",
                change->service->name);
        break;
    case CHANGE_SERVICE_SCALED:
        fprintf(out, "~ service %s: %u instance%s, were %u\n", change->service->name,
                change->service->instances, plural(change->service->instances),
                change->service_was->instances);
        break;
    case CHANGE_SERVICE_SETTINGS:
        fprintf(out, "~ service %s: its settings; no restart\n", change->service->name);
        break;
    case CHANGE_LISTENER_ADDED:
        fprintf(out, "+ listen %s, %s\n", change->listener->text, path_name(change->listener));
        break;
    case CHANGE_LISTENER_REMOVED:
        fprintf(out, "- listen %s\n", change->listener_was->text);
        break;
    case CHANGE_LISTENER_MOVED:
        fprintf(out, "~ listen %s: %s, was %s\n", change->listener->text,
                path_name(change->listener), path_name(change->listener_was));
        break;
    case CHANGE_LISTENER_CHANGED:
        fprintf(out, "~ listen %s: where it leads, or how\n", change->listener->text);
        break;
    case CHANGE_GATEWAY:
        fprintf(out, "~ gateway: its bounds\n");
        break;
    case CHANGE_CACHE_ADDED:
        fprintf(out, "+ cache %s\n", change->what);
        break;
    case CHANGE_CACHE_REMOVED:
        fprintf(out, "- cache %s: what it has is forgotten\n", change->what);
        break;
    case CHANGE_CACHE_CHANGED:
        fprintf(out, "~ cache %s: its bounds, or its disk\n", change->what);
        break;
    case CHANGE_LATER:
        fprintf(out, "! %s: not before the cluster is restarted\n", change->what);
        break;
    case CHANGE_REFUSED:
        fprintf(out, "! %s cannot change\n", change->what);
        break;
    }
}

void difference_print(const struct difference *difference, FILE *out)
{
    for (size_t i = 0; i < difference->count; i++)
        change_print(&difference->changes[i], out);
}
