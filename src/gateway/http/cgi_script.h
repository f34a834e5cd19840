/* Which program of a service that speaks as CGI did (FastCGI, uwsgi, SCGI) a request is for, by the
 * path's text alone, since the gateway sees no file.
 *
 * uwsgi and SCGI: the one that the service is: SCRIPT_NAME is "", PATH_INFO all of the path.
 *
 * FastCGI (PHP): scripts below a directory:
 *   /shop/list.php        the script /shop/list.php
 *   /index.php/a/b        the script /index.php with PATH_INFO /a/b: the first `.php` (`split=`)
 *                         that a slash or the path's end follows
 *   /shop/                /shop/index.php (`index=index.php`)
 *   any other             `index=/index.php` is the one script of all of them; else 404 */
#pragma once

#include "gateway/http/exchange.h"

struct cgi_script {
    struct slice name; /* SCRIPT_NAME, decoded */
    struct slice info; /* PATH_INFO, decoded; "" */
};

/* `path` is decoded and starts with a slash. Texts lie in it or are the route's; `joined`, with
 * room for both path and index, takes a name that is put together. False: it is no script's. */
bool cgi_script_split(struct slice path, const char *index, const char *split, char *joined,
                      struct cgi_script *ret_script);
/* Decodes a path in its normal form (path.h) into `out`, as long. The length; -1: decoded it would
 * climb, as `..%2F` does. */
ssize_t cgi_path_decode(struct slice path, char *out);

/* Of this request, in its arena. 0; -ENOENT: none; -EINVAL: no path; -ENOMEM. */
int cgi_script_find(struct exchange *exchange, const struct cgi_script **ret_script);
