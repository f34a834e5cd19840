/* Reloading: another topology takes the place of the one in use. It is compared with it, prepared
 * beside it — ports are opened, the gateway builds its new configuration, units of new services are
 * made — and then taken into use in one step, which cannot fail. What went wrong before that leaves
 * everything as it was. What did not change does not notice. Last, what is not wanted any more is
 * retired: services drain and stop, listeners close.
 *
 * Services are known by name; each keeps its place (topology/place.h). One reload at a time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct supervisor;
struct unit;

/* Called once: 0: it is in use (`why` is ""), or -errno with `why` in words. */
typedef void reload_done(void *owner, int error, const char *why);

/* From a configuration file (NULL: the one that the cluster was read from last). What is wrong with
 * it, and what changes, is printed to `out`. `dry`: no more than that, and `done` is not called.
 * Else 0: `done` will be, or was, called; -errno with `why`: it will not. */
int reload_file(struct supervisor *supervisor, const char *path, bool dry, reload_done *done,
                void *owner, FILE *out, char *why, size_t why_size);
/* The owner is not there any more; the reload goes on. */
void reload_disown(struct supervisor *supervisor, void *owner);
/* One that is under way is abandoned: the cluster goes down. */
void reload_cancel(struct supervisor *supervisor);

/* The unit's service is absent and its last instance gone: its place is free. */
void supervisor_unit_forget(struct supervisor *supervisor, struct unit *unit);
