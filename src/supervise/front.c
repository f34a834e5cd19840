#include "supervise/front_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "proc/report.h"
#include "upstream/breaker.h"

enum { GRACE_MS = 50 };

/* ---- what the gateway says --------------------------------------------------------------------
 */

/* The instance that it speaks of; NULL: it has ended meanwhile. */
static struct instance *instance_meant(const struct front *front, const struct message *message)
{
    uint32_t slot = (uint32_t)(message->number >> 32);
    uint32_t epoch = (uint32_t)message->number;
    const struct supervisor *supervisor = front->supervisor;
    struct instance *instance = slot < supervisor->slots_max ? supervisor->by_slot[slot] : NULL;
    if (!instance || instance->record->epoch != epoch || instance->main_ended)
        return NULL;
    return instance;
}

static void role_heard(const struct front *front, const struct message *message)
{
    struct instance *instance = instance_meant(front, message);
    if (!instance || !role_check_by_gateway(instance->unit->service->role.check))
        return;
    struct role_answer answer;
    char why[FRONT_WHY_BYTES] = "";
    bool known =
        message->kind == MESSAGE_IS && role_answer_word(message->bytes, message->length, &answer);
    if (!known)
        snprintf(why, sizeof why, "%.*s", (int)message->length, message->bytes);
    instance_role_told(instance, known ? &answer : NULL, why);
}

static void health_heard(const struct front *front, const struct message *message)
{
    struct instance *instance = instance_meant(front, message);
    if (!instance || !check_by_gateway(rolling_check(instance)))
        return;
    char why[FRONT_WHY_BYTES];
    snprintf(why, sizeof why, "%.*s", (int)message->length, message->bytes);
    instance_checked(instance, message->kind == MESSAGE_WELL, why);
}

static void breaker_heard(const struct front *front, const struct message *message)
{
    char text[FRONT_WHY_BYTES], why[FRONT_WHY_BYTES];
    const struct service *service = topology_service(front->supervisor->topology, message->name);
    if (!service) /* it is gone meanwhile */
        return;
    snprintf(text, sizeof text, "%.*s", (int)message->length, message->bytes);
    if (message->number == BREAKER_OPEN)
        log_warn("breaker-open", "service=%s why=%s", service->name,
                 log_text(text, why, sizeof why));
    else if (message->number == BREAKER_HALF_OPEN)
        log_change("breaker-half-open", "service=%s", service->name);
    else
        log_info("breaker-closed", "service=%s", service->name);
}

static void ban_heard(const struct message *message)
{
    char name[FRONT_NAME_BYTES], text[FRONT_WHY_BYTES], why[FRONT_WHY_BYTES];
    snprintf(text, sizeof text, "%.*s", (int)message->length, message->bytes);
    log_warn("client-banned", "client=%s seconds=%u why=%s untold=%u",
             log_text(message->name, name, sizeof name), (unsigned)(message->number & UINT32_MAX),
             log_text(text, why, sizeof why), (unsigned)(message->number >> 32));
}

/* Whoever waits for the preparation is told, once. */
static void prepared_tell(struct front *front, int error)
{
    front_prepared *prepared = front->prepared;
    timer_stop(front->supervisor->loop, &front->late);
    front->prepared = NULL;
    if (prepared)
        prepared(front->prepared_owner, error, error ? front->why : "");
}

static void rejected_heard(struct front *front, struct front_generation *generation,
                           const struct message *message)
{
    snprintf(front->why, sizeof front->why, "%.*s", (int)message->length, message->bytes);
    log_error("gateway-rejected", "generation=%u why=\"%s\"", generation->number, front->why);
    generation->stage = STAGE_NONE;
    front->rejected = true;
}

static void committed_heard(struct front *front, struct front_generation *generation)
{
    generation->stage = STAGE_COMMITTED;
    front_elders_drain(front);
    log_info("gateway-serves", "pid=%d generation=%u ms=%llu", front->pid, generation->number,
             (unsigned long long)(loop_now(front->supervisor->loop) - front->started_ms));
    supervisor_note_change(front->supervisor, NULL);
}

