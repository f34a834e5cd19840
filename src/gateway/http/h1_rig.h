/* For tests of the HTTP engine: a worker with one listener and the service "api", whose instances
 * are listening sockets of the test; its clients are sockets of the test, too. All in one thread:
 * whoever waits lets the loop have turns. The clock stands until it is moved. Included once by a
 * test; routes and settings may be changed before rig_start. */
#pragma once

#include "gateway/core/worker.h"

enum { RIG_INSTANCES_MAX = 4, RIG_TEXT_BYTES = 1024 * 1024 };

struct rig {
    struct board *board;
    struct tally *tally;
    struct stash *stash; /* the worker gives to itself */
    struct worker worker;
    struct generation generation;
    struct topology topology;
    struct service service;
    struct listener listener;
    struct site site;
    struct site_host host;
    struct route route; /* / to api */
    struct route_target target;
    struct plan_listener plan;
    struct tally_traffic *plan_tally;
    int accepts;                      /* where clients are accepted from */
    int instances[RIG_INSTANCES_MAX]; /* listening sockets; -1: none */
    bool narrow; /* sockets hold little, so that writes stop in the middle; before rig_start */
    char *text;  /* what was heard last, ended by 0 */
    size_t length;
};

int rig_begin(void **state); /* as cmocka's setup */
int rig_end(void **state);
void rig_start(struct rig *rig, uint32_t instances);
/* An instance's port refuses from now on. */
void rig_refuse(struct rig *rig, uint32_t number);
/* Nobody can take a request, `coming` are expected. */
void rig_down(struct rig *rig, uint32_t coming);
void rig_up(struct rig *rig);

int rig_client(struct rig *rig); /* a new connection, accepted by the worker */
/* The next connection that the worker has made to an instance. */
int rig_origin(struct rig *rig, uint32_t number);
bool rig_origin_waits(struct rig *rig, uint32_t number);

void rig_say(struct rig *rig, int fd, const char *text);
void rig_say_bytes(struct rig *rig, int fd, const char *bytes, size_t length);
/* Reads until `until` has come ("" : until something has), which must happen; all is in rig->text.
 */
const char *rig_hear(struct rig *rig, int fd, const char *until);
/* Reads to the end of the connection, which must come. True: in order; false: a reset. */
bool rig_hear_end(struct rig *rig, int fd);
/* Nothing may come, and no end. */
void rig_quiet(struct rig *rig, int fd);
void rig_turns(struct rig *rig);
void rig_pass(struct rig *rig, uint64_t ms);
