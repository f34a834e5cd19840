/* Marks: numbers that are equal when parts of two topologies say the same, whatever their indexes
 * are. Services are told by their names. */
#pragma once

#include <stdint.h>

#include "topology/topology.h"

/* What a listener does: everything but where it stands in the file. */
uint64_t listener_mark(const struct topology *topology, const struct listener *listener);
/* How a service is balanced, checked, restarted, stopped and reached: everything that is changed
 * without starting its instances anew (service.definition has the rest), but their number. */
uint64_t service_mark(const struct service *service);
