/* Scaling: looks at the services whose number of instances is a range, once a second, asks the
 * scaler (scaler.h), and does what it says: `service-scaled` in the log, with the reason. Where the
 * cluster's quota is short, services of lower priority shrink first, one instance at a time. */
#pragma once

struct supervisor;

enum { SCALING_LOOK_MS = 1000 };

/* The topology is another one now: begins, or ends, looking. */
void scaling_settle(struct supervisor *supervisor);
void scaling_end(struct supervisor *supervisor);
