#include "upstream/dns.h"

#include <ares.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum {
    TRY_MS = 2000, /* for an answer; c-ares doubles it with each try */
    TRIES = 3,
    NODES_MAX = 256, /* of an answer; the first DNS_ADDRESSES_MAX of them in their order are kept */
};

struct dns_socket {
    LIST_ENTRY(dns_socket) next;
    struct dns *dns;
    struct watch watch;
};

struct dns {
    struct loop *loop;
    ares_channel channel;
    struct timer timer; /* c-ares's next timeout */
    LIST_HEAD(, dns_socket) sockets;
};

struct question {
    dns_call *call;
    void *owner;
};

/* ---- c-ares on the loop --------------------------------------------------------------------- */

static void timer_due_process(struct timer *timer);

static void timer_set(struct dns *dns)
{
    struct timeval left;
    if (!ares_timeout(dns->channel, NULL, &left)) {
        timer_stop(dns->loop, &dns->timer);
        return;
    }
    uint64_t left_ms = (uint64_t)left.tv_sec * 1000 + (uint64_t)left.tv_usec / 1000 + 1;
    /* Without memory for the timer a lost answer is noticed with the next question. */
    (void)timer_start(dns->loop, &dns->timer, left_ms, timer_due_process, dns);
}

static void timer_due_process(struct timer *timer)
{
    struct dns *dns = timer->owner;
    ares_process_fd(dns->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    timer_set(dns);
}

/* It may be gone when c-ares returns. */
static void socket_ready(struct watch *watch, unsigned events)
{
    struct dns *dns = ((struct dns_socket *)watch->owner)->dns;
    int fd = watch->fd;
    unsigned broken = WATCH_ERROR | WATCH_HANGUP;
    ares_process_fd(dns->channel, events & (WATCH_READ | broken) ? fd : ARES_SOCKET_BAD,
                    events & (WATCH_WRITE | broken) ? fd : ARES_SOCKET_BAD);
    timer_set(dns);
}

static struct dns_socket *socket_find(struct dns *dns, int fd)
{
    struct dns_socket *found;
    LIST_FOREACH (found, &dns->sockets, next)
        if (found->watch.fd == fd)
            break;
    return found;
}

static void socket_drop(struct dns_socket *found)
{
    watch_stop(found->dns->loop, &found->watch);
    LIST_REMOVE(found, next);
    free(found);
}

/* A socket that cannot be watched is as one without an answer: c-ares goes on after a time. */
static void socket_add(struct dns *dns, int fd, unsigned events)
{
    struct dns_socket *added = calloc(1, sizeof *added);
    if (!added)
        return;
    added->dns = dns;
    if (watch_start(dns->loop, &added->watch, fd, events, socket_ready, added) < 0) {
        free(added);
        return;
    }
    LIST_INSERT_HEAD(&dns->sockets, added, next);
}

/* Both 0: c-ares is about to close it. */
static void socket_state(void *owner, ares_socket_t fd, int readable, int writable)
{
    struct dns *dns = owner;
    struct dns_socket *found = socket_find(dns, fd);
    unsigned events =
        (readable ? (unsigned)WATCH_READ : 0) | (writable ? (unsigned)WATCH_WRITE : 0);
    if (events == 0 && found)
        socket_drop(found);
    else if (events != 0 && found)
        (void)watch_change(dns->loop, &found->watch, events);
    else if (events != 0)
        socket_add(dns, fd, events);
}

/* ---- life ----------------------------------------------------------------------------------- */

static int errno_of(int status)
{
    return status == ARES_ENOMEM ? ENOMEM : status == ARES_EFILE ? EIO : EINVAL;
}

struct dns *dns_new(struct loop *loop)
{
    struct dns *dns = calloc(1, sizeof *dns);
    if (!dns)
        return NULL;
    dns->loop = loop;
    LIST_INIT(&dns->sockets);
    char lookups[] = "b"; /* the servers alone: the hosts file cannot be read later */
    struct ares_options options = {
        .timeout = TRY_MS,
        .tries = TRIES,
        .lookups = lookups,
        .sock_state_cb = socket_state,
        .sock_state_cb_data = dns,
    };
    int status = ares_library_init(ARES_LIB_INIT_ALL);
    if (status == ARES_SUCCESS) {
        status = ares_init_options(&dns->channel, &options,
                                   ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
                                       ARES_OPT_SOCK_STATE_CB);
        if (status != ARES_SUCCESS)
            ares_library_cleanup();
    }
    if (status != ARES_SUCCESS) {
        free(dns);
        errno = errno_of(status);
        return NULL;
    }
    return dns;
}

void dns_free(struct dns *dns)
{
    if (!dns)
        return;
    ares_destroy(dns->channel);
    ares_library_cleanup();
    timer_stop(dns->loop, &dns->timer);
    while (!LIST_EMPTY(&dns->sockets))
        socket_drop(LIST_FIRST(&dns->sockets));
    free(dns);
}

int dns_servers_set(struct dns *dns, const char *servers)
{
    return ares_set_servers_ports_csv(dns->channel, servers) == ARES_SUCCESS ? 0 : -EINVAL;
}

/* ---- questions ------------------------------------------------------------------------------ */

/* IPv4 first; of one family by their bytes, so that the same answer has the same order always. */
static int by_bytes(const void *left, const void *right)
{
    const struct sockaddr_storage *a = left;
    const struct sockaddr_storage *b = right;
    if (a->ss_family != b->ss_family)
        return a->ss_family == AF_INET ? -1 : 1;
    return memcmp(a, b, sizeof *a);
}

static bool same_as_last(const struct dns_answer *answer, const struct sockaddr_storage *address)
{
    return answer->count > 0 &&
           memcmp(&answer->addresses[answer->count - 1], address, sizeof *address) == 0;
}

static void answer_fill(struct dns_answer *answer, struct sockaddr_storage *nodes, size_t count)
{
    qsort(nodes, count, sizeof *nodes, by_bytes);
    for (size_t i = 0; i < count && answer->count < DNS_ADDRESSES_MAX; i++)
        if (!same_as_last(answer, &nodes[i]))
            answer->addresses[answer->count++] = nodes[i];
}

static void ttl_lower(uint32_t *ttl_s, int other_s)
{
    if (other_s < 0)
        other_s = 0;
    if ((uint32_t)other_s < *ttl_s)
        *ttl_s = (uint32_t)other_s;
}

static void answer_read(struct dns_answer *answer, const struct ares_addrinfo *result)
{
    static struct sockaddr_storage nodes[NODES_MAX]; /* of the main thread */
    size_t count = 0;
    memset(nodes, 0, sizeof nodes);
    answer->ttl_s = UINT32_MAX;
    for (const struct ares_addrinfo_node *node = result->nodes; node && count < NODES_MAX;
         node = node->ai_next) {
        if ((size_t)node->ai_addrlen > sizeof *nodes)
            continue;
        ttl_lower(&answer->ttl_s, node->ai_ttl);
        memcpy(&nodes[count++], node->ai_addr, (size_t)node->ai_addrlen);
    }
    for (const struct ares_addrinfo_cname *alias = result->cnames; alias; alias = alias->next)
        ttl_lower(&answer->ttl_s, alias->ttl);
    answer_fill(answer, nodes, count);
}

static void question_answered(void *owner, int status, int timeouts, struct ares_addrinfo *result)
{
    (void)timeouts;
    struct question question = *(struct question *)owner;
    struct dns_answer answer = {0};
    free(owner);
    if (status == ARES_SUCCESS && result)
        answer_read(&answer, result);
    if (result)
        ares_freeaddrinfo(result);
    if (answer.count == 0)
        answer.why = status == ARES_SUCCESS ? "no address" : ares_strerror(status);
    question.call(question.owner, &answer);
}

void dns_ask(struct dns *dns, const char *host, dns_call *call, void *owner)
{
    struct question *question = malloc(sizeof *question);
    if (!question) {
        call(owner, &(struct dns_answer){.why = "no memory"});
        return;
    }
    *question = (struct question){call, owner};
    const struct ares_addrinfo_hints hints = {
        .ai_flags = ARES_AI_NOSORT, /* which would open sockets to ask for routes */
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
    };
    ares_getaddrinfo(dns->channel, host, NULL, &hints, question_answered, question);
    timer_set(dns);
}
