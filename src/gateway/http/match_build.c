/* Compiling a site: each route becomes a candidate in a chain of a place (match_plan.h). */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "gateway/http/match_plan.h"
#include "gateway/http/path.h"
#include "gateway/http/regex.h"

#define MATCH_ARENA_BYTES_MAX ((size_t)4 << 30)

struct building {
    struct match *match;
    const struct site *site;
    char *why;
    size_t why_size;
    char text[MATCH_KEY_BYTES_MAX * PATH_GROWTH_MAX + PATH_GROWTH_MAX];
};

/* ---- tables --------------------------------------------------------------------------------- */

static void slots_init(struct arena *arena, struct slots *slots, size_t count)
{
    uint64_t size = 8;
    while (size < count * 2)
        size *= 2;
    slots->slots = arena_array(arena, size, sizeof *slots->slots);
    slots->mask = size - 1;
}

static void slots_add(struct slots *slots, uint64_t hash, uint32_t index)
{
    uint64_t at = hash & slots->mask;
    while (slots->slots[at])
        at = (at + 1) & slots->mask;
    slots->slots[at] = (hash & ~(uint64_t)UINT32_MAX) | (index + 1);
}

static struct place *place_make(struct building *building, uint32_t host, const char *text,
                                uint32_t length)
{
    struct match *match = building->match;
    struct host_plan *plan = &match->hosts[host];
    uint64_t hash = plan->seed;
    for (uint32_t i = 0; i < length; i++)
        hash = plan_hash_step(hash, text[i]);
    hash = plan_hash_end(hash);
    const struct place *there = plan_place(match, host, hash, text, length);
    if (there)
        return &match->places[there - match->places];
    struct chain none = {PLAN_NONE, PLAN_NONE};
    struct place *place = &match->places[match->place_count];
    *place = (struct place){
        .hash = hash,
        .text = arena_strndup(match->arena, text, length),
        .length = length,
        .host = host,
        .exact = none,
        .patterns = none,
        .prefixes = none,
    };
    slots_add(&match->place_slots, hash, match->place_count++);
    plan->lengths |= 1ull << (length & 63);
    if (length > plan->longest)
        plan->longest = length;
    return place;
}

/* ---- chains --------------------------------------------------------------------------------- */

static bool same_path(const struct candidate *one, const struct candidate *other)
{
    return one->route->path_kind == other->route->path_kind &&
           !strcmp(one->route->path, other->route->path);
}

/* Is the new one tried before this one, which stood in the file before it? */
static bool precedes(const struct candidate *new, const struct candidate *there)
{
    if (new->fixed != there->fixed)
        return new->fixed > there->fixed;
    return new->conditions > there->conditions &&same_path(new, there);
}

static void chain_add(struct match *match, struct chain *chain, uint32_t number)
{
    struct candidate *new = &match->candidates[number];
    uint32_t before = chain->last; /* usually it is the last one, and nobody is walked past */
    bool walk =
        before != PLAN_NONE && (new->conditions || match->candidates[before].fixed < new->fixed);
    if (walk) {
        before = PLAN_NONE;
        for (uint32_t at = chain->first; at != PLAN_NONE && !precedes(new, &match->candidates[at]);
             at = match->candidates[at].next)
            before = at;
    }
    uint32_t *link = before == PLAN_NONE ? &chain->first : &match->candidates[before].next;
    new->next = *link;
    *link = number;
    if (new->next == PLAN_NONE)
        chain->last = number;
}

/* ---- routes --------------------------------------------------------------------------------- */

static int refuse(struct building *building, const struct route *route, const char *what)
{
    snprintf(building->why, building->why_size, "route %.100s: %s", route->path, what);
    return -EINVAL;
}

