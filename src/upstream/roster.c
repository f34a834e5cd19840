#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/scoped.h"
#include "base/table.h"
#include "upstream/address_text.h"
#include "upstream/resolver.h"
#include "upstream/rotation.h"
#include "upstream/upstream_private.h"

_Static_assert((int)ROSTER_MAX <= (int)ROTATION_MAX, "rotations take a whole roster");

struct roster *roster_new(struct upstream *upstream, const struct pick *pick)
{
    struct roster *roster = calloc(1, sizeof *roster);
    if (!roster)
        return NULL;
    roster->upstream = upstream;
    roster->port = upstream->service->gateway.remote_count ? 0 : pick->port;
    roster->datagram = pick->datagram;
    roster->role = pick->role;
    roster->stale = true;
    return roster;
}

void roster_free(struct roster *roster)
{
    for (uint32_t i = 0; i < roster->count; i++)
        endpoint_leave(roster->endpoints[i]);
    free(roster->endpoints);
    free(roster->remotes);
    free(roster->sequence);
    free(roster->name_hashes);
    free(roster);
}

/* ---- endpoints ------------------------------------------------------------------------------ */

/* What the board or the resolver says of one. */
struct wanted {
    struct sockaddr_storage address;
    socklen_t address_length;
    const struct board_instance *instance; /* NULL: remote */
    uint32_t slot;
    uint32_t epoch;
    uint32_t number;
    uint32_t weight;
    uint32_t row;
    bool ill;
    bool standing; /* as of now */
    enum endpoint_role role;
    const char *host;
};

static bool endpoint_is(const struct endpoint *endpoint, const struct wanted *wanted)
{
    return endpoint->slot == wanted->slot && endpoint->epoch == wanted->epoch &&
           endpoint->address_length == wanted->address_length &&
           memcmp(&endpoint->address, &wanted->address, wanted->address_length) == 0;
}

/* Where idle connections to it lie that a thread has no need of. Without memory it has none. */
static struct shelf *endpoint_shelf(const struct roster *roster, const struct endpoint *endpoint)
{
    struct low_water *low_water = roster->upstream->place.low_water;
    if (!low_water || roster->datagram)
        return NULL;
    const struct shelf_identity identity = {
        .address = (const struct sockaddr *)&endpoint->address,
        .address_length = endpoint->address_length,
        .slot = endpoint->slot,
        .epoch = endpoint->epoch,
        .row = endpoint->row,
    };
    return stash_shelf(low_water->stash, &identity);
}

