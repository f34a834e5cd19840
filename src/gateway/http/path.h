/* Paths in one normal form (RFC 3986 §6.2.2), so that two texts which every origin reads alike are
 * one text here: percent-encoded unreserved bytes are decoded, other encodings have upper-case
 * digits, bytes that may not stand in a path are encoded, dot segments are removed. The result is
 * itself a path that may be sent. Pure; no allocation. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "gateway/http/head.h"

enum { PATH_GROWTH_MAX = 3 }; /* a normal path is at most so many times as long */

/* The length of the normal form in `out`; -1: it has none (no slash in front, a broken
 * percent-encoding, a control byte or NUL, encoded or not where it matters, a climb above the
 * root), or it does not fit `room`. `out` may not be `path`. */
ssize_t path_normalise(struct slice path, char *out, size_t room);
/* The same for a glob: `?` stays what it is, and dots too. */
ssize_t path_normalise_glob(struct slice glob, char *out, size_t room);

enum path_part {
    PATH_PART_URI,   /* all of it, scheme and host as well */
    PATH_PART_PATH,  /* `?`, `#` and brackets are encoded, too */
    PATH_PART_QUERY, /* `#` and brackets are */
};

/* Encodes what may not stand in that part (controls, white space, `"<>\^`{|}`, bytes above 127, and
 * see above), and nothing else: for what is put together from outside text. At most
 * PATH_GROWTH_MAX times as long. The length. */
size_t path_encode(struct slice text, enum path_part part, char *out);
