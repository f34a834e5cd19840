#include "upstream/checker_private.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/scoped.h"
#include "base/table.h"
#include "upstream/address_text.h"

static void target_due(struct timer *timer);
static void queue_go_on(struct checker *checker);

/* ---- when ----------------------------------------------------------------------------------- */

/* Without memory for the timer it is looked for with the next news. */
static void target_later(struct target *target, uint64_t delay_ms)
{
    (void)timer_start(target->checked->checker->loop, &target->timer, delay_ms, target_due, target);
}

static uint64_t pause_ms(struct target *target)
{
    uint64_t every_ms = checked_every_ms(target->checked);
    bool begins = !target->was_well && target->bad < checked_fall(target->checked) &&
                  target->slot != BOARD_NONE;
    if (begins && every_ms > FIRST_FACTOR)
        every_ms /= FIRST_FACTOR;
    uint64_t span = every_ms * 2 * JITTER_PERCENT / 100;
    return every_ms - span / 2 + random_below(&target->checked->checker->random, span + 1);
}

static void check_is_over(void *owner, bool well, const char *why)
{
    struct target *target = owner;
    struct checker *checker = target->checked->checker;
    target->check = NULL;
    checker->under_way--;
    target_judge(target, well, why);
    target_later(target, pause_ms(target));
    queue_go_on(checker);
}

static void target_check(struct target *target)
{
    struct checked *checked = target->checked;
    struct checker *checker = checked->checker;
    const struct check_target asked = {
        .service = checked->service,
        .role = checked->role,
        .address = (const struct sockaddr *)&target->address,
        .address_length = target->address_length,
        .host = target->host,
        .tls = !checked->role && checked->service->check == CHECK_UDP ? NULL : checked->tls,
    };
    target->check = check_start(checker->loop, &asked, check_is_over, target);
    if (target->check)
        checker->under_way++;
    else /* no memory: nothing is known of it */
        target_later(target, pause_ms(target));
}

static void target_due(struct timer *timer)
{
    struct target *target = timer->owner;
    struct checker *checker = target->checked->checker;
    assert(!target->check && !target->queued);
    if (checker->under_way < CHECKS_UNDER_WAY_MAX && TAILQ_EMPTY(&checker->queue)) {
        target_check(target);
        return;
    }
    target->queued = true;
    TAILQ_INSERT_TAIL(&checker->queue, target, queued_next);
}

static void target_unqueue(struct target *target)
{
    if (target->queued)
        TAILQ_REMOVE(&target->checked->checker->queue, target, queued_next);
    target->queued = false;
}

static void queue_go_on(struct checker *checker)
{
    while (checker->under_way < CHECKS_UNDER_WAY_MAX && !TAILQ_EMPTY(&checker->queue)) {
        struct target *first = TAILQ_FIRST(&checker->queue);
        target_unqueue(first);
        target_check(first);
    }
}

/* ---- targets -------------------------------------------------------------------------------- */

static void target_halt(struct target *target)
{
    struct checker *checker = target->checked->checker;
    if (target->check) {
        check_stop(target->check);
        target->check = NULL;
        checker->under_way--;
    }
    target_unqueue(target);
    timer_stop(checker->loop, &target->timer);
}

static void target_drop(struct target *target)
{
    struct checker *checker = target->checked->checker;
    target_halt(target);
    if (target->slot != BOARD_NONE)
        checker->by_slot[target->checked->role][target->slot] = NULL;
    else if (!checker->ending)
        target_unsay(target); /* nobody looks any more */
    LIST_REMOVE(target, next);
    free(target->host);
    free(target);
}

/* NULL: no memory; it is found again with the next news. */
static struct target *target_new(struct checked *checked, const void *address, socklen_t length,
                                 const char *host)
{
    struct target *target = calloc(1, sizeof *target);
    if (!target)
        return NULL;
    target->host = host ? strdup(host) : NULL;
    if (host && !target->host) {
        free(target);
        return NULL;
    }
    target->checked = checked;
    memcpy(&target->address, address, length);
    target->address_length = length;
    target->slot = BOARD_NONE;
    LIST_INSERT_HEAD(&checked->targets, target, next);
    return target;
}

static void unseen_drop(struct checked *checked)
{
    struct target *next;
    for (struct target *target = LIST_FIRST(&checked->targets); target; target = next) {
        next = LIST_NEXT(target, next);
        if (!target->seen)
            target_drop(target);
        else
            target->seen = false;
    }
}

/* ---- instances ------------------------------------------------------------------------------ */

