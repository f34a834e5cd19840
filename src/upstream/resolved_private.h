/* How the resolver writes what is resolved; the main thread alone. */
#pragma once

#include "upstream/resolver.h"

enum { RESOLVED_TEXT_BYTES = 296 }; /* a host's name, its port, brackets; "unix:" and a path */

/* A place for that remote, its own or a free one; UINT32_MAX: all are taken, or it is too long. */
uint32_t resolved_take(struct resolved *resolved, const char *text);
void resolved_drop(struct resolved *resolved, uint32_t place);
/* The first answer, a newer one; `count` 0: none (any more). */
void resolved_write(struct resolved *resolved, uint32_t place,
                    const struct resolved_address *addresses, uint32_t count);
void resolved_pending_set(struct resolved *resolved, uint32_t place, bool pending);
/* False: it was so already, or there is no such address. */
bool resolved_ill_set(struct resolved *resolved, uint32_t place, uint32_t index, bool ill);
bool resolved_role_set(struct resolved *resolved, uint32_t place, uint32_t index,
                       enum endpoint_role role);