static struct endpoint_own *endpoint_new(const struct roster *roster, const struct wanted *wanted)
{
    struct upstream *upstream = roster->upstream;
    char remote[ADDRESS_TEXT_BYTES];
    const char *service = upstream->service->name;
    size_t name_size = strlen(service) + 12; /* ".4294967295" */
    if (!wanted->instance) {
        address_text((const struct sockaddr *)&wanted->address, remote);
        name_size = strlen(remote) + 1;
    }
    size_t host_size = wanted->host ? strlen(wanted->host) + 1 : 0;
    struct endpoint_own *own = calloc(1, sizeof *own + name_size + host_size);
    if (!own)
        return NULL;
    if (wanted->instance)
        snprintf(own->texts, name_size, "%s.%u", service, wanted->number);
    else
        memcpy(own->texts, remote, name_size);
    own->endpoint = (struct endpoint){
        .upstream = upstream,
        .address = wanted->address,
        .address_length = wanted->address_length,
        .slot = wanted->slot,
        .epoch = wanted->epoch,
        .row = wanted->row,
        .tally = tally_endpoint(upstream->place.tally, upstream->place.thread, wanted->row),
        .name = own->texts,
    };
    if (wanted->host) {
        memcpy(own->texts + name_size, wanted->host, host_size);
        own->endpoint.host = own->texts + name_size;
    }
    own->instance = wanted->instance;
    own->wish = roster->role;
    own->others_turn = UINT64_MAX;
    own->clock = roster->clock;
    own->shelf = endpoint_shelf(roster, &own->endpoint);
    LIST_INSERT_HEAD(&upstream->all, own, all);
    return own;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* The new list while it is gathered. */
struct gathering {
    struct roster *roster;
    struct endpoint_own **endpoints;
    uint32_t count;
    uint32_t room;
    uint32_t others;
    bool failed; /* no memory */
};

struct endpoint_own *roster_by_number(const struct roster *roster, uint32_t number)
{
    uint32_t low = 0;
    uint32_t high = roster->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (roster->endpoints[middle]->endpoint.number < number)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < roster->count && roster->endpoints[low]->endpoint.number == number;
    return found ? roster->endpoints[low] : NULL;
}

static struct endpoint_own *roster_find(const struct roster *roster, const struct wanted *wanted)
{
    struct endpoint_own *own = roster_by_number(roster, wanted->number);
    if (own && !own->gathered && endpoint_is(&own->endpoint, wanted))
        return own;
    if (wanted->instance)
        return NULL;
    for (uint32_t i = 0; i < roster->count; i++) { /* a name's addresses have moved up */
        own = roster->endpoints[i];
        if (!own->gathered && endpoint_is(&own->endpoint, wanted))
            return own;
    }
    return NULL;
}

static bool gathering_room(struct gathering *gathering)
{
    if (gathering->count < gathering->room)
        return true;
    uint32_t room = gathering->room ? gathering->room * 2 : 8;
    struct endpoint_own **endpoints =
        reallocarray(gathering->endpoints, room, sizeof(struct endpoint_own *));
    if (!endpoints)
        return false;
    gathering->endpoints = endpoints;
    gathering->room = room;
    return true;
}

/* It is none of those that are asked for. What was begun with it when it was, goes, if it is known
 * that it is something else now. */
static void role_refuse(struct gathering *gathering, const struct wanted *wanted)
{
    struct roster *roster = gathering->roster;
    struct endpoint_own *own;
    gathering->others += wanted->standing;
    if (!endpoint_role_revokes(wanted->role, roster->role))
        return;
    LIST_FOREACH (own, &roster->upstream->all, all) {
        if (own->wish != roster->role || own->endpoint.revoked ||
            !endpoint_is(&own->endpoint, wanted))
            continue;
        own->endpoint.revoked = true;
        roster->upstream->revoked = true;
    }
}

/* Those that the old list has are taken over. */
static void gather(struct gathering *gathering, const struct wanted *wanted)
{
    if (!endpoint_role_serves(wanted->role, gathering->roster->role)) {
        role_refuse(gathering, wanted);
        return;
    }
    if (gathering->failed || gathering->count == ROSTER_MAX)
        return;
    struct endpoint_own *own = NULL;
    if (gathering_room(gathering)) {
        own = roster_find(gathering->roster, wanted);
        if (!own)
            own = endpoint_new(gathering->roster, wanted);
    }
    if (!own) {
        gathering->failed = true;
        return;
    }
    if (!own->instance && own->ill && !wanted->ill)
        own->up_ms = loop_now(gathering->roster->upstream->place.loop);
    own->gathered = true;
    own->ill = wanted->ill;
    own->role = wanted->role;
    own->endpoint.number = wanted->number;
    own->endpoint.weight = wanted->weight;
    gathering->endpoints[gathering->count++] = own;
}

static uint16_t instance_port(const struct roster *roster, const struct board_instance *instance)
{
    uint16_t port = roster->port;
    if (port == 0)
        port = service_stated_port(roster->upstream->service,
                                   roster->datagram ? PROTOCOL_UDP : PROTOCOL_TCP);
    if (port == 0)
        port = roster->datagram ? instance->udp_ports[0] : instance->ports[0];
    return roster->datagram ? port : board_reached_port(instance, port);
}

static void instance_gather(struct gathering *gathering, const struct board_instance *copy,
                            uint32_t slot)
{
    const struct upstream_place *place = &gathering->roster->upstream->place;
    uint16_t port = instance_port(gathering->roster, copy);
    if (port == 0 || copy->number == 0)
        return;
    uint32_t slots_max = tally_sizes(place->tally)->slots_max;
    struct wanted wanted = {
        .address_length = sizeof(struct sockaddr_in),
        .instance = board_instance(place->board, slot),
        .slot = slot,
        .epoch = copy->epoch,
        .number = copy->number,
        .weight = copy->weight,
        .row = slot < slots_max ? slot : slots_max + tally_sizes(place->tally)->remotes_max - 1,
        .standing = copy->state != BOARD_DOWN && copy->state != BOARD_FREE,
        .role = (enum endpoint_role)copy->role,
    };
    const struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(copy->address)};
    memcpy(&wanted.address, &address, sizeof address);
    gather(gathering, &wanted);
}

