/* The checker: active health checks over the network (`check tcp|http|grpc|redis|udp`) of instances
 * and of remote endpoints, and questions after their roles (`role postgres|redis`); one per
 * machine, on the gateway's main thread. Instances are found on the board and checked at their own
 * address once they listen (BOARD_STARTING, BOARD_UP); what changes is told through `instance` (the
 * gateway tells the supervisor, which decides the state); remote ones are written to `resolved`.
 * Checks of one service are spread over its interval with jitter; at most CHECKS_UNDER_WAY_MAX run
 * at a time; rise and fall are counted here.
 *
 * Until an endpoint was well for the first time it is asked ten times as often, so that a start
 * does not wait long. A verdict that the board does not show yet is told again with each check,
 * since the supervisor that heard it may have died. Checks go through TLS where the service has it.
 * A service that expects a PROXY header gets one that says that no client stands behind it. Remotes
 * of two services with the same text share their health. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "event/loop.h"
#include "topology/topology.h"
#include "upstream/board.h"
#include "upstream/resolver.h"

struct tls_client;

enum { CHECKS_UNDER_WAY_MAX = 256, CHECK_WHY_BYTES = 200, CHECK_ANSWER_BYTES_MAX = 64 * 1024 };

struct checker;

/* `well`: it passed `rise` checks (or failed `fall`); `why`: the last failure in words, "" when
 * well. */
typedef void checker_instance(void *owner, uint32_t slot, uint32_t epoch, bool well,
                              const char *why);

/* An instance said another role than the board shows: `word` is "primary 7" or "replica 0"; "": it
 * is not known any more, and `why` says why. */
typedef void checker_role(void *owner, uint32_t slot, uint32_t epoch, const char *word,
                          const char *why);

/* It counts in the rows of that thread, whose worker leaves these counters alone. */
struct checker *checker_new(struct loop *loop, const struct board *board, struct resolved *resolved,
                            struct resolver *resolver, struct tally *tally, uint32_t thread,
                            checker_instance *instance, checker_role *role, void *owner);
void checker_free(struct checker *checker);
/* The services that are checked from now on; the topology must live until the next call, and so
 * must the TLS clients, by service index as in a generation (NULL: none; then a service with TLS is
 * only connected to). 0 or -ENOMEM. */
int checker_settle(struct checker *checker, const struct topology *topology,
                   struct tls_client *const *tls_to);
/* The board's bell rang. (What the resolver changed the checker sees by itself, within a second.)
 */
void checker_news(struct checker *checker);

/* How a check reads what comes back; pure. */
enum check_verdict { CHECK_MORE, CHECK_WELL, CHECK_ILL };
enum check_verdict check_http_read(const struct service *service, const char *bytes, size_t length,
                                   bool end, char why[CHECK_WHY_BYTES]);