static uint16_t instance_port(const struct checked *checked, const struct board_instance *instance)
{
    const struct service *service = checked->service;
    bool datagram = !checked->role && service->check == CHECK_UDP;
    uint16_t port = service_stated_port(service, datagram ? PROTOCOL_UDP : PROTOCOL_TCP);
    if (port == 0)
        port = datagram ? instance->udp_ports[0] : instance->ports[0];
    return datagram ? port : board_reached_port(instance, port);
}

static void instance_see(struct checked *checked, const struct board_instance *instance,
                         uint32_t slot)
{
    struct checker *checker = checked->checker;
    uint32_t state = atomic_load_explicit(&instance->state, memory_order_relaxed);
    uint16_t port = instance_port(checked, instance);
    if (port == 0 || (state != BOARD_STARTING && state != BOARD_UP))
        return;
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(port),
                                        .sin_addr.s_addr = htonl(instance->address)};
    struct target **by_slot = checker->by_slot[checked->role];
    struct target *target = by_slot[slot];
    if (target && (target->checked != checked || target->epoch != instance->epoch ||
                   memcmp(&target->address, &address, sizeof address) != 0)) {
        target_drop(target);
        target = NULL;
    }
    if (!target) {
        target = target_new(checked, &address, sizeof address, NULL);
        if (!target)
            return;
        target->slot = target->row = slot;
        target->epoch = instance->epoch;
        by_slot[slot] = target;
        /* What the board shows was found before: this gateway is new, and need not hurry. */
        target->was_well = checked->role ? instance->role != ROLE_NONE : state == BOARD_UP;
        target->verdict = target->was_well ? VERDICT_WELL : VERDICT_NONE;
        uint64_t every_ms = checked_every_ms(checked);
        target_later(target, target->was_well ? random_below(&checker->random, every_ms + 1) : 0);
    }
    target->seen = true;
}

static void instances_see(struct checked *checked)
{
    const struct checker *checker = checked->checker;
    if (checked->number == BOARD_NONE)
        checked->number = board_find(checker->board, checked->name);
    if (checked->number == BOARD_NONE)
        return;
    scoped_memory struct board_instance *copies = calloc(INSTANCES_MAX, sizeof *copies);
    scoped_memory uint32_t *slots = calloc(INSTANCES_MAX, sizeof *slots);
    if (!copies || !slots)
        return;
    uint32_t version;
    uint32_t count =
        board_read(checker->board, checked->number, copies, slots, INSTANCES_MAX, &version);
    for (uint32_t i = 0; i < count; i++)
        instance_see(checked, &copies[i], slots[i]);
    unseen_drop(checked);
}

/* ---- remotes -------------------------------------------------------------------------------- */

static struct target *remote_find(const struct checked *checked, uint32_t place,
                                  const struct resolved_address *address)
{
    struct target *target;
    LIST_FOREACH (target, &checked->targets, next)
        if (target->place == place && target->address_length == address->length &&
            memcmp(&target->address, &address->address, address->length) == 0)
            break;
    return target;
}

static void remote_see(struct checked *checked, const struct remote *remote)
{
    struct checker *checker = checked->checker;
    struct resolved_address addresses[RESOLVE_ADDRESSES_MAX];
    uint32_t version;
    uint32_t place = resolved_find(checker->resolved, remote->text);
    if (place == UINT32_MAX)
        return;
    uint32_t count = resolved_read(checker->resolved, place, addresses, &version);
    for (uint32_t i = 0; i < count; i++) {
        struct target *target = remote_find(checked, place, &addresses[i]);
        if (!target) {
            target = target_new(checked, &addresses[i].address, addresses[i].length, remote->host);
            if (!target)
                continue;
            target->place = place;
            target->row = addresses[i].row;
            uint64_t every_ms = checked_every_ms(checked);
            target_later(target, random_below(&checker->random, every_ms / FIRST_FACTOR + 1));
        }
        target->seen = true;
    }
}

static void remotes_see(struct checked *checked)
{
    const struct service_gateway *gateway = &checked->service->gateway;
    for (size_t i = 0; i < gateway->remote_count; i++)
        remote_see(checked, &gateway->remotes[i]);
    unseen_drop(checked);
}

/* ---- services ------------------------------------------------------------------------------- */

static void service_see(struct checked *checked)
{
    if (checked->service->gateway.remote_count > 0)
        remotes_see(checked);
    else
        instances_see(checked);
}

static void service_drop(struct checked *checked)
{
    while (!LIST_EMPTY(&checked->targets))
        target_drop(LIST_FIRST(&checked->targets));
    TAILQ_REMOVE(&checked->checker->services, checked, next);
    free(checked->name);
    free(checked);
}