static void board_gather(struct gathering *gathering)
{
    struct roster *roster = gathering->roster;
    const struct upstream *upstream = roster->upstream;
    uint32_t max = 64;
    for (;;) {
        scoped_memory struct board_instance *copies = calloc(max, sizeof *copies);
        scoped_memory uint32_t *slots = calloc(max, sizeof *slots);
        if (!copies || !slots) {
            gathering->failed = true;
            return;
        }
        uint32_t version;
        uint32_t count =
            board_read(upstream->place.board, upstream->number, copies, slots, max, &version);
        if (count == max && max < ROSTER_MAX) {
            max *= 4;
            continue;
        }
        roster->version = version;
        for (uint32_t i = 0; i < count; i++)
            instance_gather(gathering, &copies[i], slots[i]);
        return;
    }
}

static void remote_gather(struct gathering *gathering, size_t index)
{
    struct roster *roster = gathering->roster;
    const struct resolved *resolved = roster->upstream->place.resolved;
    const struct remote *remote = &roster->upstream->service->gateway.remotes[index];
    struct roster_remote *known = &roster->remotes[index];
    /* By its text, each time: its old place may be another's now. */
    *known = (struct roster_remote){.place = resolved_find(resolved, remote->text)};
    if (known->place == UINT32_MAX) { /* the resolver was not told yet */
        roster->resolving = true;
        return;
    }
    struct resolved_address addresses[RESOLVE_ADDRESSES_MAX];
    uint32_t count = resolved_read(resolved, known->place, addresses, &known->version);
    if (count == 0 && resolved_pending(resolved, known->place))
        roster->resolving = true;
    for (uint32_t i = 0; i < count; i++) {
        const struct wanted wanted = {
            .address = addresses[i].address,
            .address_length = addresses[i].length,
            .slot = BOARD_NONE,
            .number = (uint32_t)index * RESOLVE_ADDRESSES_MAX + i + 1,
            .weight = remote->weight,
            .row = addresses[i].row,
            .ill = addresses[i].ill,
            .standing = !addresses[i].ill,
            .role = (enum endpoint_role)addresses[i].role,
            .host = remote->host,
        };
        gather(gathering, &wanted);
    }
}

static void remotes_gather(struct gathering *gathering)
{
    struct roster *roster = gathering->roster;
    size_t count = roster->upstream->service->gateway.remote_count;
    if (roster->remote_count != count) {
        struct roster_remote *remotes = calloc(count, sizeof *remotes);
        if (!remotes) {
            gathering->failed = true;
            return;
        }
        free(roster->remotes);
        roster->remotes = remotes;
        roster->remote_count = count;
    }
    roster->changes = resolved_changes(roster->upstream->place.resolved);
    roster->resolving = false;
    for (size_t i = 0; i < count; i++)
        remote_gather(gathering, i);
}

/* ---- rotations ------------------------------------------------------------------------------ */

static uint32_t *indexes_keep(const uint32_t *indexes, size_t length)
{
    uint32_t *kept = length ? reallocarray(NULL, length, sizeof *kept) : NULL;
    if (kept)
        memcpy(kept, indexes, length * sizeof *kept);
    return kept;
}

static bool weights_differ(const struct roster *roster)
{
    for (uint32_t i = 1; i < roster->count; i++)
        if (roster->endpoints[i]->endpoint.weight != roster->endpoints[0]->endpoint.weight)
            return true;
    return false;
}

/* The same over restarts, reloads, and threads. */
static void names_hash(struct roster *roster)
{
    free(roster->name_hashes);
    roster->name_hashes = NULL;
    if (roster->count == 0 || roster->upstream->service->balance != BALANCE_HASH)
        return;
    roster->name_hashes = reallocarray(NULL, roster->count, sizeof *roster->name_hashes);
    for (uint32_t i = 0; roster->name_hashes && i < roster->count; i++) {
        const char *name = roster->endpoints[i]->endpoint.name;
        roster->name_hashes[i] = hash_bytes(name, strlen(name), hash_seed());
    }
}

