#include "gateway/http/requester.h"

#include <arpa/inet.h>
#include <string.h>

#include "gateway/core/networks.h"

static size_t address_text(const union client_address *address, char out[REQUESTER_BYTES])
{
    const char *text = NULL;
    if (address->any.sa_family == AF_INET)
        text = inet_ntop(AF_INET, &address->v4.sin_addr, out, REQUESTER_BYTES);
    else if (address->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr))
        text = inet_ntop(AF_INET, address->v6.sin6_addr.s6_addr + 12, out, REQUESTER_BYTES);
    else if (address->any.sa_family == AF_INET6)
        text = inet_ntop(AF_INET6, &address->v6.sin6_addr, out, REQUESTER_BYTES);
    if (!text)
        strcpy(out, "unix");
    return strlen(out);
}

/* One element: "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]:80". False: none of it.
 */
static bool element_parse(struct slice element, union client_address *ret_address)
{
    char text[REQUESTER_BYTES];
    const char *bytes = element.bytes;
    size_t length = element.length;
    if (length && *bytes == '[') {
        const char *end = memchr(bytes, ']', length);
        if (!end)
            return false;
        length = (size_t)(end - ++bytes);
    } else if (length) {
        const char *colon = memchr(bytes, ':', length);
        const char *last = memrchr(bytes, ':', length);
        if (colon && colon == last)
            length = (size_t)(colon - bytes);
    }
    if (!length || length >= sizeof text)
        return false;
    memcpy(text, bytes, length);
    text[length] = 0;
    *ret_address = (union client_address){0};
    if (inet_pton(AF_INET, text, &ret_address->v4.sin_addr) == 1)
        ret_address->any.sa_family = AF_INET;
    else if (inet_pton(AF_INET6, text, &ret_address->v6.sin6_addr) == 1)
        ret_address->any.sa_family = AF_INET6;
    return ret_address->any.sa_family != 0;
}

/* Cuts the last element off the list. False: the list is empty. */
static bool element_last(struct slice *list, struct slice *ret_element)
{
    if (!list->length)
        return false;
    const char *comma = memrchr(list->bytes, ',', list->length);
    const char *begin = comma ? comma + 1 : list->bytes, *end = list->bytes + list->length;
    list->length = comma ? (uint32_t)(comma - list->bytes) : 0;
    while (begin < end && (*begin == ' ' || *begin == '\t'))
        begin++;
    while (begin < end && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *ret_element = (struct slice){begin, (uint32_t)(end - begin)};
    return true;
}

struct walk { /* from the nearest proxy outwards */
    const struct site *site;
    union client_address address; /* the farthest that is vouched for */
    unsigned proxies;
};

/* False: it ends here. */
static bool walk_list(struct walk *walk, struct slice list)
{
    for (struct slice element; element_last(&list, &element);) {
        union client_address address;
        if (walk->proxies++ == REQUESTER_PROXIES_MAX || !element_parse(element, &address))
            return false;
        walk->address = address;
        if (!networks_contain(walk->site->trusted, walk->site->trusted_count, &address.any))
            return false;
    }
    return true;
}

void requester_client(const struct exchange *exchange, union client_address *ret_address)
{
    const struct head *request = &exchange->request;
    struct walk walk = {.site = exchange->client->plan->listener->site,
                        .address = exchange->client->peer};
    bool on = exchange->client_trusted;
    for (uint32_t i = request->field_count; on && i-- > 0;)
        if (request->fields[i].id == FIELD_X_FORWARDED_FOR)
            on = walk_list(&walk, request->fields[i].value);
    *ret_address = walk.address;
}

size_t requester_address(const struct exchange *exchange, char out[REQUESTER_BYTES])
{
    union client_address address;
    requester_client(exchange, &address);
    return address_text(&address, out);
}

struct slice requester_scheme(const struct exchange *exchange)
{
    const struct field *field =
        exchange->client_trusted ? head_field(&exchange->request, FIELD_X_FORWARDED_PROTO) : NULL;
    if (field && slice_is_nocase(field->value, "https"))
        return SLICE("https");
    if (field && slice_is_nocase(field->value, "http"))
        return SLICE("http");
    return exchange->secure ? SLICE("https") : SLICE("http");
}
