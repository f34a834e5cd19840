#include "gateway/http/error_page.h"

#include <assert.h>
#include <stdio.h>

#include "gateway/http/bump.h"

enum { PAGE_BYTES_MAX = 512 };

struct slice status_reason(uint16_t status)
{
    static const struct {
        uint16_t status;
        struct slice reason;
    } rows[] = {
        {100, SLICE("Continue")},
        {101, SLICE("Switching Protocols")},
        {103, SLICE("Early Hints")},
        {200, SLICE("OK")},
        {201, SLICE("Created")},
        {202, SLICE("Accepted")},
        {204, SLICE("No Content")},
        {205, SLICE("Reset Content")},
        {206, SLICE("Partial Content")},
        {301, SLICE("Moved Permanently")},
        {302, SLICE("Found")},
        {303, SLICE("See Other")},
        {304, SLICE("Not Modified")},
        {307, SLICE("Temporary Redirect")},
        {308, SLICE("Permanent Redirect")},
        {400, SLICE("Bad Request")},
        {401, SLICE("Unauthorized")},
        {403, SLICE("Forbidden")},
        {404, SLICE("Not Found")},
        {405, SLICE("Method Not Allowed")},
        {406, SLICE("Not Acceptable")},
        {408, SLICE("Request Timeout")},
        {409, SLICE("Conflict")},
        {410, SLICE("Gone")},
        {411, SLICE("Length Required")},
        {412, SLICE("Precondition Failed")},
        {413, SLICE("Content Too Large")},
        {414, SLICE("URI Too Long")},
        {415, SLICE("Unsupported Media Type")},
        {416, SLICE("Range Not Satisfiable")},
        {417, SLICE("Expectation Failed")},
        {418, SLICE("I'm a teapot")},
        {421, SLICE("Misdirected Request")},
        {422, SLICE("Unprocessable Content")},
        {425, SLICE("Too Early")},
        {426, SLICE("Upgrade Required")},
        {429, SLICE("Too Many Requests")},
        {431, SLICE("Request Header Fields Too Large")},
        {451, SLICE("Unavailable For Legal Reasons")},
        {500, SLICE("Internal Server Error")},
        {501, SLICE("Not Implemented")},
        {502, SLICE("Bad Gateway")},
        {503, SLICE("Service Unavailable")},
        {504, SLICE("Gateway Timeout")},
        {505, SLICE("HTTP Version Not Supported")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (rows[i].status == status)
            return rows[i].reason;
    return SLICE("");
}

static const char *const blamed[] = {
    [BLAME_NOBODY] = "nobody",
    [BLAME_CLIENT] = "client",
    [BLAME_UPSTREAM] = "upstream",
    [BLAME_ENGINX] = "enginx",
};

static const char *const sentences[] = {
    [BLAME_NOBODY] = "",
    [BLAME_CLIENT] = "The request could not be served as it was sent.",
    [BLAME_UPSTREAM] = "The server behind this address did not answer as it should.",
    [BLAME_ENGINX] = "This server could not serve the request just now.",
};

static bool json_wanted(const struct exchange *exchange)
{
    const struct field *accept = head_find(&exchange->request, "accept");
    return accept &&
           memmem(accept->value.bytes, accept->value.length, "application/json", 16) != NULL;
}

static int page_print(struct exchange *exchange, uint16_t status, bool json, char *page)
{
    struct slice reason = status_reason(status);
    const char *id = exchange_request_id(exchange);
    if (json)
        return snprintf(
            page, PAGE_BYTES_MAX,
            "{\"status\":%u,\"error\":\"%.*s\",\"failed\":\"%s\",\"request_id\":\"%s\"}\n", status,
            (int)reason.length, reason.bytes, blamed[exchange->blame], id);
    return snprintf(page, PAGE_BYTES_MAX, "%u %.*s\n%s\nfailed: %s\nrequest: %s\n", status,
                    (int)reason.length, reason.bytes, sentences[exchange->blame],
                    blamed[exchange->blame], id);
}

void error_page_respond(struct exchange *exchange, uint16_t status)
{
    char page[PAGE_BYTES_MAX];
    bool json = json_wanted(exchange);
    int length = page_print(exchange, status, json, page);
    const char *id = exchange_request_id(exchange);
    struct field fields[4 + ERROR_PAGE_FIELDS_MAX] = {
        {.name = SLICE("Content-Type"),
         .value = json ? SLICE("application/json") : SLICE("text/plain; charset=utf-8"),
         .id = FIELD_CONTENT_TYPE},
        {.name = SLICE("X-Request-ID"),
         .value = {id, (uint32_t)strlen(id)},
         .id = FIELD_X_REQUEST_ID},
        {.name = SLICE("Cache-Control"), .value = SLICE("no-store")},
        {.name = SLICE("Allow"), .value = exchange->allow},
    };
    uint32_t count = status == 405 && exchange->allow.length ? 4 : 3;
    assert(exchange->page_field_count <= ERROR_PAGE_FIELDS_MAX);
    for (uint32_t i = 0; i < exchange->page_field_count; i++)
        fields[count++] = exchange->page_fields[i];
    const struct response_head head = {.status = status,
                                       .fields = fields,
                                       .field_count = count,
                                       .body = BODY_LENGTH,
                                       .body_length = (uint64_t)length};
    ssize_t taken = exchange_respond(exchange, &head, page, (size_t)length, true);
    /* A client whose socket is full of earlier answers does not get the rest of this page. */
    if (taken >= 0 && taken < length)
        exchange->codec->cut(exchange);
}
