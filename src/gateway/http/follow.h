/* Responses of a service that lead elsewhere, where the route follows them (`x-accel-redirect`,
 * `x-sendfile`): such a response is thrown away, and the request goes on as a GET (a HEAD stays
 * one), to another route of the listener (X-Accel-Redirect: PATH[?QUERY]), or to a file below one
 * of the route's directories (X-Sendfile: FILE, absolute). What nginx keeps of the first response
 * is kept: Content-Type (for a file), Content-Disposition, Set-Cookie, Cache-Control, Expires.
 *
 * Where the route does not say so the fields mean nothing, and pass like others. */
#pragma once

#include "gateway/http/exchange.h"

enum {
    FOLLOW_TIMES_MAX = 10, /* then it is a circle */
    FOLLOW_FIELDS_MAX = 32,
    FOLLOW_NAME_BYTES_MAX = 4096, /* of a file, or a path */
};

struct follow {                /* of an exchange that was led elsewhere; in its arena */
    struct head asked;         /* what the client asked for: for the log */
    const struct route *route; /* that it matched */
    struct slice type;         /* Content-Type of a file; "": its own */
    struct field fields[FOLLOW_FIELDS_MAX];
    uint32_t field_count;
    uint8_t times;
};

enum follow_kind { FOLLOW_NOT, FOLLOW_PATH, FOLLOW_FILE };
/* Does a response lead elsewhere? *ret_place: where. `rules`: of the route, or NULL. */
enum follow_kind follow_find(const struct route_follow *rules, const struct field *fields,
                             uint32_t count, struct slice *ret_place);
/* Keeps what is to be kept of these fields, and `place`. False: no memory. */
bool follow_keep(struct exchange *exchange, const struct field *fields, uint32_t count,
                 struct slice *place);
/* Leads it there; after follow_keep, and when the handler has let go of all it had. `status`: of
 * the response, for the counts. The exchange may be over when this returns. */
void follow_go(struct exchange *exchange, enum follow_kind kind, struct slice place,
               uint16_t status);
/* Fields of an answer with what was kept; false: no memory, they are left as they are. */
bool follow_apply(struct exchange *exchange, struct response_head *head);
