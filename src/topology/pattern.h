/* Patterns: texts of a site that hold request variables — $host, $1, $header.User-Agent — which
 * are put in for each request (gateway/http/expand.h). In a topology they are canonical: each
 * variable is `${name}`, each dollar sign that means itself `$$`, and every name is known. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum pattern_kind {
    PATTERN_LITERAL, /* text as it stands */
    PATTERN_HOST,    /* of the request, lower case, without its port */
    PATTERN_PATH,
    PATTERN_QUERY, /* without its `?`; empty: none */
    PATTERN_URI,   /* path and query as they were sent */
    PATTERN_SCHEME,
    PATTERN_METHOD,
    PATTERN_CLIENT, /* its address */
    PATTERN_PORT,   /* of the listener */
    PATTERN_REQUEST_ID,
    PATTERN_USER,     /* who it is, as `auth` found out; empty: not known */
    PATTERN_CAPTURE,  /* $1 … $9: of the regular expression */
    PATTERN_HEADER,   /* $header.NAME */
    PATTERN_COOKIE,   /* $cookie.NAME */
    PATTERN_ARGUMENT, /* $arg.NAME: of the query */
    PATTERN_CLAIM,    /* $jwt.NAME: of the token that `auth jwt` took */
};

struct pattern_part {
    enum pattern_kind kind;
    unsigned capture; /* PATTERN_CAPTURE: 1 … 9 */
    const char *text; /* PATTERN_LITERAL: the text; of the last four: NAME; not ended by a 0 */
    size_t length;
};

/* Takes the next part off the front of *pattern; false at its end. */
bool pattern_next(const char **pattern, struct pattern_part *ret_part);
/* The largest N of the `$N` in it; 0: none. */
unsigned pattern_captures(const char *pattern);

/* What the configuration may name; one that ends with a dot stands for all that begin so. Ends with
 * NULL. */
extern const char *const pattern_names[];
