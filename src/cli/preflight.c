#include "cli/preflight.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/scoped.h"
#include "gateway/guard/key_set.h"
#include "tls/client.h"
#include "tls/server.h"

enum { FINDING_WHY_BYTES = 512 };

struct finding {  /* as it comes through the pipe; less than PIPE_BUF, so it comes whole */
    size_t index; /* of a listener, a service or a token */
    enum { FOUND_LISTENER, FOUND_SERVICE, FOUND_TOKEN } kind;
    char why[FINDING_WHY_BYTES];
};

struct preflight {
    const struct topology *topology;
    const struct bundle *bundle;
    int out;
};

static const char *file_read(void *owner, const char *path, size_t *ret_length)
{
    const struct preflight *preflight = owner;
    return bundle_find(preflight->bundle, BUNDLE_FILE, path, ret_length);
}

static void tell(const struct preflight *preflight, const struct finding *finding)
{
    if (write(preflight->out, finding, sizeof *finding) < 0)
        _exit(1);
}

static void listener_try(struct preflight *preflight, struct tls_tickets *tickets, size_t index)
{
    const struct listener *listener = &preflight->topology->listeners[index];
    struct finding finding = {.kind = FOUND_LISTENER, .index = index};
    struct tls_server *server = NULL;
    if (listener->tls && tls_server_new(listener->tls, NULL, file_read, preflight, tickets, &server,
                                        finding.why, sizeof finding.why))
        tell(preflight, &finding);
    tls_server_free(server);
}

static void service_try(struct preflight *preflight, size_t index)
{
    const struct service_tls *tls = &preflight->topology->services[index].gateway.tls;
    struct finding finding = {.kind = FOUND_SERVICE, .index = index};
    struct tls_client *client = NULL;
    if (tls->on &&
        tls_client_new(tls, NULL, file_read, preflight, &client, finding.why, sizeof finding.why))
        tell(preflight, &finding);
    tls_client_free(client);
}

static void token_try(const struct preflight *preflight, size_t index)
{
    const struct guard_jwt *jwt = preflight->topology->tokens[index];
    struct finding finding = {.kind = FOUND_TOKEN, .index = index};
    char why[KEY_WHY_BYTES] = "";
    if (jwt->keys == GUARD_KEYS_SERVICE)
        return;
    struct key_set *keys = key_set_of_setting(jwt, why);
    snprintf(finding.why, sizeof finding.why, "%s: %s", jwt->file, why);
    if (!keys)
        tell(preflight, &finding);
    key_set_free(keys);
}

static void all_try(struct preflight *preflight)
{
    const struct topology *topology = preflight->topology;
    struct tls_tickets *tickets = tls_tickets_new(-1);
    for (size_t i = 0; tickets && i < topology->listener_count; i++)
        listener_try(preflight, tickets, i);
    for (size_t i = 0; i < topology->service_count; i++)
        service_try(preflight, i);
    for (size_t i = 0; i < topology->token_count; i++)
        token_try(preflight, i);
}

static void report(const struct topology *topology, const struct finding *finding,
                   struct diagnostics *diagnostics)
{
    struct place place = {.file = topology->file};
    if (finding->kind == FOUND_LISTENER) {
        const struct listener *listener = &topology->listeners[finding->index];
        place = (struct place){.file = listener->file, .line = listener->line};
    } else if (finding->kind == FOUND_SERVICE) {
        const struct service *service = &topology->services[finding->index];
        place = (struct place){.file = service->file, .line = service->line};
    }
    diagnostics_add(diagnostics, DIAGNOSTIC_ERROR, &place, NULL, "%s", finding->why);
}

static bool anything_to_try(const struct topology *topology)
{
    bool any = topology->token_count != 0;
    for (size_t i = 0; i < topology->listener_count; i++)
        any |= topology->listeners[i].tls != NULL;
    for (size_t i = 0; i < topology->service_count; i++)
        any |= topology->services[i].gateway.tls.on;
    return any;
}

void preflight_run(const struct topology *topology, int bundle_fd, struct diagnostics *diagnostics)
{
    struct preflight preflight = {.topology = topology};
    struct bundle *bundle = NULL;
    int pipes[2];
    if (!anything_to_try(topology) || bundle_open(bundle_fd, &bundle) < 0)
        return;
    preflight.bundle = bundle;
    pid_t child = pipe2(pipes, O_CLOEXEC) < 0 ? -1 : fork();
    if (child == 0) {
        close(pipes[0]);
        preflight.out = pipes[1];
        all_try(&preflight);
        _exit(0);
    }
    bundle_free(bundle);
    if (child < 0)
        return; /* the gateway says it, too */
    close(pipes[1]);
    struct finding finding;
    while (read(pipes[0], &finding, sizeof finding) == (ssize_t)sizeof finding)
        report(topology, &finding, diagnostics);
    close(pipes[0]);
    waitpid(child, NULL, 0);
}
