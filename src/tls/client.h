/* TLS to endpoints (`tls;` in a service): verified by name and CA unless told otherwise; sessions
 * are resumed per worker and endpoint. One per service and generation; immutable; any thread. */
#pragma once

#include "tls/server.h"
#include "topology/topology.h"

struct tls_client;

/* 0 or -errno with `why`. `alpn` as in server.h. */
int tls_client_new(const struct service_tls *settings, const char *alpn, tls_read *read,
                   void *owner, struct tls_client **ret_client, char *why, size_t why_size);
void tls_client_free(struct tls_client *client);
/* The name that is expected instead of the endpoint's host; NULL: none stated. */
const char *tls_client_name(const struct tls_client *client);
