/* What the files of value.h share: how a value that is wrong is told, and numbers. Private to
 * value.c, value_network.c and value_http.c. */
#pragma once

#include "conf/value.h"

enum { VALUE_SHOWN_BYTES_MAX = 80 }; /* of a text in a message */

/* "`x` is not a network", and what is allowed. Always false. */
bool value_wrong(const struct value_spec *spec, const char *text, struct value_problem *problem);

enum reading { READING_DONE, READING_WRONG, READING_SMALL, READING_LARGE };
/* A number with one of the type's units, within the bounds. */
enum reading value_number_read(const struct value_spec *spec, const char *text, size_t length,
                               uint64_t *ret_number);
/* True when it is done; else `problem` is filled. */
bool value_reading_finish(const struct value_spec *spec, const char *text, enum reading reading,
                          struct value_problem *problem);

/* value_network.c: addresses, networks, endpoints, host names, places in datagrams. */
bool value_network_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                         struct value_problem *problem);
/* value_http.c: methods, header fields, statuses. */
bool value_http_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                      struct value_problem *problem);
