/* Regular expressions of routes and rewrites: PCRE2, compiled once, by JIT where that is allowed,
 * bounded in what one match may cost. A compiled one is immutable and shared by threads; what a
 * match needs to write belongs to the calling thread, is made by its first match and freed when it
 * ends. */
#pragma once

#include <stddef.h>

#include "gateway/http/head.h"

enum { REGEX_CAPTURES = 10 }; /* $0 … $9 */

struct regex;

/* NULL: PCRE2 refuses it, or no memory; `why` says which. */
struct regex *regex_new(const char *text, char *why, size_t why_size);
void regex_free(struct regex *regex); /* accepts NULL */

enum regex_result {
    REGEX_NO,
    REGEX_YES,
    REGEX_GAVE_UP, /* the bounds were reached, or no memory: neither yes nor no */
};

/* Captures point into the subject; groups that took no part have no bytes (NULL). */
enum regex_result regex_match(const struct regex *regex, struct slice subject,
                              struct slice ret_captures[REGEX_CAPTURES]);

/* The text that everything which matches begins with, as far as it is plain to see: "/u/" of
 * `^/u/([0-9]+)$`. Its length in `out`, at most `room`. */
size_t regex_beginning(const char *text, char *out, size_t room);