static struct front_generation *generation_find(struct front *front, uint64_t number)
{
    if (front->next.number == number && front->next.stage != STAGE_NONE)
        return &front->next;
    return front->current.number == number ? &front->current : NULL;
}

static void generation_heard(struct front *front, const struct message *message)
{
    struct front_generation *generation = generation_find(front, message->number);
    if (!generation)
        return; /* one that was abandoned */
    bool preparing = generation->stage == STAGE_PREPARING;
    bool waits = generation == &front->next || front->held;
    if (preparing && message->kind == MESSAGE_PREPARED)
        generation->stage = waits ? STAGE_PREPARED : STAGE_TO_COMMIT;
    else if (preparing && message->kind == MESSAGE_REJECTED)
        rejected_heard(front, generation, message);
    else if (generation->stage == STAGE_COMMITTING && message->kind == MESSAGE_COMMITTED)
        committed_heard(front, generation);
    front_tell(front);
    if (preparing && waits && generation->stage != STAGE_PREPARING) /* may end the front: last */
        prepared_tell(front, generation->stage == STAGE_PREPARED ? 0 : -EINVAL);
}

void front_heard(struct front *front, const struct message *message)
{
    if (message->kind == MESSAGE_WELL || message->kind == MESSAGE_ILL)
        health_heard(front, message);
    else if (message->kind == MESSAGE_IS || message->kind == MESSAGE_IS_UNKNOWN)
        role_heard(front, message);
    else if (message->kind == MESSAGE_BREAKER)
        breaker_heard(front, message);
    else if (message->kind == MESSAGE_BANNED)
        ban_heard(message);
    else if (message->kind == MESSAGE_EVENT)
        report_log(message); /* a newer gateway may know others: who takes over has its own */
    else if (message->kind == MESSAGE_PURGED)
        front_purge_heard(front, message->number);
    else
        generation_heard(front, message);
}

void front_lost(struct front *front)
{
    front_purges_lost(front);
    front->current.stage = STAGE_TO_SEND;
    front->current.directories_sent = front->current.caches_sent = 0;
    front->next.directories_sent = front->next.caches_sent = 0;
    if (front->next.stage != STAGE_NONE) /* one that was not in use yet; the first waits on */
        front->next.stage = STAGE_TO_SEND;
}

/* ---- begin and end ----------------------------------------------------------------------------
 */

static uint32_t threads_of(const struct topology *topology)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t threads = topology->gateway.threads ? topology->gateway.threads : (uint32_t)cores;
    if (threads < 1)
        return 1;
    return threads > TALLY_THREADS_MAX ? TALLY_THREADS_MAX : threads;
}

static struct front *front_new(struct supervisor *supervisor, const struct topology *topology,
                               uint32_t number, int *bundle_fd)
{
    struct front *front = calloc(1, sizeof *front);
    if (!front)
        return NULL;
    *front = (struct front){
        .supervisor = supervisor,
        .board_fd = -1,
        .bell = -1,
        .tally_fd = -1,
        .tickets_fd = -1,
        .bans_fd = -1,
        .wake = -1,
        .pidfd = -1,
        .socket = -1,
        .threads = threads_of(topology),
        .current = {.number = number, .bundle_fd = fd_take(bundle_fd), .stage = STAGE_TO_SEND},
        .next = {.bundle_fd = -1}};
    return front;
}

static void board_fill(struct front *front)
{
    struct supervisor *supervisor = front->supervisor;
    for (size_t i = 0; i < supervisor->topology->service_count; i++)
        front_unit_write(front, &supervisor->units[i]);
    front_board_sweep(front);
}

