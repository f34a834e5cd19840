/* Requests for a service that `speaks fastcgi`, for the proxy handler: which script a request is
 * for, and its head as CGI variables. Connecting, trying again, and what comes back are the
 * proxy's: a FastCGI connection is an h1_client whose framing is records (fcgi_record.h).
 *
 * The gateway sees no file, so that a path is split by its text alone:
 *   /shop/list.php        the script /shop/list.php
 *   /index.php/a/b        the script /index.php with PATH_INFO /a/b: the first `.php` (`split=`)
 *                         that a slash or the path's end follows
 *   /shop/                /shop/index.php (`index=index.php`)
 *   any other             `index=/index.php` is the one script of all of them; else 404 */
#pragma once

#include "gateway/http/h1_text.h"
#include "gateway/http/proxy.h"

struct fastcgi_script {
    struct slice name; /* SCRIPT_NAME, decoded */
    struct slice info; /* PATH_INFO, decoded; "" */
};

enum { FASTCGI_CHUNKED_BYTES_MAX = EXCHANGE_REPLAY_BYTES };

/* `path` is decoded and starts with a slash. Texts lie in it or are the route's; `joined`, with
 * room for both path and index, takes a name that is put together. False: it is no script's. */
bool fastcgi_script_split(struct slice path, const char *index, const char *split, char *joined,
                          struct fastcgi_script *ret_script);
/* Decodes a path in its normal form (path.h) into `out`, as long. The length; -1: decoded it would
 * climb, as `..%2F` does. */
ssize_t fastcgi_path_decode(struct slice path, char *out);

/* Of this request, in its arena. 0; -ENOENT: none; -EINVAL: no path; -ENOMEM. */
int fastcgi_script_find(struct exchange *exchange, const struct fastcgi_script **ret_script);
/* The whole request but for its body: BEGIN_REQUEST and PARAMS. 0, -ENOMEM, -E2BIG. */
int fastcgi_head_put(struct proxy *proxy, struct text *text);
