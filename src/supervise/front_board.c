/* The memory that the gateway shares with us: the board, which we write, the tally, which we read,
 * the keys of TLS tickets, which are the gateway's own and only kept here.
 *
 * A service's number on the board is the place of its record (records.h): the same over reloads,
 * and over crashes of the supervisor. */
#include "supervise/front_private.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "supervise/companions.h"
#include "supervise/sleeping.h"
#include "topology/addresses.h"
#include "upstream/bans.h"

enum {
    TICKETS_BYTES = 4096, /* TLS_TICKETS_BYTES of tls/server.h, which is none of our business */
    REMOTES_MAX = 16384,
    LISTENER_ROWS = 4096,
    ROUTE_ROWS = 65536,
};

/* ---- begin and end --------------------------------------------------------------------------- */

/* Another open file description of the same memory, through which nobody can write. */
static int reopen_for_reading(int fd)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int copy = open(path, O_RDONLY | O_CLOEXEC);
    return copy < 0 ? -errno : copy;
}

static bool board_fits(const struct front *front, const struct board *board)
{
    struct records *records = front->supervisor->records;
    return board_services_max(board) == records_services_max(records) &&
           board_slots_max(board) == records_slots_max(records);
}

static bool tally_fits(const struct front *front, const struct tally *tally)
{
    const struct tally_sizes *sizes = tally_sizes(tally);
    return sizes->threads == front->threads &&
           sizes->slots_max == records_slots_max(front->supervisor->records) &&
           sizes->rows[TALLY_SERVICE] == records_services_max(front->supervisor->records);
}

/* What an earlier supervisor left, all of it or nothing. */
static bool memory_adopt(struct front *front)
{
    struct supervisor *supervisor = front->supervisor;
    scoped_fd int board_fd = companions_take_found(supervisor, FRONT_KEPT_BOARD);
    scoped_fd int bell = companions_take_found(supervisor, FRONT_KEPT_BELL);
    scoped_fd int tally_fd = companions_take_found(supervisor, FRONT_KEPT_TALLY);
    scoped_fd int tickets_fd = companions_take_found(supervisor, FRONT_KEPT_TICKETS);
    scoped_fd int wake = companions_take_found(supervisor, FRONT_KEPT_WAKE);
    struct board *board = NULL;
    struct tally *tally = NULL;
    scoped_fd int shown = board_fd < 0 ? -1 : reopen_for_reading(board_fd);
    if (bell < 0 || tickets_fd < 0 || wake < 0 || shown < 0 || tally_fd < 0 ||
        board_open(board_fd, true, &board) < 0 || tally_open(tally_fd, true, &tally) < 0 ||
        !board_fits(front, board) || !tally_fits(front, tally)) {
        board_close(board);
        tally_close(tally);
        return false;
    }
    companions_keep(supervisor, FRONT_KEPT_BOARD, board_fd);
    front->board = board;
    front->board_fd = fd_take(&shown);
    front->bell = fd_take(&bell);
    front->tally = tally;
    front->tally_fd = fd_take(&tally_fd);
    front->tickets_fd = fd_take(&tickets_fd);
    front->wake = fd_take(&wake);
    return true;
}

static int board_begin(struct front *front)
{
    struct records *records = front->supervisor->records;
    scoped_fd int fd = -1;
    int error = board_new(records_services_max(records), records_slots_max(records), &front->board,
                          &fd, &front->bell);
    if (error)
        return error;
    fchmod(fd, 0600);
    companions_keep(front->supervisor, FRONT_KEPT_BOARD, fd);
    front->board_fd = reopen_for_reading(fd);
    return front->board_fd < 0 ? front->board_fd : 0;
}

static int tally_begin(struct front *front)
{
    struct records *records = front->supervisor->records;
    struct tally_sizes sizes = {.threads = front->threads,
                                .slots_max = records_slots_max(records),
                                .remotes_max = REMOTES_MAX,
                                .rows = {[TALLY_SERVICE] = records_services_max(records),
                                         [TALLY_LISTENER] = LISTENER_ROWS,
                                         [TALLY_ROUTE] = ROUTE_ROWS}};
    return tally_new(&sizes, &front->tally, &front->tally_fd);
}

