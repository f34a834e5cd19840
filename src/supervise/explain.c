#include "supervise/explain.h"
#include "supervise/quota.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "kernel/cgroup.h"
#include "kernel/sockets.h"
#include "steering/steering.h"
#include "topology/addresses.h"
#include "topology/job_text.h"
#include "topology/links.h"

enum { TARGETS_SHOWN_MAX = 8 }; /* of a listener with many routes */

static const char *const balance_names[] = {
    [BALANCE_LEAST] = "least",   [BALANCE_ROUND_ROBIN] = "round-robin",
    [BALANCE_RANDOM] = "random", [BALANCE_WEIGHTED] = "weighted",
    [BALANCE_HASH] = "hash",     [BALANCE_EWMA] = "ewma",
    [BALANCE_STICKY] = "sticky",
};

struct trial { /* what a real start would find */
    char mechanism[16];
    char why[1024];
    char cgroups_why[256];
    const char *controllers[CGROUP_CONTROLLERS];
    char lacks[CGROUP_CONTROLLERS][512];
    bool cgroups;
};

static void nothing_happens(void *owner, const struct steering_listen *listen)
{
    (void)owner;
    (void)listen;
}

static size_t no_processes(void *owner, uint32_t slot, pid_t *ret_pids, size_t max)
{
    (void)owner;
    (void)slot;
    (void)ret_pids;
    (void)max;
    return 0;
}

static void not_kept(void *owner, const char *name, int fd)
{
    (void)owner;
    (void)name;
    (void)fd;
}

static void not_forgotten(void *owner, const char *name)
{
    (void)owner;
    (void)name;
}

static const struct steering_callbacks quiet = {
    .binds = nothing_happens,
    .listens = nothing_happens,
    .processes = no_processes,
    .keep = not_kept,
    .forget = not_forgotten,
};

static void steering_try(struct trial *trial, const struct topology *topology,
                         const uint32_t *homes, const char *cgroup_path)
{
    struct loop *loop = loop_new();
    log_setup("explain", LOG_LEVEL_ERROR, NULL, NULL); /* it is only a trial */
    struct steering_setup setup = {
        .loop = loop,
        .topology = topology,
        .homes = homes,
        .cgroup_path = cgroup_path,
        .slots_max = 64,
        .privileged = geteuid() == 0,
        .callbacks = &quiet,
    };
    struct steering *steering = NULL;
    bool adopted;
    snprintf(trial->mechanism, sizeof trial->mechanism, "nothing");
    if (loop && steering_new(&setup, &steering, &adopted, trial->why, sizeof trial->why) == 0) {
        snprintf(trial->mechanism, sizeof trial->mechanism, "%s", steering->operations->name);
        steering->operations->end(steering, false);
    }
    loop_free(loop);
}

static void trial_run(struct trial *trial, const struct topology *topology, const char *cgroup_base,
                      const uint32_t *homes)
{
    char name[64];
    snprintf(name, sizeof name, "explain-%d", getpid());
    /* The same services under another name, and no published port: the cluster itself may run. */
    struct topology other = *topology;
    other.name = name;
    other.listener_count = 0;
    struct cgroups *cgroups = NULL;
    trial->cgroups = cgroups_open(cgroup_base, name, &cgroups, trial->cgroups_why,
                                  sizeof trial->cgroups_why) == 0;
    for (enum cgroup_controller i = 0; trial->cgroups && i < CGROUP_CONTROLLERS; i++) {
        trial->controllers[i] = cgroups_backend(cgroups, i);
        snprintf(trial->lacks[i], sizeof trial->lacks[i], "%s", cgroups_lack(cgroups, i));
    }
    steering_try(trial, &other, homes, trial->cgroups ? cgroups_path(cgroups) : NULL);
    if (trial->cgroups)
        cgroups_destroy(cgroups);
    cgroups_close(cgroups);
}

static void quotas_print(const struct trial *trial, FILE *out)
{
    if (!trial->cgroups) {
        fprintf(out, "quotas     not enforced: %s\n", trial->cgroups_why);
        return;
    }
    fprintf(out, "quotas    ");
    for (int i = 0; i < CGROUP_CONTROLLERS; i++) {
        const char *backend = trial->controllers[i];
        fprintf(out, " %s: %s%s", quota_words[i], backend ? "cgroup " : "not enforced here",
                backend ? backend : "");
        fputs(i + 1 < CGROUP_CONTROLLERS ? "," : "\n", out);
    }
    for (int i = 0; i < CGROUP_CONTROLLERS; i++)
        if (!trial->controllers[i])
            fprintf(out, "           no %s: %s\n", quota_words[i], trial->lacks[i]);
}

const char *explain_path(const struct listener *listener, bool steered)
{
    switch (listener ? listener->path : LISTENER_DIRECT) {
    case LISTENER_RELAY:
        return "relay";
    case LISTENER_GATEWAY_HTTP:
        return "http";
    case LISTENER_DIRECT:
        break;
    }
    return steered ? "direct" : "none";
}

static bool steered(const struct trial *trial)
{
    return strcmp(trial->mechanism, "none") != 0 && strcmp(trial->mechanism, "nothing") != 0;
}

