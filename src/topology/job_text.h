/* A job in words, as a configuration would say it: for `check --explain` and `graph`. Pure. */
#pragma once

#include "topology/topology.h"

enum { JOB_TEXT_BYTES = 96 };

/* When it runs: "every 1h", "at 03:00", "when it is asked for". */
const char *job_text_times(const struct service_job *job, char text[JOB_TEXT_BYTES]);
/* What becomes of its runs: "overlap queue, timeout 10m"; "" where there is nothing to say. */
const char *job_text_bounds(const struct service_job *job, char text[JOB_TEXT_BYTES]);