static int tickets_begin(struct front *front)
{
    front->tickets_fd = memfd_create("enginx-tickets", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (front->tickets_fd < 0 || ftruncate(front->tickets_fd, TICKETS_BYTES) < 0 ||
        fcntl(front->tickets_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    return 0;
}

/* One that cannot be adopted, or is of another version, is begun anew: nobody is banned then. */
static int bans_begin(struct front *front)
{
    scoped_fd int fd = companions_take_found(front->supervisor, FRONT_KEPT_BANS);
    if (fd >= 0 && bans_open(fd, &front->bans) == 0) {
        front->bans_fd = fd_take(&fd);
        return 0;
    }
    return bans_new(&front->bans, &front->bans_fd);
}

static int wake_begin(struct front *front)
{
    front->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return front->wake < 0 ? -errno : 0;
}

static void wake_rings(struct watch *watch, unsigned events)
{
    (void)events;
    const struct front *front = watch->owner;
    uint64_t count;
    if (read(watch->fd, &count, sizeof count) == sizeof count)
        sleeping_rung(front->supervisor);
}

int front_memory_begin(struct front *front, bool *ret_fresh)
{
    struct supervisor *supervisor = front->supervisor;
    *ret_fresh = !memory_adopt(front);
    int error = *ret_fresh ? board_begin(front) : 0;
    if (!error && *ret_fresh)
        error = tally_begin(front);
    if (!error && *ret_fresh)
        error = tickets_begin(front);
    if (!error && *ret_fresh)
        error = wake_begin(front);
    if (!error)
        error = bans_begin(front);
    if (!error)
        error = watch_start(supervisor->loop, &front->wakes, front->wake, WATCH_READ, wake_rings,
                            front);
    if (error)
        return error;
    companions_keep(supervisor, FRONT_KEPT_WAKE, front->wake);
    companions_keep(supervisor, FRONT_KEPT_BELL, front->bell);
    companions_keep(supervisor, FRONT_KEPT_TALLY, front->tally_fd);
    companions_keep(supervisor, FRONT_KEPT_TICKETS, front->tickets_fd);
    companions_keep(supervisor, FRONT_KEPT_BANS, front->bans_fd);
    return 0;
}

void front_memory_end(struct front *front, bool leave)
{
    static const char *const names[] = {FRONT_KEPT_BOARD,   FRONT_KEPT_BELL, FRONT_KEPT_TALLY,
                                        FRONT_KEPT_TICKETS, FRONT_KEPT_BANS, FRONT_KEPT_WAKE};
    for (size_t i = 0; !leave && i < sizeof names / sizeof names[0]; i++)
        companions_forget(front->supervisor, names[i]);
    deferred_stop(front->supervisor->loop, &front->ring);
    board_close(front->board);
    tally_close(front->tally);
    fd_drop(&front->board_fd);
    fd_drop(&front->bell);
    fd_drop(&front->tally_fd);
    fd_drop(&front->tickets_fd);
    bans_close(front->bans);
    front->bans = NULL;
    fd_drop(&front->bans_fd);
    watch_stop(front->supervisor->loop, &front->wakes);
    fd_drop(&front->wake);
}

/* ---- what an instance is ----------------------------------------------------------------------
 */

uint32_t front_number(const struct unit *unit)
{
    return records_service_number(unit->supervisor->records, unit->record);
}

static enum board_state up_state(const struct instance *instance)
{
    if (instance->leaving)
        return BOARD_DRAINING;
    if (instance->healthy)
        return BOARD_UP;
    /* The gateway goes on checking what it found ill; what another check found keeps what it has.
     */
    return check_by_gateway(rolling_check(instance)) ? BOARD_STARTING : BOARD_DRAINING;
}

/* One that was adopted, and has not been heard of yet: its row says where it listens. */
static bool row_holds(const struct instance *instance, const struct board_instance *was)
{
    return !instance->port_count && !instance->main_ended &&
           was->epoch == instance->record->epoch && was->number == instance->number &&
           was->state != BOARD_FREE && was->state != BOARD_DOWN &&
           lifecycle_running(instance->life.state);
}

static enum board_state state_of(const struct instance *instance, bool listens)
{
    if (instance->main_ended || !listens)
        return BOARD_DOWN;
    switch (instance->life.state) {
    case STATE_STARTING:
        return instance->listened ? BOARD_STARTING : BOARD_DOWN;
    case STATE_UP:
        return up_state(instance);
    case STATE_DRAINING:
    case STATE_STOPPING:
        return BOARD_DRAINING;
    case STATE_IDLE:
    case STATE_PREPARING:
    case STATE_FINISHING:
    case STATE_BACKOFF:
    case STATE_FAILED:
    case STATE_GONE:
    case STATE_COUNT:
        break;
    }
    return BOARD_DOWN;
}

/* Will it be up before long, as far as anybody can know: is it worth waiting for? */
static bool instance_comes(const struct instance *instance)
{
    enum lifecycle_goal goal = instance->life.goal;
    if (goal == GOAL_REST || goal == GOAL_REMOVE || instance->unit->ended || instance->life.held)
        return false;
    switch (instance->life.state) {
    case STATE_IDLE:
        return !instance->begun;
    case STATE_PREPARING:
    case STATE_STARTING:
        return true;
    case STATE_FINISHING:
        return goal == GOAL_RESTART || rolling_service(instance)->restart != RESTART_NEVER;
    case STATE_BACKOFF: /* one that served when it died is likely to serve again */
        return instance->listened || !instance_hopeless(instance);
    case STATE_UP: /* its death was seen, and nothing was decided yet */
        return instance->main_ended && rolling_service(instance)->restart != RESTART_NEVER;
    case STATE_DRAINING:
    case STATE_STOPPING:
        return goal == GOAL_RESTART;
    case STATE_FAILED:
    case STATE_GONE:
    case STATE_COUNT:
        break;
    }
    return false;
}

static void ports_fill(const struct instance *instance, struct board_instance *ret_row)
{
    size_t tcp = 0, udp = 0;
    for (size_t i = 0; i < instance->port_count; i++) {
        const struct instance_port *port = &instance->ports[i];
        if (port->protocol == PROTOCOL_TCP && tcp < BOARD_PORTS_MAX) {
            ret_row->ports[tcp++] = port->port;
            if (port->bound_port && !ret_row->moved) {
                ret_row->moved = (uint8_t)tcp;
                ret_row->moved_to = port->bound_port;
            }
        } else if (port->protocol == PROTOCOL_UDP && udp < BOARD_PORTS_MAX) {
            ret_row->udp_ports[udp++] = port->port;
        }
    }
}

/* ---- writing ----------------------------------------------------------------------------------
 */

static void ring_call(struct deferred *deferred)
{
    struct front *front = deferred->owner;
    board_ring(front->bell);
}

static void ring_later(struct front *front)
{
    deferred_start(front->supervisor->loop, &front->ring, ring_call, front);
}

/* What the row shall say; `was` is what it says. */
static void row_fill(const struct instance *instance, const struct board_instance *was,
                     uint32_t next, struct board_instance *ret_row)
{
    const struct unit *unit = instance->unit;
    bool holds = row_holds(instance, was);
    enum board_state state = state_of(instance, holds || instance->port_count);
    memset(ret_row, 0, sizeof *ret_row); /* it is compared by its bytes */
    atomic_init(&ret_row->state, state);
    ret_row->service = front_number(unit);
    ret_row->number = instance->number;
    ret_row->epoch = instance->record->epoch;
    ret_row->address = instance->address;
    ret_row->weight = unit_weight(unit, instance->number);
    ret_row->next = next;
    ret_row->role = (uint8_t)instance->role;
    ret_row->term = instance->claim.term;
    ret_row->up_ms = was->up_ms;
    ports_fill(instance, ret_row);
    if (holds) {
        memcpy(ret_row->ports, was->ports, sizeof ret_row->ports);
        memcpy(ret_row->udp_ports, was->udp_ports, sizeof ret_row->udp_ports);
        ret_row->moved = was->moved;
        ret_row->moved_to = was->moved_to;
    }
    if (state == BOARD_UP && (was->state != BOARD_UP || was->epoch != ret_row->epoch))
        ret_row->up_ms = loop_now(unit->supervisor->loop);
}

static struct board_service service_of(const struct unit *unit)
{
    struct board_service service = {.first = BOARD_NONE, .wanted = unit->wanted};
    if (!unit->service->gateway.remote_count)
        service.home = unit->home;
    for (uint32_t i = unit->instance_count; i-- > 0;) {
        const struct instance *instance = unit->instances[i];
        if (!instance || instance->life.state == STATE_GONE)
            continue;
        service.first = instance->slot;
        service.coming += instance_comes(instance);
    }
    service.asleep = unit->asleep;
    service.coming += unit->asleep;
    snprintf(service.name, sizeof service.name, "%s", unit->service->name);
    return service;
}

/* Compares, and writes when asked to: so that the section of a change that is none is not entered.
 * True: there was something to be written. */
static bool unit_pass(struct front *front, const struct unit *unit, struct board_service *row,
                      bool write)
{
    struct board_service service = service_of(unit);
    bool changed = row->first != service.first || row->wanted != service.wanted ||
                   row->coming != service.coming || row->home != service.home ||
                   row->asleep != service.asleep || strcmp(row->name, service.name) != 0;
    uint32_t next = BOARD_NONE;
    for (uint32_t i = unit->instance_count; i-- > 0;) {
        const struct instance *instance = unit->instances[i];
        if (!instance || instance->life.state == STATE_GONE)
            continue;
        struct board_instance *at = board_instance(front->board, instance->slot);
        struct board_instance now;
        row_fill(instance, at, next, &now);
        next = instance->slot;
        bool differs = memcmp(at, &now, sizeof now) != 0;
        changed |= differs;
        if (!differs || !write)
            continue;
        atomic_store(&at->state, now.state); /* it is read at every choice, version or not */
        memcpy((char *)at + sizeof at->state, (const char *)&now + sizeof at->state,
               sizeof now - sizeof at->state);
    }
    if (!write)
        return changed;
    row->first = service.first;
    row->wanted = service.wanted;
    row->coming = service.coming;
    row->home = service.home;
    row->asleep = service.asleep;
    memcpy(row->name, service.name, sizeof row->name);
    return changed;
}

void front_unit_write(struct front *front, struct unit *unit)
{
    if (!front || !unit->record) /* nobody's place */
        return;
    struct board_service *row = board_service(front->board, front_number(unit));
    if (!unit_pass(front, unit, row, false))
        return;
    board_write_begin(row);
    unit_pass(front, unit, row, true);
    board_write_end(row);
    ring_later(front);
}

void front_roles_adopt(struct front *front)
{
    struct supervisor *supervisor = front->supervisor;
    for (uint32_t slot = 0; slot < supervisor->slots_max; slot++) {
        struct instance *instance = supervisor->by_slot[slot];
        const struct board_instance *row = board_instance(front->board, slot);
        if (instance && instance->pid && row->epoch == instance->record->epoch &&
            row->role < ROLE_COUNT)
            instance_role_adopt(instance, (enum endpoint_role)row->role, row->term);
    }
}

void front_unit_forget(struct front *front, const struct unit *unit)
{
    if (!front)
        return;
    struct board_service *row = board_service(front->board, front_number(unit));
    board_write_begin(row);
    row->first = BOARD_NONE;
    row->wanted = row->coming = row->home = 0;
    memset(row->name, 0, sizeof row->name);
    board_write_end(row);
    ring_later(front);
}

void front_slot_free(struct front *front, uint32_t slot)
{
    if (!front)
        return;
    struct board_instance *row = board_instance(front->board, slot);
    if (atomic_exchange(&row->state, BOARD_FREE) != BOARD_FREE)
        ring_later(front);
}

void front_board_sweep(struct front *front)
{
    for (uint32_t slot = 0; slot < front->supervisor->slots_max; slot++)
        if (!front->supervisor->by_slot[slot])
            front_slot_free(front, slot);
}
