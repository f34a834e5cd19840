/* For tests of upstreams: a board, a tally, a loop whose clock stands until it is moved, and the
 * service "api" with as many instances as a test asks for. One thread is the upstream's; rows of
 * the second thread are written by the test. */
#pragma once

#include "topology/topology.h"
#include "upstream/board.h"
#include "upstream/resolver.h"
#include "upstream/tally.h"
#include "upstream/upstream.h"

enum {
    RIG_SLOTS = 2048,
    RIG_SERVICE = 3,
    RIG_SLOT = 100 /* of instance 1 */,
    RIG_PORT = 3000,
    RIG_HELD_MAX = 20000
};

struct rig {
    struct board *board;
    int board_fd;
    int bell;
    struct tally *tally;
    int tally_fd;
    struct loop *loop;
    struct resolved *resolved;
    struct random_state random;
    struct upstream_place place;
    struct service service;
    struct upstream *upstream; /* made by rig_start */
    struct endpoint *held[RIG_HELD_MAX];
    size_t held_count;
};

int rig_begin(void **state); /* as cmocka's setup */
int rig_end(void **state);   /* frees the upstream, too */
/* The upstream, after the test has set up the service. */
void rig_start(struct rig *rig, enum balance_policy balance);

/* `count` instances in state BOARD_UP, up for long, numbered from 1. */
void rig_instances(struct rig *rig, uint32_t count);
struct board_instance *rig_instance(struct rig *rig, uint32_t number);
void rig_state(struct rig *rig, uint32_t number, enum board_state state);
/* A new process of it: another epoch. */
void rig_restart(struct rig *rig, uint32_t number);
void rig_weight(struct rig *rig, uint32_t number, uint32_t weight);
void rig_coming(struct rig *rig, uint32_t coming);
struct board_service *rig_row(struct rig *rig);

/* What another thread has under way there. */
void rig_others(struct rig *rig, uint32_t number, uint64_t requests);
/* Moves the clock on, and lets the loop have a turn. */
void rig_pass(struct rig *rig, uint64_t ms);
uint64_t rig_now(void);

/* The number of the chosen one; 0: PICK_NONE; -1: PICK_WAIT. */
int rig_pick(struct rig *rig, const struct pick *pick);
/* Chooses without a wish; it must succeed. */
struct endpoint *rig_choose(struct rig *rig);
/* Begins a request that ends with the rig. */
void rig_hold(struct rig *rig, struct endpoint *endpoint);
/* Begins one and ends it. */
void rig_request(struct rig *rig, struct endpoint *endpoint, enum endpoint_outcome outcome);
/* Chooses one with this number, which must come within so many tries as there are instances × 50.
 */
struct endpoint *rig_choose_number(struct rig *rig, uint32_t number);
