#include "gateway/http/h1_fields.h"
#include "gateway/http/h1_scan.h"

static bool digit(char byte)
{
    return byte >= '0' && byte <= '9';
}

bool h1_status_read(struct slice text, struct head *head)
{
    const char *at = text.bytes;
    if (text.length < 3 || !digit(at[0]) || !digit(at[1]) || !digit(at[2]) ||
        (text.length > 3 && at[3] != ' '))
        return false;
    head->status = (uint16_t)((at[0] - '0') * 100 + (at[1] - '0') * 10 + (at[2] - '0'));
    head->reason = text.length > 4 ? (struct slice){at + 4, text.length - 4} : SLICE("");
    return head->status >= 100 && head->status <= 599;
}

/* HTTP/1.x SP 3DIGIT SP reason CRLF. A space before no reason may lack: many origins forget it. */
static const char *line_read(const char *at, const char *end, struct head *head)
{
    if (end - at < 14 || memcmp(at, "HTTP/1.", 7) != 0 || !digit(at[7]) || at[8] != ' ')
        return NULL;
    head->version_minor = at[7] != '0';
    at += 9;
    const char *line_end = h1_value_end(at, end);
    if (end - line_end < 2 || line_end[0] != '\r' || line_end[1] != '\n')
        return NULL;
    return h1_status_read((struct slice){at, (uint32_t)(line_end - at)}, head) ? line_end + 2
                                                                               : NULL;
}

/* RFC 9112 §6.3, but that both lengths at once, and codings that we do not know, are an error. */
static const char *framing_read(struct head *head, enum http_method method)
{
    const struct field *coding = head_field(head, FIELD_TRANSFER_ENCODING);
    const struct field *length = head_field(head, FIELD_CONTENT_LENGTH);
    if (coding && length)
        return "Transfer-Encoding and Content-Length in the response";
    if (length && !h1_length_read(length->value, &head->body_length))
        return "a bad Content-Length in the response";
    if (coding && (!head->version_minor || h1_coding_read(coding->value) != CODING_CHUNKED))
        return "a Transfer-Encoding other than chunked in the response";
    bool none =
        method == METHOD_HEAD || head->status < 200 || head->status == 204 || head->status == 304;
    if (none)
        head->body = BODY_NONE;
    else if (coding)
        head->body = BODY_CHUNKED;
    else if (length)
        head->body = head->body_length ? BODY_LENGTH : BODY_NONE;
    else
        head->body = BODY_CLOSE;
    return NULL;
}

enum h1_result h1_response_parse(const char *bytes, size_t length, enum http_method method,
                                 struct head *head, const char **ret_why)
{
    *head = (struct head){.fields = head->fields, .fields_room = head->fields_room};
    const char *end = bytes + length;
    const char *at = line_read(bytes, end, head);
    if (!at) {
        *ret_why = "a broken status line";
        return H1_BAD;
    }
    struct h1_refusal refusal;
    if (h1_fields_parse(at, end, head, &refusal) != H1_DONE) {
        *ret_why = refusal.why;
        return H1_BAD;
    }
    *ret_why = framing_read(head, method);
    if (*ret_why)
        return H1_BAD;
    if (!h1_connection_read(head)) {
        *ret_why = "too many names in Connection";
        return H1_BAD;
    }
    head->keep_alive &= head->body != BODY_CLOSE;
    return H1_DONE;
}
