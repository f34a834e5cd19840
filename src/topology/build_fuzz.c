/* Fuzz target: any bytes are a configuration or are diagnostics, and never anything else. It stands
 * here, not in conf/, because it goes all the way to a topology, which conf/ may not know.
 *
 * The bytes cannot include files (there is no directory), so a run touches nothing but memory. The
 * second build of each input has a small arena, so that its trap is taken at all possible places.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "topology/addresses.h"
#include "topology/build.h"
#include "topology/dump_fixture.h"
#include "topology/pattern.h"
#include "topology/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *const environment[] = {(char[]){"HOME=/root"}, (char[]){"N=7"}, (char[]){"D=a$b"},
                                    NULL};

static void expand_all(const struct service *service, const struct template_values *values)
{
    size_t length;
    for (size_t i = 0; i < service->argc; i++) {
        if (template_unknown(service->argv[i], &length))
            abort();
        free(template_expand(service->argv[i], values));
    }
}

static void pattern_verify(const char *pattern)
{
    struct pattern_part part;
    while (pattern && pattern_next(&pattern, &part))
        if (part.length && !part.text)
            abort();
}

static void route_verify(const struct topology *topology, const struct route *route)
{
    if (!route->name || !route->path || (route->kind == ROUTE_PROXY) != (route->target_count > 0) ||
        (route->kind == ROUTE_REDIRECT) != (route->location != NULL))
        abort();
    for (size_t i = 0; i < route->target_count; i++)
        if (route->targets[i].service >= topology->service_count)
            abort();
    for (size_t i = 0; i < route->headers_change_count; i++)
        pattern_verify(route->headers_change[i].value);
    for (size_t i = 0; i < route->rewrite_count; i++)
        pattern_verify(route->rewrites[i].replacement);
    pattern_verify(route->location);
    pattern_verify(route->body);
}

static void listener_verify(const struct topology *topology, const struct listener *listener)
{
    const struct site *site = listener->site;
    bool own = listener->service != UINT32_MAX;
    if ((listener->kind == LISTENER_HTTP) != (site != NULL) || !listener->path_why ||
        (own && listener->service >= topology->service_count) ||
        own != (listener->kind == LISTENER_STREAM && !listener->sni_count))
        abort();
    for (size_t i = 0; i < listener->sni_count; i++)
        if (listener->snis[i].service >= topology->service_count)
            abort();
    for (size_t i = 0; site && i < site->host_count; i++)
        for (size_t k = 0; k < site->hosts[i].route_count; k++)
            route_verify(topology, &site->hosts[i].routes[k]);
}

/* What the rest of enginx takes for granted. */
static void topology_verify(const struct topology *topology)
{
    static uint32_t homes[TOPOLOGY_SERVICES_MAX];
    static const struct template_values values = {.cluster = "c",
                                                  .service = "s",
                                                  .realm = "r",
                                                  .instance = 1,
                                                  .port = 80,
                                                  .state = "/s",
                                                  .address = "127.77.1.1",
                                                  .home = "127.86.1.1"};
    addresses_homes(topology, homes);
    for (size_t i = 0; i < topology->service_count; i++) {
        const struct service *service = &topology->services[i];
        bool elsewhere = service->gateway.remote_count > 0;
        if (elsewhere == (service->argc > 0) || elsewhere == (service->instances > 0) ||
            (service->argc && service->argv[service->argc]) || service->env[service->env_count] ||
            topology_service(topology, service->name) != service)
            abort();
        for (size_t j = 0; j < service->uses_count; j++)
            if (service->uses[j] >= topology->service_count)
                abort();
        expand_all(service, &values);
    }
    for (size_t i = 0; i < topology->listener_count; i++)
        listener_verify(topology, &topology->listeners[i]);
}

static char *dump_take(const struct topology *topology)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    topology_dump(topology, out);
    fclose(out);
    return text;
}

/* What was collected gives the same topology. */
static void bundle_verify(const struct topology *topology, const struct bundle *bundle)
{
    struct diagnostics *diagnostics = diagnostics_new();
    struct topology *other = topology_load_bundle(bundle, diagnostics);
    if (!other)
        abort();
    char *text = dump_take(topology), *other_text = dump_take(other);
    if (strcmp(text, other_text) != 0)
        abort();
    free(text);
    free(other_text);
    topology_free(other);
    diagnostics_free(diagnostics);
}

static void once(const uint8_t *data, size_t size, size_t bytes_max)
{
    struct bundle *bundle = bundle_new();
    const struct topology_options options = {
        .environment = environment, .bytes_max = bytes_max, .collect = bundle};
    struct diagnostics *diagnostics = diagnostics_new();
    struct topology *topology =
        topology_parse((const char *)data, size, "fuzz", NULL, &options, diagnostics);
    if (!topology != (diagnostics_errors(diagnostics) > 0))
        abort();
    if (topology) {
        topology_verify(topology);
        bundle_verify(topology, bundle);
    }
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    diagnostics_print(diagnostics, out, true);
    fclose(out);
    free(text);
    topology_free(topology);
    diagnostics_free(diagnostics);
    bundle_free(bundle);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    once(data, size, 0);
    once(data, size, 256 + size * 37 % 8192);
    return 0;
}