static uint32_t methods_of(const struct route *route)
{
    static const struct {
        const char *name;
        enum http_method method;
    } known[] = {
        {"GET", METHOD_GET},         {"HEAD", METHOD_HEAD},     {"POST", METHOD_POST},
        {"PUT", METHOD_PUT},         {"DELETE", METHOD_DELETE}, {"CONNECT", METHOD_CONNECT},
        {"OPTIONS", METHOD_OPTIONS}, {"TRACE", METHOD_TRACE},   {"PATCH", METHOD_PATCH}};
    uint32_t methods = 0;
    for (size_t i = 0; route->methods && route->methods[i]; i++) {
        uint32_t bit = 1u << METHOD_OTHER;
        for (size_t j = 0; j < sizeof known / sizeof *known; j++)
            if (!strcmp(route->methods[i], known[j].name))
                bit = 1u << known[j].method;
        methods |= bit;
    }
    return methods & 1u << METHOD_GET ? methods | 1u << METHOD_HEAD : methods;
}

/* A pattern hangs on the part of its beginning up to a slash; every path begins with one. */
static struct chain *pattern_chain(struct building *building, uint32_t host, const char *beginning,
                                   size_t length)
{
    while (length && beginning[length - 1] != '/')
        length--;
    bool rooted = length && *beginning == '/';
    return &place_make(building, host, rooted ? beginning : "/", rooted ? (uint32_t)length : 1)
                ->patterns;
}

static int regex_add(struct building *building, uint32_t host, uint32_t number)
{
    struct candidate *candidate = &building->match->candidates[number];
    char why[160];
    candidate->regex = regex_new(candidate->route->path, why, sizeof why);
    if (!candidate->regex)
        return refuse(building, candidate->route, why);
    size_t fixed = regex_beginning(candidate->route->path, building->text, MATCH_KEY_BYTES_MAX);
    candidate->fixed = (uint32_t)fixed;
    chain_add(building->match, pattern_chain(building, host, building->text, fixed), number);
    return 0;
}

static int glob_add(struct building *building, uint32_t host, uint32_t number, size_t length)
{
    struct candidate *candidate = &building->match->candidates[number];
    char *text = arena_strndup(building->match->arena, building->text, length);
    candidate->glob = (struct slice){text, (uint32_t)length};
    candidate->fixed = (uint32_t)strcspn(text, "*?");
    chain_add(building->match, pattern_chain(building, host, text, candidate->fixed), number);
    return 0;
}

static int path_add(struct building *building, uint32_t host, uint32_t number)
{
    const struct route *route = building->match->candidates[number].route;
    if (route->path_kind == PATH_REGEX)
        return regex_add(building, host, number);
    size_t length = strlen(route->path);
    if (length > MATCH_KEY_BYTES_MAX)
        return refuse(building, route, "a path is at most 1024 bytes long");
    struct slice path = {route->path, (uint32_t)length};
    ssize_t normal = route->path_kind == PATH_GLOB
                         ? path_normalise_glob(path, building->text, sizeof building->text)
                         : path_normalise(path, building->text, sizeof building->text);
    if (normal < 0 || normal > MATCH_KEY_BYTES_MAX)
        return refuse(building, route, "no path can be so");
    if (route->path_kind == PATH_GLOB)
        return glob_add(building, host, number, (size_t)normal);
    struct place *place = place_make(building, host, building->text, (uint32_t)normal);
    chain_add(building->match, route->path_kind == PATH_EXACT ? &place->exact : &place->prefixes,
              number);
    return 0;
}

static int rewrites_compile(struct building *building, struct candidate *candidate)
{
    const struct route *route = candidate->route;
    for (size_t i = 0; i < route->rewrite_count; i++) {
        char why[160];
        if (!route->rewrites[i].regex)
            continue;
        if (!candidate->rewrites)
            candidate->rewrites = arena_array(building->match->arena, route->rewrite_count,
                                              sizeof *candidate->rewrites);
        candidate->rewrites[i] = regex_new(route->rewrites[i].regex, why, sizeof why);
        if (!candidate->rewrites[i])
            return refuse(building, route, why);
    }
    return 0;
}

static int route_add(struct building *building, uint32_t host, const struct route *route)
{
    struct match *match = building->match;
    uint32_t number = match->candidate_count++;
    match->candidates[number] = (struct candidate){
        .route = route,
        .next = PLAN_NONE,
        .methods = methods_of(route),
        .rewrite_count = (uint32_t)route->rewrite_count,
        .conditions = (uint32_t)route->header_count + (route->methods && *route->methods),
    };
    int error = path_add(building, host, number);
    return error ? error : rewrites_compile(building, &match->candidates[number]);
}

