#include "gateway/http/cgi_response.h"

#include "gateway/http/h1_fields.h"

/* Without Status: RFC 3875 §6.2. False: a broken one, or two. */
static bool status_find(struct head *head)
{
    static const char name[] = "Status";
    bool found = false;
    head->status = head_find(head, "Location") ? 302 : 200;
    for (uint32_t i = 0; i < head->field_count; i++) {
        struct field *field = &head->fields[i];
        if (!slice_is_nocase(field->name, name))
            continue;
        /* An interim or other protocol's answer (1xx) is none of CGI's. */
        if (found || !h1_status_read(field->value, head) || head->status < 200)
            return false;
        field->dropped = found = true;
    }
    return true;
}

static bool framing_read(struct head *head, enum http_method method)
{
    const struct field *length = head_field(head, FIELD_CONTENT_LENGTH);
    if (length && !h1_length_read(length->value, &head->body_length))
        return false;
    if (method == METHOD_HEAD || head->status == 204 || head->status == 304)
        head->body = BODY_NONE;
    else if (length)
        head->body = head->body_length ? BODY_LENGTH : BODY_NONE;
    else
        head->body = BODY_CLOSE;
    return true;
}

enum h1_result cgi_response_parse(const char *bytes, size_t length, enum http_method method,
                                  struct head *head, const char **ret_why)
{
    *head =
        (struct head){.fields = head->fields, .fields_room = head->fields_room, .version_minor = 1};
    struct h1_refusal refusal;
    if (h1_fields_parse(bytes, bytes + length, head, &refusal) != H1_DONE) {
        *ret_why = refusal.why;
        return H1_BAD;
    }
    *ret_why = head->first[FIELD_TRANSFER_ENCODING] ? "a Transfer-Encoding in a CGI response"
               : !status_find(head)                 ? "a broken Status in the response"
               : !framing_read(head, method)        ? "a bad Content-Length in the response"
               : !h1_connection_read(head)          ? "too many names in Connection"
                                                    : NULL;
    return *ret_why ? H1_BAD : H1_DONE;
}

enum h1_result cgi_http_response_parse(const char *bytes, size_t length, enum http_method method,
                                       struct head *head, const char **ret_why)
{
    if (length < 5 || memcmp(bytes, "HTTP/", 5) != 0)
        return cgi_response_parse(bytes, length, method, head, ret_why);
    enum h1_result result = h1_response_parse(bytes, length, method, head, ret_why);
    if (result != H1_DONE || head->status >= 200)
        return result;
    *ret_why = "an interim response of a program";
    return H1_BAD;
}
