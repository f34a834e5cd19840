/* A `quota` of the configuration as control groups take it. */
#pragma once

#include "kernel/cgroup.h"
#include "topology/topology.h"

struct cgroup_quota quota_limits(const struct quota *quota);
/* What the configuration calls each controller's part. */
extern const char *const quota_words[CGROUP_CONTROLLERS];
