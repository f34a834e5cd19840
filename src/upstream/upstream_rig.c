#include "upstream/upstream_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t now_ms = 5000000;

uint64_t __wrap_clock_monotonic_ms(void);
uint64_t __wrap_clock_monotonic_ms(void)
{
    return now_ms;
}

uint64_t rig_now(void)
{
    return now_ms;
}

static const struct tally_sizes sizes = {
    .threads = 2, .slots_max = RIG_SLOTS, .remotes_max = 64, .rows = {16, 4, 4}};

int rig_begin(void **state)
{
    struct rig *rig = calloc(1, sizeof *rig);
    assert_int_equal(board_new(16, RIG_SLOTS, &rig->board, &rig->board_fd, &rig->bell), 0);
    assert_int_equal(tally_new(&sizes, &rig->tally, &rig->tally_fd), 0);
    rig->loop = loop_new();
    rig->resolved = resolved_new();
    assert_non_null(rig->loop);
    random_seed(&rig->random, 7);
    rig->place = (struct upstream_place){.loop = rig->loop,
                                         .board = rig->board,
                                         .tally = rig->tally,
                                         .resolved = rig->resolved,
                                         .random = &rig->random};
    rig->service = (struct service){.name = "api", .realm = "", .listens = true};
    rig->service.gateway = (struct service_gateway){.idle_max = 64,
                                                    .retry_budget_percent = 20,
                                                    .hold_max = 1000,
                                                    .hold_ms = 30000,
                                                    .eject_ms = 10000};
    struct board_service *row = rig_row(rig);
    board_write_begin(row);
    row->first = BOARD_NONE;
    snprintf(row->name, sizeof row->name, "api");
    board_write_end(row);
    *state = rig;
    return 0;
}

int rig_end(void **state)
{
    struct rig *rig = *state;
    upstream_free(rig->upstream);
    for (size_t i = 0; i < rig->held_count; i++)
        endpoint_end(rig->held[i], OUTCOME_GOOD, 0); /* they outlive the upstream */
    resolved_free(rig->resolved);
    loop_free(rig->loop);
    board_close(rig->board);
    tally_close(rig->tally);
    close(rig->board_fd);
    close(rig->bell);
    close(rig->tally_fd);
    free(rig);
    return 0;
}

void rig_start(struct rig *rig, enum balance_policy balance)
{
    rig->service.balance = balance;
    rig->upstream = upstream_new(&rig->place, NULL, &rig->service);
    assert_non_null(rig->upstream);
}

/* ---- the board ------------------------------------------------------------------------------ */

struct board_service *rig_row(struct rig *rig)
{
    return board_service(rig->board, RIG_SERVICE);
}

struct board_instance *rig_instance(struct rig *rig, uint32_t number)
{
    return board_instance(rig->board, RIG_SLOT + number - 1);
}

void rig_instances(struct rig *rig, uint32_t count)
{
    struct board_service *row = rig_row(rig);
    board_write_begin(row);
    row->wanted = count;
    row->first = count ? RIG_SLOT : BOARD_NONE;
    for (uint32_t number = 1; number <= count; number++) {
        struct board_instance *instance = rig_instance(rig, number);
        if (atomic_load(&instance->state) != BOARD_FREE) {
            instance->next = number < count ? RIG_SLOT + number : BOARD_NONE;
            continue;
        }
        *instance = (struct board_instance){
            .state = BOARD_UP,
            .service = RIG_SERVICE,
            .number = number,
            .epoch = number,
            .address = 0x7f4d0100 + number, /* 127.77.1.N */
            .weight = 1,
            .next = number < count ? RIG_SLOT + number : BOARD_NONE,
            .ports = {RIG_PORT},
            .udp_ports = {RIG_PORT + 1},
            .up_ms = 1,
        };
    }
    board_write_end(row);
}

void rig_state(struct rig *rig, uint32_t number, enum board_state state)
{
    atomic_store(&rig_instance(rig, number)->state, state);
}

void rig_restart(struct rig *rig, uint32_t number)
{
    board_write_begin(rig_row(rig));
    rig_instance(rig, number)->epoch += 1000;
    rig_instance(rig, number)->up_ms = now_ms;
    board_write_end(rig_row(rig));
}

void rig_weight(struct rig *rig, uint32_t number, uint32_t weight)
{
    board_write_begin(rig_row(rig));
    rig_instance(rig, number)->weight = weight;
    board_write_end(rig_row(rig));
}

void rig_coming(struct rig *rig, uint32_t coming)
{
    board_write_begin(rig_row(rig));
    rig_row(rig)->coming = coming;
    board_write_end(rig_row(rig));
}

void rig_others(struct rig *rig, uint32_t number, uint64_t requests)
{
    atomic_store(&tally_endpoint(rig->tally, 1, RIG_SLOT + number - 1)->requests_now, requests);
}

void rig_pass(struct rig *rig, uint64_t ms)
{
    now_ms += ms;
    assert_int_equal(loop_turn(rig->loop, 0), 0);
}

/* ---- choices -------------------------------------------------------------------------------- */

int rig_pick(struct rig *rig, const struct pick *pick)
{
    struct endpoint *endpoint = NULL;
    switch (upstream_pick(rig->upstream, pick, &endpoint)) {
    case PICK_DONE:
        return (int)endpoint->number;
    case PICK_WAIT:
        return -1;
    case PICK_NONE:
        break;
    }
    return 0;
}

struct endpoint *rig_choose(struct rig *rig)
{
    struct endpoint *endpoint = NULL;
    assert_int_equal(upstream_pick(rig->upstream, &(struct pick){0}, &endpoint), PICK_DONE);
    return endpoint;
}

void rig_hold(struct rig *rig, struct endpoint *endpoint)
{
    assert_true(rig->held_count < RIG_HELD_MAX);
    endpoint_begin(endpoint);
    rig->held[rig->held_count++] = endpoint;
}

void rig_request(struct rig *rig, struct endpoint *endpoint, enum endpoint_outcome outcome)
{
    (void)rig;
    endpoint_begin(endpoint);
    endpoint_end(endpoint, outcome, 0);
}

struct endpoint *rig_choose_number(struct rig *rig, uint32_t number)
{
    for (uint32_t i = 0; i < 50 * rig_row(rig)->wanted; i++) {
        struct endpoint *endpoint = rig_choose(rig);
        if (endpoint->number == number)
            return endpoint;
    }
    fail_msg("%u is never chosen", number);
    return NULL;
}
