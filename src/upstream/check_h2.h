/* What a check says and hears in HTTP/2 (RFC 9113): `check grpc`, which is Check of grpc.health.v1
 * (https://github.com/grpc/grpc/blob/master/doc/health-checking.md), and `check http` of a service
 * that speaks HTTP/2. One request on a connection of its own; bytes in, bytes out, no socket. Of
 * the loop's thread. */
#pragma once

#include "base/buffer.h"
#include "topology/topology.h"
#include "upstream/checker.h"

struct check_h2;

/* Does a service's check speak it? */
bool check_h2_speaks(const struct service *service);
/* NULL: no memory. What is to be sent first is appended to `out`. */
struct check_h2 *check_h2_new(const struct service *service, const char *authority, bool secure,
                              struct buffer *out);
void check_h2_free(struct check_h2 *check); /* accepts NULL */
/* What came, or the end of it. What is to be sent next is appended to `out`. */
enum check_verdict check_h2_read(struct check_h2 *check, const char *bytes, size_t length, bool end,
                                 struct buffer *out, char why[CHECK_WHY_BYTES]);
