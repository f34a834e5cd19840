/* Taking over what an earlier supervisor of this cluster left: instances whose processes live are
 * adopted as they are; groups and files that belong to nobody any more are cleared away. */
#pragma once

struct supervisor;

/* Before anything is started. The number of instances that were adopted. The steering must be given
 * what the keeper held before adopt_begin, which goes on with them: what a program asks of us
 * (kernel/seccomp.h) comes through those descriptors. */
unsigned adopt_instances(struct supervisor *supervisor);
void adopt_begin(struct supervisor *supervisor);
/* Ends processes in groups of the cluster that no unit knows, and removes the groups. */
void adopt_clear(struct supervisor *supervisor);
