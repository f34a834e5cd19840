/* What an instance uses of the machine: of its control group, or, without one, of its processes
 * added up. */
#pragma once

#include "supervise/instance.h"

/* Zeros when it does not run. Walks over its processes where there is no group. */
void usage_of(const struct instance *instance, struct cgroup_usage *ret_usage);
