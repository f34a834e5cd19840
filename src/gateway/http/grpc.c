#include "gateway/http/grpc.h"

enum { TIMEOUT_DIGITS_MAX = 8 };

/* The content type up to its parameters or its suffix. */
bool grpc_is(const struct head *request)
{
    static const struct slice name = SLICE("application/grpc");
    const struct field *field = head_field(request, FIELD_CONTENT_TYPE);
    if (!field || field->value.length < name.length)
        return false;
    char next = field->value.length > name.length ? field->value.bytes[name.length] : ';';
    struct slice start = {field->value.bytes, name.length};
    return slice_same_nocase(start, name) && (next == '+' || next == ';' || next == ' ');
}

/* Microseconds of a unit; 0: none. */
static uint64_t unit_us(char unit)
{
    switch (unit) {
    case 'H':
        return 3600000000;
    case 'M':
        return 60000000;
    case 'S':
        return 1000000;
    case 'm':
        return 1000;
    case 'u':
        return 1;
    default:
        return 0;
    }
}

uint64_t grpc_timeout_ms(const struct head *request)
{
    const struct field *field = head_find(request, "grpc-timeout");
    uint32_t length = field ? field->value.length : 0;
    if (length < 2 || length > TIMEOUT_DIGITS_MAX + 1)
        return 0;
    const char *bytes = field->value.bytes;
    uint64_t number = 0;
    for (uint32_t i = 0; i < length - 1; i++) {
        if (bytes[i] < '0' || bytes[i] > '9')
            return 0;
        number = number * 10 + (uint64_t)(bytes[i] - '0');
    }
    if (bytes[length - 1] == 'n')
        return 1 + number / 1000000;
    uint64_t us = unit_us(bytes[length - 1]);
    return us ? 1 + number * us / 1000 : 0; /* it is over when that is, and not before */
}

/* By the status that HTTP would have had; what other proxies say, too. */
void grpc_trailers(uint16_t status, struct field fields[GRPC_TRAILERS])
{
    static const struct {
        uint16_t status;
        struct slice code, message;
    } rows[] = {
        {400, SLICE("13"), SLICE("the request could not be served as it was sent")},
        {401, SLICE("16"), SLICE("not authenticated")},
        {403, SLICE("7"), SLICE("not permitted")},
        {404, SLICE("12"), SLICE("no route")},
        {405, SLICE("12"), SLICE("no route has this method")},
        {408, SLICE("4"), SLICE("the request did not come in time")},
        {411, SLICE("13"), SLICE("the request's length is not known")},
        {413, SLICE("8"), SLICE("the request is too large")},
        {429, SLICE("8"), SLICE("too many requests")},
        {431, SLICE("8"), SLICE("the metadata is too large")},
        {501, SLICE("12"), SLICE("not implemented")},
        {502, SLICE("14"), SLICE("the server did not answer as it should")},
        {503, SLICE("14"), SLICE("nobody could serve it")},
        {504, SLICE("4"), SLICE("no answer came in time")},
        {0, SLICE("2"), SLICE("the request could not be served")},
    };
    size_t i = 0;
    while (rows[i].status && rows[i].status != status)
        i++;
    fields[0] = (struct field){.name = SLICE("grpc-status"), .value = rows[i].code};
    fields[1] = (struct field){.name = SLICE("grpc-message"), .value = rows[i].message};
}

void grpc_respond(struct exchange *exchange, uint16_t status)
{
    const char *id = exchange_request_id(exchange);
    struct field fields[2 + GRPC_TRAILERS] = {
        {.name = SLICE("content-type"),
         .value = SLICE("application/grpc"),
         .id = FIELD_CONTENT_TYPE},
        {.name = SLICE("x-request-id"),
         .value = {id, (uint32_t)strlen(id)},
         .id = FIELD_X_REQUEST_ID},
    };
    grpc_trailers(status, fields + 2);
    const struct response_head head = {.status = 200, .fields = fields, .field_count = 4};
    exchange_respond(exchange, &head, "", 0, true);
}