static int front_assemble(struct front *front, const struct topology *topology, char *why,
                          size_t why_size)
{
    bool fresh = true;
    int error = front_memory_begin(front, &fresh);
    if (error) {
        snprintf(why, why_size, "the memory shared with the gateway: %s", strerror(-error));
        return error;
    }
    if (!fresh)
        front_roles_adopt(front);
    board_fill(front);
    /* Before its sockets are opened: those that the keeper has not are new to it. */
    front_sockets_find(front, topology);
    front_elders_find(front, !fresh);
    bool lives = front_process_adopt(front, !fresh);
    error = front_directories_open(&front->current, topology, why, why_size);
    if (!error)
        error = front_sockets_open(front, topology, why, why_size);
    if (!error && !front->held)
        error = front_sockets_gate(front, topology);
    if (!error && !lives)
        error = front_process_start(front);
    if (error && !why[0])
        snprintf(why, why_size, "the gateway: %s", strerror(-error));
    if (!error)
        front_tell(front);
    return error;
}

int front_start(struct supervisor *supervisor, char *why, size_t why_size)
{
    if (!topology_needs_gateway(supervisor->topology)) {
        front_process_orphan_end(supervisor);
        return 0;
    }
    if (supervisor->options.bundle_fd < 0) {
        snprintf(why, why_size, "the gateway has no configuration");
        return -EINVAL;
    }
    supervisor->front = front_new(supervisor, supervisor->topology, supervisor->generation,
                                  &supervisor->options.bundle_fd);
    return supervisor->front
               ? front_assemble(supervisor->front, supervisor->topology, why, why_size)
               : -ENOMEM;
}

int front_wait(struct front *front, char *why, size_t why_size)
{
    if (!front)
        return 0;
    struct loop *loop = front->supervisor->loop;
    uint64_t until_ms = loop_now(loop) + FRONT_PREPARE_MS;
    while (front->current.stage != STAGE_COMMITTED && !front->rejected &&
           loop_now(loop) < until_ms) {
        int error = loop_turn(loop, (int)(until_ms - loop_now(loop)));
        if (error)
            return error;
    }
    if (front->current.stage == STAGE_COMMITTED)
        return 0;
    snprintf(why, why_size, "the gateway%s%s", front->rejected ? ": " : " ",
             front->rejected ? front->why : "does not start");
    return front->rejected ? -EINVAL : -ETIMEDOUT;
}

void front_end(struct supervisor *supervisor, bool leave)
{
    struct front *front = supervisor->front;
    if (!front)
        return;
    timer_stop(supervisor->loop, &front->late);
    timer_stop(supervisor->loop, &front->grace);
    if (leave)
        front_process_leave(front);
    else
        front_process_end(front);
    front_elders_end(front, leave);
    while (front->sockets) {
        struct front_socket *socket = front->sockets;
        front->sockets = socket->next;
        front_socket_free(front, socket, leave);
    }
    front_memory_end(front, leave);
    front_generation_drop(&front->current);
    front_generation_drop(&front->next);
    free(front);
    supervisor->front = NULL;
}

/* ---- another configuration --------------------------------------------------------------------
 */

static void late_due(struct timer *timer)
{
    struct front *front = timer->owner;
    snprintf(front->why, sizeof front->why, "it did not answer within %d s",
             FRONT_PREPARE_MS / 1000);
    prepared_tell(front, -ETIMEDOUT);
}

/* Beside the one in use. */
static int next_prepare(struct front *front, const struct topology *next, uint32_t number,
                        int *bundle_fd, char *why, size_t why_size)
{
    int error = front_sockets_open(front, next, why, why_size);
    if (error) {
        front_sockets_retire(front, front->supervisor->topology);
        return error;
    }
    front_generation_drop(&front->next);
    error = front_directories_open(&front->next, next, why, why_size);
    if (error) {
        front_generation_drop(&front->next);
        front_sockets_retire(front, front->supervisor->topology);
        return error;
    }
    front->next.number = number;
    front->next.bundle_fd = fd_take(bundle_fd);
    front->next.stage = STAGE_TO_SEND;
    front_tell(front);
    return 0;
}

