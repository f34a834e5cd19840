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
        if (!service->argc || service->argv[service->argc] || !service->instances ||
            service->env[service->env_count] ||
            topology_service(topology, service->name) != service)
            abort();
        for (size_t j = 0; j < service->uses_count; j++)
            if (service->uses[j] >= topology->service_count)
                abort();
        expand_all(service, &values);
    }
    for (size_t i = 0; i < topology->listener_count; i++)
        if (topology->listeners[i].service >= topology->service_count)
            abort();
}

static void once(const uint8_t *data, size_t size, size_t bytes_max)
{
    const struct topology_options options = {.environment = environment, .bytes_max = bytes_max};
    struct diagnostics *diagnostics = diagnostics_new();
    struct topology *topology =
        topology_parse((const char *)data, size, "fuzz", NULL, &options, diagnostics);
    if (!topology != (diagnostics_errors(diagnostics) > 0))
        abort();
    if (topology)
        topology_verify(topology);
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    diagnostics_print(diagnostics, out, true);
    fclose(out);
    free(text);
    topology_free(topology);
    diagnostics_free(diagnostics);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    once(data, size, 0);
    once(data, size, 256 + size * 37 % 8192);
    return 0;
}