/* Without memory for it, each endpoint has its turn once, and hashes choose by chance. */
static void roster_rotate(struct roster *roster)
{
    names_hash(roster);
    free(roster->sequence);
    roster->sequence = NULL;
    roster->sequence_length = roster->count;
    roster->weighted =
        roster->upstream->service->balance != BALANCE_ROUND_ROBIN && weights_differ(roster);
    if (!roster->weighted)
        return;
    struct rotation_member members[ROSTER_MAX];
    uint32_t indexes[ROTATION_MAX];
    for (uint32_t i = 0; i < roster->count; i++)
        members[i] = (struct rotation_member){i, roster->endpoints[i]->endpoint.weight};
    size_t length = rotation_weighted(members, roster->count, indexes);
    roster->sequence = indexes_keep(indexes, length);
    if (roster->sequence)
        roster->sequence_length = (uint32_t)length;
}

/* ---- settling ------------------------------------------------------------------------------- */

static int by_number(const void *left, const void *right)
{
    const struct endpoint_own *const *a = left;
    const struct endpoint_own *const *b = right;
    uint32_t first = (*a)->endpoint.number;
    uint32_t second = (*b)->endpoint.number;
    return first < second ? -1 : first > second;
}

/* Who was in the old list and is not in the new one leaves. */
static void roster_replace(struct roster *roster, struct endpoint_own **endpoints, uint32_t count)
{
    struct endpoint_own **old = roster->endpoints;
    uint32_t old_count = roster->count;
    for (uint32_t i = 0; i < old_count; i++)
        old[i]->endpoint.listed = false;
    for (uint32_t i = 0; i < count; i++) {
        endpoints[i]->endpoint.listed = true;
        endpoints[i]->gathered = false;
    }
    if (count > 1)
        qsort(endpoints, count, sizeof(struct endpoint_own *), by_number);
    roster->endpoints = endpoints;
    roster->count = count;
    for (uint32_t i = 0; i < old_count; i++)
        if (!old[i]->endpoint.listed)
            endpoint_leave(old[i]);
    free(old);
}

static void gathering_drop(struct gathering *gathering)
{
    for (uint32_t i = 0; i < gathering->count; i++) {
        gathering->endpoints[i]->gathered = false;
        if (!gathering->endpoints[i]->endpoint.listed)
            endpoint_leave(gathering->endpoints[i]);
    }
    free(gathering->endpoints);
}

static bool roster_changed(const struct roster *roster)
{
    const struct upstream *upstream = roster->upstream;
    if (roster->stale)
        return true;
    if (upstream->service->gateway.remote_count)
        return upstream->place.resolved &&
               roster->changes != resolved_changes(upstream->place.resolved);
    if (upstream->number == BOARD_NONE)
        return false;
    const struct board_service *row = board_service(upstream->place.board, upstream->number);
    return atomic_load_explicit(&row->version, memory_order_acquire) != roster->version;
}

/* Something in `resolved` changed: was it ours? */
static bool remotes_changed(struct roster *roster)
{
    const struct resolved *resolved = roster->upstream->place.resolved;
    uint32_t changes = resolved_changes(resolved);
    for (size_t i = 0; i < roster->remote_count; i++) {
        const struct roster_remote *remote = &roster->remotes[i];
        if (remote->place == UINT32_MAX ||
            resolved_version(resolved, remote->place) != remote->version)
            return true;
    }
    roster->changes = changes;
    return false;
}

void roster_refresh(struct roster *roster)
{
    if (!roster_changed(roster))
        return;
    bool remote = roster->upstream->service->gateway.remote_count > 0;
    if (remote && !roster->stale && !remotes_changed(roster))
        return;
    struct gathering gathering = {.roster = roster};
    if (remote && roster->upstream->place.resolved)
        remotes_gather(&gathering);
    else if (!remote && roster->upstream->number != BOARD_NONE)
        board_gather(&gathering);
    roster->stale = gathering.failed;
    if (gathering.failed) {
        gathering_drop(&gathering);
        return;
    }
    roster->others = gathering.others;
    if (roster->count == 0 && gathering.count > 0) /* threads do not all begin with the same */
        roster->cursor = (uint32_t)random_below(roster->upstream->place.random, gathering.count);
    roster_replace(roster, gathering.endpoints, gathering.count);
    roster_rotate(roster);
}
