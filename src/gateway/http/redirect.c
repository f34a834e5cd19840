/* The handler of `redirect`: an answer with a Location, and no body. */
#include <string.h>

#include "gateway/http/bump.h"
#include "gateway/http/expand.h"
#include "gateway/http/path.h"

/* A link without a host (the client sent none that may be believed) leads nowhere. */
static bool location_good(struct slice location)
{
    const char *colon = memmem(location.bytes, location.length, "://", 3);
    if (location.length && *location.bytes == '/')
        return true;
    if (!colon)
        return false;
    const char *host = colon + 3, *end = location.bytes + location.length;
    return host < end && !strchr("/?#:", *host);
}

/* `redirect /$1`, or `redirect $path`, with a value that begins with slashes would name another
 * host (RFC 3986 §4.2): of the slashes in front one is left, unless the configuration wrote two. */
static struct slice slashes_less(struct slice location, const char *pattern)
{
    if (pattern[0] == '/' && pattern[1] == '/')
        return location;
    while (location.length > 1 && location.bytes[0] == '/' && location.bytes[1] == '/') {
        location.bytes++;
        location.length--;
    }
    return location;
}

static bool location_expand(struct exchange *exchange, struct slice *ret_location)
{
    const char *pattern = exchange->route->location;
    struct slice location = expand_pattern(exchange, pattern);
    char *encoded = location.bytes
                        ? bump_alloc(exchange->arena, (size_t)location.length * PATH_GROWTH_MAX + 1)
                        : NULL;
    if (!encoded)
        return false;
    size_t length = path_encode(location, PATH_PART_URI, encoded);
    *ret_location = slashes_less((struct slice){encoded, (uint32_t)length}, pattern);
    return true;
}

static void refuse(struct exchange *exchange, uint16_t status, enum exchange_blame blame,
                   const char *why)
{
    exchange_fail(exchange, status, blame, why);
    exchange_release(exchange);
}

static void redirect_start(struct exchange *exchange)
{
    struct slice location;
    if (!location_expand(exchange, &location)) {
        refuse(exchange, 503, BLAME_ENGINX, "no memory for the location");
        return;
    }
    if (!location_good(location)) {
        refuse(exchange, 400, BLAME_CLIENT, "no host to redirect to");
        return;
    }
    const struct field field = {.name = SLICE("Location"), .value = location};
    const struct response_head head = {
        .status = exchange->route->status, .fields = &field, .field_count = 1, .body = BODY_LENGTH};
    /* When the client is gone, abort follows. */
    if (exchange_respond(exchange, &head, NULL, 0, true) >= 0)
        exchange_release(exchange);
}

/* What the client still sends is of no interest. */
static size_t redirect_body(struct exchange *exchange, const char *bytes, size_t length, bool last)
{
    (void)exchange, (void)bytes, (void)last;
    return length;
}

static void redirect_nothing(struct exchange *exchange)
{
    (void)exchange;
}

const struct handler handler_redirect = {
    .name = "redirect",
    .start = redirect_start,
    .request_body = redirect_body,
    .response_room = redirect_nothing,
    .abort = redirect_nothing,
};
