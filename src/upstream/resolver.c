#include "upstream/resolver.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/un.h>

#include "base/log.h"
#include "base/table.h"
#include "upstream/address_text.h"
#include "upstream/dns.h"
#include "upstream/hosts.h"
#include "upstream/resolved_private.h"
#include "upstream/resolver_private.h"
#include "upstream/tally.h"

_Static_assert((int)RESOLVE_ADDRESSES_MAX == (int)DNS_ADDRESSES_MAX, "answers fit");

/* A remote that some service names. */
struct name {
    TAILQ_ENTRY(name) next;
    struct resolver *resolver;
    char *text; /* who it is */
    char *host; /* NULL: a Unix socket */
    char *path;
    uint16_t port;
    uint32_t place;     /* in resolved */
    struct timer timer; /* ask again; of one that is gone: forget it */
    bool asking;
    bool failing; /* and it was said */
    bool wanted;  /* by the newest topology */
};

struct resolver {
    struct loop *loop;
    struct resolved *resolved;
    struct tally *tally;
    void (*changed)(void *owner);
    void *owner;
    struct dns *dns;
    struct hosts *hosts;
    TAILQ_HEAD(, name) names;
    bool ending;
};

/* ---- life ----------------------------------------------------------------------------------- */

struct resolver *resolver_new(struct loop *loop, struct resolved *resolved, struct tally *tally,
                              void (*changed)(void *owner), void *owner)
{
    struct resolver *resolver = calloc(1, sizeof *resolver);
    if (!resolver)
        return NULL;
    *resolver = (struct resolver){.loop = loop,
                                  .resolved = resolved,
                                  .tally = tally,
                                  .changed = changed,
                                  .owner = owner,
                                  .dns = dns_new(loop)};
    TAILQ_INIT(&resolver->names);
    int error = resolver->dns ? resolver_hosts_set(resolver, "/etc/hosts") : -errno;
    if (error) {
        resolver_free(resolver);
        errno = -error;
        return NULL;
    }
    return resolver;
}

static void name_free(struct name *name)
{
    timer_stop(name->resolver->loop, &name->timer);
    TAILQ_REMOVE(&name->resolver->names, name, next);
    free(name->text);
    free(name->host);
    free(name->path);
    free(name);
}

void resolver_free(struct resolver *resolver)
{
    if (!resolver)
        return;
    resolver->ending = true;
    dns_free(resolver->dns);
    while (!TAILQ_EMPTY(&resolver->names))
        name_free(TAILQ_FIRST(&resolver->names));
    hosts_free(resolver->hosts);
    free(resolver);
}

int resolver_servers_set(struct resolver *resolver, const char *servers)
{
    return dns_servers_set(resolver->dns, servers);
}

int resolver_hosts_set(struct resolver *resolver, const char *path)
{
    struct hosts *hosts = hosts_read(path);
    if (!hosts)
        return -ENOMEM;
    hosts_free(resolver->hosts);
    resolver->hosts = hosts;
    return 0;
}

/* ---- what became known ---------------------------------------------------------------------- */

static struct resolved_address address_made(const struct name *name,
                                            const struct sockaddr_storage *address)
{
    struct resolved_address made = {.address = *address};
    void *bytes = &made.address;
    if (address->ss_family == AF_INET) {
        ((struct sockaddr_in *)bytes)->sin_port = htons(name->port);
        made.length = sizeof(struct sockaddr_in);
    } else if (address->ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)bytes)->sin6_port = htons(name->port);
        made.length = sizeof(struct sockaddr_in6);
    } else {
        made.length = sizeof(struct sockaddr_un);
    }
    char text[ADDRESS_TEXT_BYTES];
    made.row = tally_remote_take(name->resolver->tally,
                                 address_text((const struct sockaddr *)&made.address, text));
    return made;
}

static bool address_same(const struct resolved_address *a, const struct resolved_address *b)
{
    return a->length == b->length && memcmp(&a->address, &b->address, a->length) == 0;
}

