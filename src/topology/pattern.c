#include "topology/pattern.h"

#include <assert.h>
#include <string.h>

const char *const pattern_names[] = {"host",   "path",    "query",      "uri",  "scheme", "method",
                                     "client", "port",    "request_id", "user", "1",      "2",
                                     "3",      "4",       "5",          "6",    "7",      "8",
                                     "9",      "header.", "cookie.",    "arg.", "jwt.",   NULL};

static const struct {
    const char *name;
    enum pattern_kind kind;
} kinds[] = {
    {"host", PATTERN_HOST},     {"path", PATTERN_PATH},      {"query", PATTERN_QUERY},
    {"uri", PATTERN_URI},       {"scheme", PATTERN_SCHEME},  {"method", PATTERN_METHOD},
    {"client", PATTERN_CLIENT}, {"port", PATTERN_PORT},      {"request_id", PATTERN_REQUEST_ID},
    {"user", PATTERN_USER},     {"header.", PATTERN_HEADER}, {"cookie.", PATTERN_COOKIE},
    {"arg.", PATTERN_ARGUMENT}, {"jwt.", PATTERN_CLAIM},
};

static bool name_take(const char *name, size_t length, struct pattern_part *part)
{
    if (length == 1 && name[0] >= '1' && name[0] <= '9') {
        *part =
            (struct pattern_part){.kind = PATTERN_CAPTURE, .capture = (unsigned)(name[0] - '0')};
        return true;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        size_t known = strlen(kinds[i].name);
        bool prefix = kinds[i].name[known - 1] == '.';
        if ((prefix ? length <= known : length != known) || memcmp(name, kinds[i].name, known) != 0)
            continue;
        *part = (struct pattern_part){
            .kind = kinds[i].kind, .text = name + known, .length = length - known};
        return true;
    }
    return false;
}

bool pattern_next(const char **pattern, struct pattern_part *ret_part)
{
    const char *at = *pattern;
    if (!*at)
        return false;
    size_t length = strcspn(at, "$");
    if (length) {
        *ret_part = (struct pattern_part){.kind = PATTERN_LITERAL, .text = at, .length = length};
        *pattern = at + length;
        return true;
    }
    if (at[1] == '{') {
        size_t name = strcspn(at + 2, "}");
        bool known = at[2 + name] == '}' && name_take(at + 2, name, ret_part);
        assert(known); /* the configuration was checked */
        *pattern = at + 3 + name;
        return true;
    }
    *ret_part = (struct pattern_part){.kind = PATTERN_LITERAL, .text = at, .length = 1};
    *pattern = at + (at[1] == '$' ? 2 : 1);
    return true;
}

unsigned pattern_captures(const char *pattern)
{
    struct pattern_part part;
    unsigned most = 0;
    while (pattern_next(&pattern, &part))
        if (part.kind == PATTERN_CAPTURE && part.capture > most)
            most = part.capture;
    return most;
}