static struct checked *service_find(struct checker *checker, const char *name, bool role)
{
    struct checked *checked;
    TAILQ_FOREACH (checked, &checker->services, next)
        if (checked->role == role && strcmp(checked->name, name) == 0)
            break;
    return checked;
}

static struct checked *service_new(struct checker *checker, const char *name, bool role)
{
    struct checked *checked = calloc(1, sizeof *checked);
    char *copy = strdup(name);
    if (!checked || !copy) {
        free(checked);
        free(copy);
        return NULL;
    }
    checked->checker = checker;
    checked->name = copy;
    checked->role = role;
    checked->number = BOARD_NONE;
    LIST_INIT(&checked->targets);
    TAILQ_INSERT_TAIL(&checker->services, checked, next);
    return checked;
}

/* What runs was begun with the old settings: it begins anew, and what was found so far stays. */
static void service_settle(struct checked *checked, const struct service *service,
                           struct tls_client *tls)
{
    struct target *target;
    checked->service = service;
    checked->tls = tls;
    checked->wanted = true;
    LIST_FOREACH (target, &checked->targets, next) {
        bool ran = target->check || target->queued;
        target_halt(target);
        target_later(target, ran ? 0 : pause_ms(target));
    }
}

static int service_asked(struct checker *checker, const struct service *service,
                         struct tls_client *tls, bool role)
{
    struct checked *checked = service_find(checker, service->name, role);
    if (!checked)
        checked = service_new(checker, service->name, role);
    if (!checked)
        return -ENOMEM;
    service_settle(checked, service, tls);
    return 0;
}

static int services_settle(struct checker *checker, const struct topology *topology,
                           struct tls_client *const *tls_to)
{
    int error = 0;
    for (size_t i = 0; i < topology->service_count && !error; i++) {
        const struct service *service = &topology->services[i];
        struct tls_client *tls = tls_to ? tls_to[service->index] : NULL;
        if (check_by_gateway(service->check))
            error = service_asked(checker, service, tls, false);
        if (!error && role_check_by_gateway(service->role.check))
            error = service_asked(checker, service, tls, true);
    }
    return error;
}

int checker_settle(struct checker *checker, const struct topology *topology,
                   struct tls_client *const *tls_to)
{
    struct checked *checked;
    TAILQ_FOREACH (checked, &checker->services, next)
        checked->wanted = false;
    int error = services_settle(checker, topology, tls_to);
    struct checked *next;
    for (checked = TAILQ_FIRST(&checker->services); checked; checked = next) {
        next = TAILQ_NEXT(checked, next);
        if (!checked->wanted) /* its service may be of a topology that is about to go */
            service_drop(checked);
    }
    checker_news(checker);
    return error;
}

void checker_news(struct checker *checker)
{
    struct checked *checked;
    checker->changes = resolved_changes(checker->resolved);
    TAILQ_FOREACH (checked, &checker->services, next)
        service_see(checked);
    queue_go_on(checker);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void look_due(struct timer *timer)
{
    struct checker *checker = timer->owner;
    if (checker->changes != resolved_changes(checker->resolved))
        checker_news(checker);
    (void)timer_start(checker->loop, &checker->look, LOOK_MS, look_due, checker);
}

struct checker *checker_new(struct loop *loop, const struct board *board, struct resolved *resolved,
                            struct resolver *resolver, struct tally *tally, uint32_t thread,
                            checker_instance *instance, checker_role *role, void *owner)
{
    struct checker *checker = calloc(1, sizeof *checker);
    if (!checker)
        return NULL;
    *checker = (struct checker){.loop = loop,
                                .board = board,
                                .resolved = resolved,
                                .resolver = resolver,
                                .tally = tally,
                                .thread = thread,
                                .instance = instance,
                                .role = role,
                                .owner = owner};
    for (int i = 0; i < 2; i++)
        checker->by_slot[i] = calloc(board_slots_max(board), sizeof(struct target *));
    TAILQ_INIT(&checker->services);
    TAILQ_INIT(&checker->queue);
    random_init(&checker->random);
    if (!checker->by_slot[0] || !checker->by_slot[1] ||
        timer_start(loop, &checker->look, LOOK_MS, look_due, checker) < 0) {
        checker_free(checker);
        return NULL;
    }
    return checker;
}

void checker_free(struct checker *checker)
{
    if (!checker)
        return;
    checker->ending = true;
    while (!TAILQ_EMPTY(&checker->services))
        service_drop(TAILQ_FIRST(&checker->services));
    timer_stop(checker->loop, &checker->look);
    free(checker->by_slot[0]);
    free(checker->by_slot[1]);
    free(checker);
}
