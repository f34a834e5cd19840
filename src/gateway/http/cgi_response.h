/* The head of a CGI response (RFC 3875 §6), as FastCGI's STDOUT and SCGI have it: fields, among
 * them Status and Location, and an empty line; as strict as HTTP/1.1's (h1_parse.h). Pure. */
#pragma once

#include "gateway/http/h1_parse.h"

/* As h1_response_parse, but never with an interim status. Status is taken out of the fields;
 * without it Location means 302, nothing 200. The body is BODY_NONE, BODY_LENGTH, or BODY_CLOSE:
 * until the request is over. */
enum h1_result cgi_response_parse(const char *bytes, size_t length, enum http_method method,
                                  struct head *head, const char **ret_why);
/* The same, or what begins with HTTP's status line: programs that speak uwsgi say it so, and some
 * that speak SCGI. */
enum h1_result cgi_http_response_parse(const char *bytes, size_t length, enum http_method method,
                                       struct head *head, const char **ret_why);
