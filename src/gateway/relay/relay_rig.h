/* For tests of relays: a worker whose generation has two services, "api" (index 0) and "web" (1),
 * and one listener, all of which a test changes before it begins; a board on which it puts
 * instances; and sockets on loopback. */
#pragma once

#include "gateway/core/worker.h"
#include "gateway/relay/fixture_test.h"

enum { RIG_SLOT = 10, RIG_SLOTS = 64 };

struct relay_rig {
    struct board *board;
    int board_fd;
    int bell;
    struct tally *tally;
    int tally_fd;
    struct worker worker;
    struct service services[2];
    struct topology topology;
    struct listener listener;
    struct plan_listener plan;
    struct generation generation;
    struct tls_client *tls_to[2];
    bool freed; /* the generation */
    int fds_before;
};

int relay_rig_begin(void **state); /* as cmocka's setup */
int relay_rig_end(void **state);   /* everything must be gone */
void rig_turns(struct relay_rig *rig, int count);

/* Instance `number` (1 …) of a service is in that state, on 127.0.0.1 and this port. */
void rig_instance(struct relay_rig *rig, uint32_t service, uint32_t number, enum board_state state,
                  uint16_t port);
void rig_coming(struct relay_rig *rig, uint32_t service, uint32_t coming);

struct tally_endpoint *rig_endpoint(struct relay_rig *rig, uint32_t service, uint32_t number);
struct tally_traffic *rig_listener(struct relay_rig *rig);
struct tally_traffic *rig_service(struct relay_rig *rig, uint32_t service);