/* Health that is known of an address stays; what has not changed is not written. */
static void name_known(struct name *name, const struct sockaddr_storage *addresses, size_t count)
{
    struct resolver *resolver = name->resolver;
    struct resolved_address before[RESOLVE_ADDRESSES_MAX];
    struct resolved_address after[RESOLVE_ADDRESSES_MAX];
    uint32_t version;
    uint32_t before_count = resolved_read(resolver->resolved, name->place, before, &version);
    bool same = before_count == count;
    for (uint32_t i = 0; i < count; i++) {
        after[i] = address_made(name, &addresses[i]);
        for (uint32_t j = 0; j < before_count; j++)
            if (address_same(&after[i], &before[j]))
                after[i].ill = before[j].ill, after[i].role = before[j].role;
        same = same && address_same(&after[i], &before[i]);
    }
    if (same)
        return;
    resolved_write(resolver->resolved, name->place, after, (uint32_t)count);
    char text[RESOLVED_TEXT_BYTES];
    log_info("resolved", "remote=%s addresses=%zu", log_text(name->text, text, sizeof text), count);
    resolver->changed(resolver->owner);
}

static void name_failed(struct name *name, const char *why)
{
    struct resolver *resolver = name->resolver;
    if (!name->failing) {
        char text[RESOLVED_TEXT_BYTES];
        char reason[128];
        log_warn("resolve-failed", "remote=%s why=%s again_ms=%d",
                 log_text(name->text, text, sizeof text), log_text(why, reason, sizeof reason),
                 RESOLVE_RETRY_MS);
    }
    name->failing = true;
    if (resolved_pending(resolver->resolved, name->place)) {
        resolved_pending_set(resolver->resolved, name->place, false);
        resolver->changed(resolver->owner);
    }
}

/* ---- asking --------------------------------------------------------------------------------- */

static void name_due(struct timer *timer);

/* Without memory for the timer it is asked with the next topology. */
static void name_later(struct name *name, uint64_t delay_ms)
{
    (void)timer_start(name->resolver->loop, &name->timer, delay_ms, name_due, name);
}

static uint64_t ttl_bound_ms(uint32_t ttl_s)
{
    uint64_t ttl_ms = (uint64_t)ttl_s * 1000;
    if (ttl_ms < RESOLVE_TTL_MIN_MS)
        return RESOLVE_TTL_MIN_MS;
    return ttl_ms > RESOLVE_TTL_MAX_MS ? RESOLVE_TTL_MAX_MS : ttl_ms;
}

static void name_answered(void *owner, const struct dns_answer *answer)
{
    struct name *name = owner;
    name->asking = false;
    if (name->resolver->ending)
        return;
    if (answer->why) {
        name_failed(name, answer->why);
    } else {
        name->failing = false;
        name_known(name, answer->addresses, answer->count);
    }
    if (name->wanted)
        name_later(name, answer->why ? RESOLVE_RETRY_MS : ttl_bound_ms(answer->ttl_s));
}

/* What needs no question: a path, an address, a name of the hosts file. 0: ask. */
static size_t name_at_hand(const struct name *name, struct sockaddr_storage *ret_addresses)
{
    memset(ret_addresses, 0, sizeof *ret_addresses);
    if (name->path) {
        struct sockaddr_un local = {.sun_family = AF_UNIX};
        memcpy(local.sun_path, name->path, strlen(name->path));
        memcpy(ret_addresses, &local, sizeof local);
        return 1;
    }
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, name->host, &v4.sin_addr) == 1) {
        memcpy(ret_addresses, &v4, sizeof v4);
        return 1;
    }
    if (inet_pton(AF_INET6, name->host, &v6.sin6_addr) == 1) {
        memcpy(ret_addresses, &v6, sizeof v6);
        return 1;
    }
    return hosts_find(name->resolver->hosts, name->host, ret_addresses, RESOLVE_ADDRESSES_MAX);
}

static void name_ask(struct name *name)
{
    struct sockaddr_storage addresses[RESOLVE_ADDRESSES_MAX];
    size_t count = name_at_hand(name, addresses);
    if (count > 0) {
        name_known(name, addresses, count);
        return;
    }
    name->asking = true;
    dns_ask(name->resolver->dns, name->host, name_answered, name);
}

static void name_due(struct timer *timer)
{
    struct name *name = timer->owner;
    if (name->wanted && !name->asking) {
        name_ask(name);
    } else if (!name->wanted && name->asking) {
        name_later(name, RESOLVE_RETRY_MS); /* the answer may still come */
    } else if (!name->wanted) {
        struct resolver *resolver = name->resolver;
        resolved_drop(resolver->resolved, name->place);
        name_free(name);
        resolver->changed(resolver->owner);
    }
}