/* The first that needs a gateway. */
static int first_prepare(struct supervisor *supervisor, const struct topology *next,
                         uint32_t number, int *bundle_fd, char *why, size_t why_size)
{
    supervisor->front = front_new(supervisor, next, number, bundle_fd);
    if (!supervisor->front)
        return -ENOMEM;
    supervisor->front->held = true;
    int error = front_assemble(supervisor->front, next, why, why_size);
    if (error)
        front_end(supervisor, false);
    return error;
}

int front_prepare(struct supervisor *supervisor, const struct topology *next, uint32_t number,
                  int bundle_fd, front_prepared *done, void *owner, char *why, size_t why_size)
{
    scoped_fd int bundle = bundle_fd;
    if (!supervisor->front && !topology_needs_gateway(next))
        return 1;
    int error = supervisor->front
                    ? next_prepare(supervisor->front, next, number, &bundle, why, why_size)
                    : first_prepare(supervisor, next, number, &bundle, why, why_size);
    if (error)
        return error;
    struct front *front = supervisor->front;
    front->prepared = done;
    front->prepared_owner = owner;
    front->rejected = false;
    return timer_start(supervisor->loop, &front->late, FRONT_PREPARE_MS, late_due, front);
}

static void grace_over(struct timer *timer)
{
    struct front *front = timer->owner;
    if (front->current.stage == STAGE_GRACE)
        front->current.stage = STAGE_TO_COMMIT;
    front_tell(front);
}

/* The steering leads nobody to sockets that are retired any more; but connections may stand in
 * their queues, or in the middle of their handshakes, which the gateway shall take. */
static void commit_begin(struct front *front)
{
    bool leaving = false;
    for (const struct front_socket *socket = front->sockets; socket; socket = socket->next)
        leaving |= socket->retired;
    front->current.stage = leaving ? STAGE_GRACE : STAGE_TO_COMMIT;
    if (leaving && timer_start(front->supervisor->loop, &front->grace, GRACE_MS, grace_over, front))
        front->current.stage = STAGE_TO_COMMIT;
}

void front_commit(struct front *front, const struct topology *next)
{
    if (!front)
        return;
    front_sockets_retire(front, next);
    if (front->held) {
        front->held = false;
        front->current.stage = STAGE_TO_COMMIT;
    } else if (front->next.stage == STAGE_PREPARED) {
        front_generation_drop(&front->current);
        front->current = front->next;
        front->next = (struct front_generation){.bundle_fd = -1};
        commit_begin(front);
    }
    front_tell(front);
    int error = front_sockets_gate(front, next);
    if (error)
        log_error("gateway-not-reached", "error=\"%s\"", strerror(-error));
}

void front_abandon(struct supervisor *supervisor)
{
    struct front *front = supervisor->front;
    if (!front)
        return;
    front->prepared = NULL;
    timer_stop(supervisor->loop, &front->late);
    if (front->held) {
        front_end(supervisor, false);
        return;
    }
    if (front->next.stage == STAGE_PREPARING || front->next.stage == STAGE_PREPARED)
        front_process_abandon(front, front->next.number);
    front_generation_drop(&front->next);
    front_sockets_retire(front, supervisor->topology);
    front_tell(front);
}

/* ---- questions --------------------------------------------------------------------------------
 */

bool front_settled(const struct front *front)
{
    return !front || front->current.stage == STAGE_COMMITTED;
}

pid_t front_pid(const struct front *front)
{
    return front ? front->pid : 0;
}

const struct tally *front_tally(const struct front *front)
{
    return front ? front->tally : NULL;
}

struct bans *front_bans(const struct front *front)
{
    return front ? front->bans : NULL;
}

void front_logger_changed(struct front *front)
{
    if (!front)
        return;
    front->handed &= ~(1u << HANDED_JOURNAL);
    front_tell(front);
}