/* ---- hosts ---------------------------------------------------------------------------------- */

/* Of two hosts with one name the first has it; the configuration's checker has said so. */
static void name_add(struct building *building, uint32_t host, const char *text)
{
    struct match *match = building->match;
    if (!strcmp(text, "*")) {
        if (match->rest == PLAN_NONE)
            match->rest = host;
        return;
    }
    bool wildcard = text[0] == '*' && text[1] == '.';
    text += wildcard ? 2 : 0;
    uint32_t length = (uint32_t)strlen(text);
    if (length && text[length - 1] == '.')
        length--;
    char *lower = arena_strndup(match->arena, text, length);
    uint64_t hash = plan_name_seed(wildcard);
    for (uint32_t i = length; i-- > 0;) {
        lower[i] = plan_lower(text[i]);
        hash = plan_hash_step(hash, lower[i]);
    }
    hash = plan_hash_end(hash);
    if (plan_name(match, wildcard, hash, lower, length))
        return;
    match->names[match->name_count] = (struct host_name){
        .hash = hash, .text = lower, .length = length, .host = host, .wildcard = wildcard};
    slots_add(&match->name_slots, hash, match->name_count++);
    if (wildcard)
        match->wildcard_lengths |= 1ull << (length & 63);
}

static int host_add(struct building *building, uint32_t host)
{
    const struct site_host *from = &building->site->hosts[host];
    building->match->hosts[host].seed = plan_hash_end(host + plan_name_seed(false));
    for (size_t i = 0; from->names[i]; i++)
        name_add(building, host, from->names[i]);
    int error = 0;
    for (size_t i = 0; i < from->route_count && !error; i++)
        error = route_add(building, host, &from->routes[i]);
    return error;
}

static int site_compile(struct building *building)
{
    const struct site *site = building->site;
    struct match *match = building->match;
    size_t routes = 0, names = 0;
    for (size_t i = 0; i < site->host_count; i++) {
        routes += site->hosts[i].route_count;
        for (size_t j = 0; site->hosts[i].names[j]; j++)
            names++;
    }
    assert(routes < PLAN_NONE && names < PLAN_NONE && site->host_count < PLAN_NONE);
    match->candidates = arena_array(match->arena, routes + 1, sizeof *match->candidates);
    match->places = arena_array(match->arena, routes + 1, sizeof *match->places);
    match->hosts = arena_array(match->arena, site->host_count + 1, sizeof *match->hosts);
    match->names = arena_array(match->arena, names + 1, sizeof *match->names);
    slots_init(match->arena, &match->place_slots, routes);
    slots_init(match->arena, &match->name_slots, names);
    match->rest = PLAN_NONE;
    int error = 0;
    for (uint32_t i = 0; i < site->host_count && !error; i++)
        error = host_add(building, i);
    return error;
}

/* As site_compile, where there may be too little memory. */
static int site_compile_trapped(struct building *building)
{
    jmp_buf trap;
    if (setjmp(trap))
        return -ENOMEM;
    arena_trap_set(building->match->arena, &trap);
    return site_compile(building);
}

int match_new(const struct site *site, struct match **ret_match, char *why, size_t why_size)
{
    struct building *building = calloc(1, sizeof *building);
    struct match *match = calloc(1, sizeof *match);
    int error = -ENOMEM;
    if (match)
        match->arena = arena_new(MATCH_ARENA_BYTES_MAX);
    if (building && match && match->arena) {
        *building =
            (struct building){.match = match, .site = site, .why = why, .why_size = why_size};
        error = site_compile_trapped(building);
    }
    free(building);
    if (error)
        match_free(match);
    else
        *ret_match = match;
    return error;
}

static void candidate_done(struct candidate *candidate)
{
    regex_free(candidate->regex);
    for (size_t i = 0; candidate->rewrites && i < candidate->rewrite_count; i++)
        regex_free(candidate->rewrites[i]);
}

void match_free(struct match *match)
{
    if (!match)
        return;
    for (uint32_t i = 0; i < match->candidate_count; i++)
        candidate_done(&match->candidates[i]);
    arena_free(match->arena);
    free(match);
}
