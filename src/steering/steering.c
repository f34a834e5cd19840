#include "steering/steering.h"

#include <errno.h>
#include <string.h>

#include "base/buffer.h"

enum { WHY_BYTES_MAX = 1024 };

/* ---- what is lost, in words --------------------------------------------------------------------
 */

static bool topology_has_policy(const struct topology *topology, enum balance_policy policy)
{
    for (size_t i = 0; i < topology->service_count; i++)
        if (topology->services[i].balance == policy &&
            (topology->services[i].instances > 1 || policy != BALANCE_LEAST))
            return true;
    return false;
}

static bool topology_moves_ports(const struct topology *topology)
{
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        uint16_t target = listener_target(topology, listener);
        if (listener->path == LISTENER_DIRECT && target && target != listener->port)
            return true;
    }
    return false;
}

static void seccomp_losses(struct buffer *why, const struct topology *topology)
{
    bool least = topology_has_policy(topology, BALANCE_LEAST);
    bool cycle = topology_has_policy(topology, BALANCE_ROUND_ROBIN);
    if (least || cycle)
        buffer_printf(why,
                      "; balance %s becomes random by weight, since classic BPF cannot count "
                      "connections",
                      least && cycle ? "least and round-robin"
                      : least        ? "least"
                                     : "round-robin");
    if (topology_moves_ports(topology))
        buffer_puts(why, "; a program whose port is published under another one listens on that "
                         "one only, at its own and home addresses too");
    buffer_puts(why, "; connections in all are not counted, and programs cannot use io_uring");
}

/* ---- choosing ----------------------------------------------------------------------------------
 */

static void bpf_try(const struct steering_setup *setup, struct steering **ret_steering,
                    bool *ret_adopted, int *ret_error, char *reason, size_t reason_size)
{
    *ret_error = -EPERM;
    if (setup->topology->steering == STEERING_SECCOMP)
        snprintf(reason, reason_size, "the configuration asks for seccomp");
    else if (!setup->privileged)
        snprintf(reason, reason_size, "BPF needs root or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON");
    else if (!setup->cgroup_path)
        snprintf(reason, reason_size, "BPF needs a cgroup v2 directory and there is none");
    else
        *ret_error = steering_bpf_new(setup, ret_steering, ret_adopted, reason, reason_size);
}

static int forced_fails(const char *name, int error, const char *reason, char *why, size_t why_size)
{
    snprintf(why, why_size, "steering %s cannot be had: %s", name, reason);
    return error;
}

static void why_give(struct buffer *text, char *why, size_t why_size)
{
    snprintf(why, why_size, "%s", text->data ? text->data : "");
    buffer_done(text);
}

int steering_new(const struct steering_setup *setup, struct steering **ret_steering,
                 bool *ret_adopted, char *why, size_t why_size)
{
    char bpf_reason[256] = "";
    char seccomp_reason[256] = "";
    int error;
    *ret_adopted = false;
    bpf_try(setup, ret_steering, ret_adopted, &error, bpf_reason, sizeof bpf_reason);
    if (!error) {
        snprintf(why, why_size, "BPF in the kernel hands each connection to an instance%s%s",
                 bpf_reason[0] ? "; " : "", bpf_reason);
        return 0;
    }
    /* A published port that is taken is taken for the other mechanisms as well. */
    if (error == -ENOMEM || error == -EADDRINUSE || setup->topology->steering == STEERING_BPF)
        return forced_fails("bpf", error, bpf_reason, why, why_size);
    struct buffer text;
    buffer_init(&text, WHY_BYTES_MAX);
    error = steering_seccomp_new(setup, ret_steering, seccomp_reason, sizeof seccomp_reason);
    if (!error) {
        buffer_printf(&text, "seccomp notification lets instances share ports (SO_REUSEPORT): %s",
                      bpf_reason);
        seccomp_losses(&text, setup->topology);
        why_give(&text, why, why_size);
        return 0;
    }
    if (error == -EACCES) { /* a port that is nobody's to have, whatever steers */
        buffer_done(&text);
        snprintf(why, why_size, "%s", seccomp_reason);
        return error;
    }
    if (error == -ENOMEM || setup->topology->steering == STEERING_SECCOMP) {
        buffer_done(&text);
        return forced_fails("seccomp", error, seccomp_reason, why, why_size);
    }
    buffer_printf(&text,
                  "nothing steers: %s; %s; instances cannot share a port, and what they "
                  "listen on is reachable as it stands",
                  bpf_reason, seccomp_reason);
    why_give(&text, why, why_size);
    return steering_none_new(setup, ret_steering);
}
