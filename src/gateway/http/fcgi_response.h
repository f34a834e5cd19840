/* The head of a CGI response (RFC 3875 §6), as FastCGI's STDOUT has it: fields, among them Status
 * and Location, and an empty line; as strict as HTTP/1.1's (h1_parse.h). Pure. */
#pragma once

#include "gateway/http/h1_parse.h"

/* As h1_response_parse. Status is taken out of the fields; without it Location means 302, nothing
 * 200. The body is BODY_NONE, BODY_LENGTH, or BODY_CLOSE: until the request is over. */
enum h1_result fcgi_response_parse(const char *bytes, size_t length, enum http_method method,
                                   struct head *head, const char **ret_why);
