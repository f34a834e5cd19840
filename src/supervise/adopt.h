/* Taking over what an earlier supervisor of this cluster left: instances whose processes live are
 * adopted as they are; groups and files that belong to nobody any more are cleared away. */
#pragma once

struct supervisor;

/* Before anything is started. The number of instances that were adopted. */
unsigned adopt_instances(struct supervisor *supervisor);
/* Ends processes in groups of the cluster that no unit knows, and removes the groups. */
void adopt_clear(struct supervisor *supervisor);
