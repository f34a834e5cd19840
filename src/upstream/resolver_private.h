/* For the tests of the resolver. */
#pragma once

#include "upstream/resolver.h"

enum { RESOLVE_FORGET_MS = 60000 };

/* Other servers than those of /etc/resolv.conf ("127.0.0.1:5353"), other hosts than /etc/hosts'.
 * 0 or -errno. */
int resolver_servers_set(struct resolver *resolver, const char *servers);
int resolver_hosts_set(struct resolver *resolver, const char *path);
