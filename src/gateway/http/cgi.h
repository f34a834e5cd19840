/* A request's head as CGI variables (RFC 3875 §4.1, and what programs read beyond), for services
 * that `speak` FastCGI, uwsgi or SCGI: what is told is the same, and how it is written is the
 * protocol's (fastcgi.c, uwsgi.c, scgi.c). Connecting, trying again, and what comes back are the
 * proxy's: a connection to such a service is an h1_client like others. */
#pragma once

#include "gateway/http/cgi_script.h"
#include "gateway/http/h1_text.h"
#include "gateway/http/proxy.h"

struct cgi_form { /* how a variable is written: before its value, which is written in parts, */
    void (*begin)(struct text *text, struct slice name, uint32_t value_length);
    void (*end)(struct text *text); /* and behind it; NULL: nothing */
};

/* All variables, CONTENT_LENGTH first. 0 or -ENOMEM; text->full: they found no room. */
int cgi_put(struct proxy *proxy, const struct cgi_form *form, struct text *text);

/* ---- fastcgi.c, uwsgi.c, scgi.c: the whole request but for its body. 0, -ENOMEM, -E2BIG. ---- */

int fastcgi_head_put(struct proxy *proxy, struct text *text);
int uwsgi_head_put(struct proxy *proxy, struct text *text);
int scgi_head_put(struct proxy *proxy, struct text *text);
