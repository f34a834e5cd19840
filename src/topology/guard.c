#include "topology/guard.h"

const char *const guard_names[GUARD_KINDS] = {
    [GUARD_ACCESS] = "access", [GUARD_RATE] = "rate",       [GUARD_REQUESTS] = "requests",
    [GUARD_BASIC] = "basic",   [GUARD_REQUEST] = "request", [GUARD_JWT] = "jwt",
    [GUARD_CORS] = "cors",     [GUARD_FLOOD] = "flood",
};