static void remotes_print(const struct service *service, FILE *out)
{
    fprintf(out, "service    %s: elsewhere, balance %s,", service->name,
            balance_names[service->balance]);
    for (size_t i = 0; i < service->gateway.remote_count; i++)
        fprintf(out, "%s %s", i ? "," : " at", service->gateway.remotes[i].text);
    fputc('\n', out);
}

static void job_print(const struct topology *topology, const struct service *service, FILE *out)
{
    char times[JOB_TEXT_BYTES], bounds[JOB_TEXT_BYTES];
    job_text_bounds(service->job, bounds);
    fprintf(out, "job        %s: %s%s%s", service->name, job_text_times(service->job, times),
            *bounds ? ", " : "", bounds);
    for (size_t i = 0; i < service->uses_count; i++)
        fprintf(out, "%s %s", i ? "," : ", uses", topology->services[service->uses[i]].name);
    fputc('\n', out);
}

static void service_print(const struct service *service, const struct trial *trial,
                          const struct listener *first, uint32_t home, FILE *out)
{
    char address[ADDRESS_TEXT_BYTES];
    if (service->gateway.remote_count) {
        remotes_print(service, out);
        return;
    }
    fprintf(out, "service    %s: %s, ", service->name, explain_path(first, steered(trial)));
    if (service->scale.high)
        fprintf(out, "%u to %u", service->scale.low, service->scale.high);
    else
        fprintf(out, "%u", service->instances);
    fprintf(out, " instances, balance %s, home %s, ", balance_names[service->balance],
            address_format(home, address));
    for (size_t i = 0; i < service->port_count; i++)
        fprintf(out, "%s%s port %u", i ? ", " : "",
                service->ports[i].protocol == PROTOCOL_UDP ? "udp" : "tcp", service->ports[i].port);
    if (!service->port_count)
        fputs(service->listens ? "its port is learnt when it listens" : "listens nowhere", out);
    fputs(service->publish ? "; published as it listens\n" : "\n", out);
}

/* The services that it leads to, each once. */
static void targets_print(const struct topology *topology, const struct links *links,
                          uint32_t number, FILE *out)
{
    unsigned shown = 0;
    for (uint32_t service = 0; service < topology->service_count; service++) {
        size_t count;
        const uint32_t *list = links_of(links, service, &count);
        for (size_t i = 0; i < count; i++)
            if (list[i] == number && ++shown <= TARGETS_SHOWN_MAX)
                fprintf(out, "%s%s", shown > 1 ? ", " : " -> ", topology->services[service].name);
    }
    if (shown > TARGETS_SHOWN_MAX)
        fprintf(out, " and %u more", shown - TARGETS_SHOWN_MAX);
}

static void direct_print(const struct topology *topology, const struct listener *listener,
                         const struct trial *trial, FILE *out)
{
    uint16_t target = listener_target(topology, listener);
    if (target)
        fprintf(out, ", to port %u", target);
    else
        fputs(", to the port that the program listens on", out);
    if (strcmp(trial->mechanism, "bpf") == 0)
        fputs("; the kernel hands each connection to an instance's own socket, no proxy", out);
}

static void listener_print(const struct topology *topology, const struct links *links,
                           uint32_t number, const struct trial *trial, FILE *out)
{
    const struct listener *listener = &topology->listeners[number];
    fprintf(out, "listen     %s", listener->text);
    targets_print(topology, links, number, out);
    fprintf(out, ": %s", explain_path(listener, steered(trial)));
    if (listener->path == LISTENER_DIRECT)
        direct_print(topology, listener, trial, out);
    if (listener->path_why)
        fprintf(out, "; %s", listener->path_why);
    if (strcmp(trial->mechanism, "bpf") != 0 && !sockets_port_allowed(listener->port))
        fprintf(out, "; `up` refuses it, since that port needs a right: %s", SOCKETS_PORT_HINT);
    fputc('\n', out);
}

static void parts_print(const struct topology *topology, const struct trial *trial,
                        const uint32_t *homes, FILE *out)
{
    struct links *links = links_listeners_new(topology);
    if (!links)
        return;
    for (uint32_t i = 0; i < topology->service_count; i++) {
        size_t count;
        const uint32_t *list = links_of(links, i, &count);
        if (topology->services[i].job)
            continue;
        service_print(&topology->services[i], trial, count ? &topology->listeners[list[0]] : NULL,
                      homes[i], out);
    }
    for (uint32_t i = 0; i < topology->listener_count; i++)
        listener_print(topology, links, i, trial, out);
    for (uint32_t i = 0; i < topology->service_count; i++)
        if (topology->services[i].job)
            job_print(topology, &topology->services[i], out);
    links_free(links);
}

void explain_print(const struct topology *topology, const char *cgroup_base, FILE *out)
{
    struct trial trial = {0};
    uint32_t *homes = calloc(topology->service_count + 1, sizeof *homes);
    if (!homes)
        return;
    addresses_homes(topology, homes);
    trial_run(&trial, topology, cgroup_base, homes);
    fprintf(out, "mechanism  %s: %s\n", trial.mechanism, trial.why);
    quotas_print(&trial, out);
    parts_print(topology, &trial, homes, out);
    free(homes);
}
