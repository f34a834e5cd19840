#include "gateway/relay/relay_rig.h"

#include <signal.h>
#include <stdio.h>

#include "base/table.h"
#include "gateway/core/journal.h"
#include "gateway/relay/relay.h"

/* Relays write no journal. */
struct journal *journal_new(struct loop *loop, int logger_fd)
{
    (void)logger_fd;
    return (struct journal *)(void *)loop;
}

void journal_free(struct journal *journal)
{
    (void)journal;
}

static struct relay_rig *freed_rig;

static void generation_is_free(struct generation *generation)
{
    assert_ptr_equal(generation, &freed_rig->generation);
    table_free(generation->services);
    freed_rig->freed = true;
}

static void board_begin(struct relay_rig *rig)
{
    assert_int_equal(board_new(4, RIG_SLOTS, &rig->board, &rig->board_fd, &rig->bell), 0);
    for (uint32_t i = 0; i < 2; i++) {
        struct board_service *row = board_service(rig->board, i);
        board_write_begin(row);
        row->first = BOARD_NONE;
        snprintf(row->name, sizeof row->name, "%s", rig->services[i].name);
        board_write_end(row);
    }
}

static void services_begin(struct relay_rig *rig)
{
    static const char *const names[] = {"api", "web"};
    for (uint32_t i = 0; i < 2; i++)
        rig->services[i] = (struct service){.index = i,
                                            .name = names[i],
                                            .realm = "",
                                            .listens = true,
                                            .gateway = {.connect_ms = 3000,
                                                        .retry_tries = 2,
                                                        .retry_budget_percent = 100,
                                                        .hold_max = 100,
                                                        .hold_ms = 2000,
                                                        .eject_ms = 10000}};
}

static void generation_begin(struct relay_rig *rig)
{
    struct generation *generation = &rig->generation;
    rig->topology = (struct topology){.services = rig->services,
                                      .service_count = 2,
                                      .listeners = &rig->listener,
                                      .listener_count = 1};
    rig->listener = (struct listener){.kind = LISTENER_STREAM, .text = "tcp:1", .idle_ms = 60000};
    rig->plan = (struct plan_listener){.listener = &rig->listener};
    *generation = (struct generation){.refs = 2, /* ours, and the worker's */
                                      .number = 1,
                                      .topology = &rig->topology,
                                      .services = table_new(),
                                      .plans = &rig->plan,
                                      .plan_count = 1,
                                      .tls_to = rig->tls_to,
                                      .free = generation_is_free};
    for (int i = 0; i < 2; i++)
        table_add(generation->services, rig->services[i].name, &rig->services[i], NULL);
}

int relay_rig_begin(void **state)
{
    static const struct tally_sizes sizes = {
        .threads = 1, .slots_max = RIG_SLOTS, .remotes_max = 4, .rows = {4, 4, 4}};
    struct relay_rig *rig = calloc(1, sizeof *rig);
    signal(SIGPIPE, SIG_IGN);
    rig->fds_before = fds_open();
    services_begin(rig);
    board_begin(rig);
    assert_int_equal(tally_new(&sizes, &rig->tally, &rig->tally_fd), 0);
    const struct worker_setup setup = {.connections_max = 10000,
                                       .board = rig->board,
                                       .tally = rig->tally,
                                       .logger_fd = -1,
                                       .wake_fd = -1};
    assert_int_equal(worker_init(&rig->worker, &setup), 0);
    assert_int_equal(relay_worker_init(&rig->worker), 0);
    generation_begin(rig);
    assert_int_equal(worker_switch(&rig->worker, &rig->generation), 0);
    freed_rig = rig;
    *state = rig;
    return 0;
}

int relay_rig_end(void **state)
{
    struct relay_rig *rig = *state;
    relay_worker_done(&rig->worker);
    assert_int_equal(rig->worker.connections, 0);
    worker_done(&rig->worker);
    generation_unref(&rig->generation);
    assert_true(rig->freed); /* no reference was lost */
    board_close(rig->board);
    tally_close(rig->tally);
    close(rig->board_fd);
    close(rig->bell);
    close(rig->tally_fd);
    assert_int_equal(fds_open(), rig->fds_before);
    free(rig);
    return 0;
}

void rig_turns(struct relay_rig *rig, int count)
{
    while (count--)
        assert_int_equal(loop_turn(rig->worker.loop, 5), 0);
}

static uint32_t slot_of(uint32_t service, uint32_t number)
{
    return RIG_SLOT + service * 20 + number - 1;
}

void rig_instance(struct relay_rig *rig, uint32_t service, uint32_t number, enum board_state state,
                  uint16_t port)
{
    struct board_service *row = board_service(rig->board, service);
    struct board_instance *instance = board_instance(rig->board, slot_of(service, number));
    board_write_begin(row);
    bool known = atomic_load(&instance->state) != BOARD_FREE;
    *instance = (struct board_instance){
        .state = state,
        .service = service,
        .number = number,
        .epoch = 1,
        .address = INADDR_LOOPBACK,
        .weight = 1,
        .next = known ? instance->next : row->first,
        .ports = {port},
        .udp_ports = {port},
        .up_ms = 1,
    };
    if (!known)
        row->first = slot_of(service, number);
    board_write_end(row);
}

void rig_coming(struct relay_rig *rig, uint32_t service, uint32_t coming)
{
    struct board_service *row = board_service(rig->board, service);
    board_write_begin(row);
    row->coming = coming;
    board_write_end(row);
}

struct tally_endpoint *rig_endpoint(struct relay_rig *rig, uint32_t service, uint32_t number)
{
    return tally_endpoint(rig->tally, 0, slot_of(service, number));
}

struct tally_traffic *rig_listener(struct relay_rig *rig)
{
    return tally_traffic(rig->tally, 0, TALLY_LISTENER, 0);
}

struct tally_traffic *rig_service(struct relay_rig *rig, uint32_t service)
{
    return tally_traffic(rig->tally, 0, TALLY_SERVICE, service);
}
