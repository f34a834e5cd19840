#include "gateway/http/cgi_script.h"

#include <errno.h>
#include <string.h>

#include "gateway/http/bump.h"
#include "gateway/http/expand.h"
#include "gateway/http/path.h"

/* ---- decoding ------------------------------------------------------------------------------- */

static char hex_value(char digit)
{
    return (char)(digit <= '9' ? digit - '0' : digit - 'A' + 10);
}

static bool climbs(const char *path, size_t length)
{
    for (size_t i = 0; i + 1 < length; i++) {
        if (path[i] != '/' || path[i + 1] != '.')
            continue;
        size_t dots = 1;
        while (i + 1 + dots < length && path[i + 1 + dots] == '.')
            dots++;
        if (dots <= 2 && (i + 1 + dots == length || path[i + 1 + dots] == '/'))
            return true;
    }
    return false;
}

ssize_t cgi_path_decode(struct slice path, char *out)
{
    size_t length = 0;
    for (uint32_t i = 0; i < path.length; i++) {
        char byte = path.bytes[i];
        if (byte == '%' && path.length - i > 2) {
            byte = (char)(hex_value(path.bytes[i + 1]) << 4 | hex_value(path.bytes[i + 2]));
            i += 2;
        }
        out[length++] = byte;
    }
    return climbs(out, length) ? -1 : (ssize_t)length;
}

/* ---- splitting ------------------------------------------------------------------------------ */

/* Where the script's name ends; 0: there is none in it. */
static uint32_t name_end(struct slice path, const char *split)
{
    size_t length = strlen(split);
    for (size_t at = 1; at + length <= path.length; at++) {
        size_t end = at + length;
        if (!memcmp(path.bytes + at, split, length) && path.bytes[at - 1] != '/' &&
            (end == path.length || path.bytes[end] == '/'))
            return (uint32_t)end;
    }
    return 0;
}

bool cgi_script_split(struct slice path, const char *index, const char *split, char *joined,
                      struct cgi_script *ret_script)
{
    uint32_t end = name_end(path, split);
    size_t index_length = strlen(index);
    *ret_script = (struct cgi_script){{path.bytes, end}, SLICE("")};
    if (end) {
        ret_script->info = (struct slice){path.bytes + end, path.length - end};
        return true;
    }
    if (*index == '/') {
        ret_script->name = (struct slice){index, (uint32_t)index_length};
        return true;
    }
    if (!path.length || path.bytes[path.length - 1] != '/')
        return false;
    memcpy(joined, path.bytes, path.length);
    memcpy(joined + path.length, index, index_length);
    ret_script->name = (struct slice){joined, path.length + (uint32_t)index_length};
    return true;
}

/* ---- of a request --------------------------------------------------------------------------- */

/* The path after the route's rewrites, as sent. */
static struct slice path_of(struct exchange *exchange)
{
    if (!exchange->route->rewrite_count)
        return exchange->request.path.length ? exchange->request.path : SLICE("/");
    struct slice target = expand_target(exchange);
    const char *query = target.length ? memchr(target.bytes, '?', target.length) : NULL;
    if (query)
        target.length = (uint32_t)(query - target.bytes);
    return target;
}

/* The path, decoded, in the arena. 0; -ENOENT: it would climb; -EINVAL; -ENOMEM. */
static int path_find(struct exchange *exchange, struct slice *ret_path)
{
    struct slice path = path_of(exchange);
    size_t room = (size_t)path.length * PATH_GROWTH_MAX + PATH_GROWTH_MAX;
    char *normal = bump_alloc(exchange->arena, room);
    char *decoded = bump_alloc(exchange->arena, room);
    if (!normal || !decoded)
        return -ENOMEM;
    ssize_t length = path.length ? path_normalise(path, normal, room) : -1;
    if (length < 0)
        return -EINVAL;
    length = cgi_path_decode((struct slice){normal, (uint32_t)length}, decoded);
    *ret_path = (struct slice){decoded, (uint32_t)length};
    return length < 0 ? -ENOENT : 0;
}

int cgi_script_find(struct exchange *exchange, const struct cgi_script **ret_script)
{
    const struct route *route = exchange->route;
    struct cgi_script *script = bump_alloc(exchange->arena, sizeof *script);
    struct slice path;
    int error = script ? path_find(exchange, &path) : -ENOMEM;
    if (error)
        return error;
    if (route->speaks != SPEAKS_FASTCGI) {
        *script = (struct cgi_script){SLICE(""), path};
    } else {
        char *joined = bump_alloc(exchange->arena, path.length + strlen(route->index) + 1);
        if (!joined)
            return -ENOMEM;
        if (!cgi_script_split(path, route->index, route->split, joined, script))
            return -ENOENT;
    }
    *ret_script = script;
    return 0;
}
