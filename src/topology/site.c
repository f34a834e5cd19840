#include "topology/site.h"

const char *const access_log_fields[] = {
    "time",     "client",      "host",     "method",     "uri",      "path",
    "query",    "scheme",      "protocol", "status",     "bytes_in", "bytes_out",
    "duration", "response",    "listener", "route",      "service",  "instance",
    "tries",    "request_id",  "referer",  "user_agent", "tls",      "sni",
    "failure",  "traceparent", "user",     "cache",      NULL};
