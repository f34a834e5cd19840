/* What the files of value.h share: how a value that is wrong is told, and numbers. Private to
 * value.c, value_choice.c, value_network.c and value_http.c. */
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

/* value_choice.c: words that a spec allows. */
void value_text_add(char *text, size_t size, const char *more); /* cut where it does not fit */
/* "a, b or c" of those that are in this version. */
void value_choices_add(const char *choices, char *text, size_t size);
/* Which of the spec's choices the text is; -1: none. */
int16_t value_choice_find(const struct value_spec *spec, const char *text, bool *ret_planned);
/* Both always false. */
bool value_choice_wrong(const struct value_spec *spec, const char *text,
                        struct value_problem *problem);
bool value_choice_planned(const struct value_spec *spec, const char *text,
                          struct value_problem *problem);

/* value_network.c: addresses, networks, endpoints, host names, places in datagrams. */
bool value_network_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                         struct value_problem *problem);
/* value_http.c: methods, header fields, statuses. */
bool value_http_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                      struct value_problem *problem);
