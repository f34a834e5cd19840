/* Fuzz target: any routes and any path give a route that matches, or none. The input is lines: `@`
 * begins a host of that name, `=` an exact path, `~` a regular expression, `/` a prefix, anything
 * else a glob; after an empty line come the host and the path that are asked for. For exact paths
 * and prefixes the answer is compared with what a walk over all of them says. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/http/match.h"
#include "gateway/http/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HOSTS_MAX = 8, FUZZ_ROUTES_MAX = 32 };

struct input {
    char *text;
    struct site site;
    struct site_host hosts[HOSTS_MAX];
    const char *names[HOSTS_MAX][2];
    struct route routes[HOSTS_MAX][FUZZ_ROUTES_MAX];
    bool patterns;
};

static void route_read(struct input *input, char *line)
{
    size_t host = input->site.host_count - 1;
    if (input->hosts[host].route_count == FUZZ_ROUTES_MAX)
        return;
    struct route *route = &input->routes[host][input->hosts[host].route_count++];
    route->path_kind = *line == '='   ? PATH_EXACT
                       : *line == '~' ? PATH_REGEX
                       : *line == '/' ? PATH_PREFIX
                                      : PATH_GLOB;
    input->patterns |= route->path_kind == PATH_REGEX || route->path_kind == PATH_GLOB;
    route->path = line + (*line == '=' || *line == '~');
}

static void host_read(struct input *input, const char *name)
{
    if (input->site.host_count == HOSTS_MAX)
        return;
    size_t host = input->site.host_count++;
    input->names[host][0] = name;
    input->hosts[host] =
        (struct site_host){.names = input->names[host], .routes = input->routes[host]};
}

/* Reads lines up to the empty one; what follows it. */
static char *site_read(struct input *input)
{
    char *rest = input->text;
    input->site.hosts = input->hosts;
    host_read(input, "*");
    for (char *line; (line = strsep(&rest, "\n")) && *line;) {
        if (*line == '@')
            host_read(input, line + 1);
        else
            route_read(input, line);
    }
    return rest;
}

static bool normal_of(const char *text, char *out, size_t *ret_length)
{
    ssize_t length =
        path_normalise((struct slice){text, (uint32_t)strlen(text)}, out, MATCH_PATH_BYTES_MAX);
    *ret_length = length < 0 ? 0 : (size_t)length;
    return length >= 0;
}

/* How well the route matches: 0 not, else the longer the better, an exact one best. */
static size_t worth(const struct route *route, const char *path, size_t length)
{
    static char text[MATCH_PATH_BYTES_MAX];
    size_t bytes;
    if (!normal_of(route->path, text, &bytes) || bytes > length || memcmp(text, path, bytes) != 0)
        return 0;
    if (route->path_kind == PATH_EXACT)
        return bytes == length ? SIZE_MAX : 0;
    bool ends = bytes == length || text[bytes - 1] == '/' || path[bytes] == '/';
    return ends ? bytes : 0;
}

static void walk_compare(const struct input *input, const char *path, size_t length,
                         const struct route *found)
{
    const struct route *best = NULL;
    for (size_t i = 0; i < input->hosts[0].route_count; i++) {
        const struct route *route = &input->routes[0][i];
        if (worth(route, path, length) > (best ? worth(best, path, length) : 0))
            best = route;
    }
    if (best != found)
        abort();
}

static void normal_verify(const char *path, size_t length)
{
    static char again[MATCH_PATH_BYTES_MAX * PATH_GROWTH_MAX];
    ssize_t bytes = path_normalise((struct slice){path, (uint32_t)length}, again, sizeof again);
    if (bytes != (ssize_t)length || memcmp(path, again, length) != 0)
        abort();
}

static void once(struct input *input, const struct match *match, char *asked)
{
    char *path = asked;
    const char *host = strsep(&path, "\n");
    if (!path)
        path = (char[]){""};
    struct head head = {.method = METHOD_GET,
                        .host = {host, (uint32_t)strlen(host)},
                        .path = {path, (uint32_t)strlen(path)}};
    char *scratch = malloc(MATCH_SCRATCH_BYTES);
    struct matched matched;
    enum match_result result = match_find(match, &head, scratch, &matched);
    char normal[4096];
    size_t length;
    if (strlen(path) < sizeof normal / PATH_GROWTH_MAX - 1 && normal_of(path, normal, &length)) {
        normal_verify(normal, length);
        if (!input->patterns && input->site.host_count == 1)
            walk_compare(input, normal, length, result == MATCH_FOUND ? matched.route : NULL);
    }
    for (int i = 0; result == MATCH_FOUND && i < 10; i++)
        if (matched.captures[i].bytes && (matched.captures[i].bytes < scratch ||
                                          matched.captures[i].bytes + matched.captures[i].length >
                                              scratch + MATCH_PATH_BYTES_MAX))
            abort();
    free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input *input = calloc(1, sizeof *input);
    input->text = malloc(size + 1);
    memcpy(input->text, data, size);
    input->text[size] = 0;
    char *asked = site_read(input);
    struct match *match;
    char why[64];
    if (asked && match_new(&input->site, &match, why, sizeof why) == 0) {
        once(input, match, asked);
        match_free(match);
    }
    free(input->text);
    free(input);
    return 0;
}