/* ---- settling ------------------------------------------------------------------------------- */

static char *copied(const char *text, bool *failed)
{
    char *copy = text ? strdup(text) : NULL;
    *failed = *failed || (text && !copy);
    return copy;
}

static int name_new(struct resolver *resolver, const struct remote *remote, struct name **ret_name)
{
    struct sockaddr_un local;
    if (!remote->host && strlen(remote->path) >= sizeof local.sun_path)
        return -ENAMETOOLONG;
    uint32_t place = resolved_take(resolver->resolved, remote->text);
    if (place == UINT32_MAX)
        return -ENOSPC;
    struct name *name = calloc(1, sizeof *name);
    bool failed = !name;
    if (name) {
        *name = (struct name){.resolver = resolver, .port = remote->port, .place = place};
        name->text = copied(remote->text, &failed);
        name->host = copied(remote->host, &failed);
        name->path = copied(remote->host ? NULL : remote->path, &failed);
        TAILQ_INSERT_TAIL(&resolver->names, name, next);
    }
    if (failed) {
        resolved_drop(resolver->resolved, place);
        if (name)
            name_free(name);
        return -ENOMEM;
    }
    *ret_name = name;
    return 0;
}

/* The name of a remote, made and asked for when it is new, or was about to be forgotten. */
static int remote_settle(struct resolver *resolver, struct table *known,
                         const struct remote *remote)
{
    struct name *name = table_get(known, remote->text);
    if (!name) {
        int error = name_new(resolver, remote, &name);
        if (!error)
            error = table_add(known, name->text, name, NULL);
        if (error)
            return error;
    }
    if (name->wanted)
        return 0;
    name->wanted = true;
    timer_stop(resolver->loop, &name->timer);
    if (!name->asking)
        name_ask(name);
    return 0;
}

static int remotes_settle(struct resolver *resolver, struct table *known,
                          const struct topology *topology)
{
    for (size_t i = 0; i < topology->service_count; i++) {
        const struct service_gateway *gateway = &topology->services[i].gateway;
        for (size_t j = 0; j < gateway->remote_count; j++) {
            int error = remote_settle(resolver, known, &gateway->remotes[j]);
            if (error)
                return error;
        }
    }
    return 0;
}

static bool remote_named(const struct table *wanted, const struct name *name)
{
    return table_get(wanted, name->text) != NULL;
}

/* Their texts, each with something that is not NULL. */
static struct table *remotes_table(const struct topology *topology)
{
    struct table *wanted = table_new();
    for (size_t i = 0; wanted && i < topology->service_count; i++) {
        const struct service_gateway *gateway = &topology->services[i].gateway;
        for (size_t j = 0; wanted && j < gateway->remote_count; j++) {
            char *text = (char *)(uintptr_t)gateway->remotes[j].text;
            if (table_add(wanted, text, text, NULL) == -ENOMEM) {
                table_free(wanted);
                wanted = NULL;
            }
        }
    }
    return wanted;
}

static struct table *names_table(const struct resolver *resolver)
{
    struct table *known = table_new();
    struct name *name;
    TAILQ_FOREACH (name, &resolver->names, next) {
        if (known && table_add(known, name->text, name, NULL) == -ENOMEM) {
            table_free(known);
            known = NULL;
        }
    }
    return known;
}

int resolver_settle(struct resolver *resolver, const struct topology *topology)
{
    struct table *known = names_table(resolver);
    struct table *wanted = remotes_table(topology);
    int error = known && wanted ? remotes_settle(resolver, known, topology) : -ENOMEM;
    struct name *name;
    if (!error) {
        TAILQ_FOREACH (name, &resolver->names, next) {
            if (!name->wanted || remote_named(wanted, name))
                continue;
            /* Not yet: threads may go on for a while with what they had. */
            name->wanted = false;
            name_later(name, RESOLVE_FORGET_MS);
        }
    }
    table_free(known);
    table_free(wanted);
    return error;
}

void resolver_health_set(struct resolver *resolver, uint32_t place, uint32_t index, bool ill)
{
    if (resolved_ill_set(resolver->resolved, place, index, ill))
        resolver->changed(resolver->owner);
}

void resolver_role_set(struct resolver *resolver, uint32_t place, uint32_t index,
                       enum endpoint_role role)
{
    if (resolved_role_set(resolver->resolved, place, index, role))
        resolver->changed(resolver->owner);
}
