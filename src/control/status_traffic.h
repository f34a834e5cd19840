/* The part of `status` that the gateway's tally tells: how many requests, how fast, how many of
 * them failed — of services and of listeners. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "supervise/traffic.h"

struct supervisor;

/* Adds the fields of a service's or a listener's traffic; null ones where `sum` is NULL: nobody
 * counts. `look` remembers what was seen before. */
void status_traffic_add(json_t *object, const struct tally_traffic *sum, struct traffic_look *look,
                        uint64_t now_ms);
/* An array of all listeners of the configuration in force; a new reference. */
json_t *status_listeners(struct supervisor *supervisor);
