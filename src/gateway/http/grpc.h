/* gRPC (its "PROTOCOL-HTTP2"), as far as a gateway has a part in it: which requests are calls, how
 * long one may take, and how a failure of ours is told to who waits for a grpc-status and not for a
 * page. Messages are bytes like any other. */
#pragma once

#include "gateway/http/exchange.h"

/* application/grpc, +proto …; not grpc-web, which is another protocol. */
bool grpc_is(const struct head *request);
/* What grpc-timeout allows, in ms; 0: nothing is said that could be understood. */
uint64_t grpc_timeout_ms(const struct head *request);

enum { GRPC_TRAILERS = 2 };
/* grpc-status and grpc-message of a failure with this status of HTTP. */
void grpc_trailers(uint16_t status, struct field fields[GRPC_TRAILERS]);
/* Answers so: HTTP 200, and nothing but the trailers. */
void grpc_respond(struct exchange *exchange, uint16_t status);
