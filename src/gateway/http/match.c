#include "gateway/http/match.h"

#include <assert.h>
#include <string.h>

#include "gateway/http/match_plan.h"
#include "gateway/http/path.h"
#include "gateway/http/regex.h"

enum { NAME_BYTES_MAX = 255 }; /* longer ones are nobody's (RFC 1035 §2.3.4) */

uint32_t match_route_count(const struct match *match)
{
    return match->candidate_count;
}

const struct route *match_route(const struct match *match, uint32_t number)
{
    assert(number < match->candidate_count);
    return match->candidates[number].route;
}

const struct regex *match_rewrite(const struct match *match, uint32_t number, size_t rewrite)
{
    assert(number < match->candidate_count);
    const struct candidate *candidate = &match->candidates[number];
    return candidate->rewrites ? candidate->rewrites[rewrite] : NULL;
}

/* ---- tables --------------------------------------------------------------------------------- */

/* The next index with that upper half of the hash, from *at on; PLAN_NONE: there is none. */
static inline uint32_t slots_next(const struct slots *slots, uint64_t hash, uint64_t *at)
{
    for (uint64_t slot; (slot = slots->slots[*at]); *at = (*at + 1) & slots->mask) {
        if ((slot ^ hash) >> 32)
            continue;
        *at = (*at + 1) & slots->mask;
        return (uint32_t)slot - 1;
    }
    return PLAN_NONE;
}

const struct place *plan_place(const struct match *match, uint32_t host, uint64_t hash,
                               const char *text, uint32_t length)
{
    uint32_t index;
    for (uint64_t at = hash & match->place_slots.mask;
         (index = slots_next(&match->place_slots, hash, &at)) != PLAN_NONE;) {
        const struct place *place = &match->places[index];
        if (place->hash == hash && place->host == host && place->length == length &&
            !memcmp(place->text, text, length))
            return place;
    }
    return NULL;
}

const struct host_name *plan_name(const struct match *match, bool wildcard, uint64_t hash,
                                  const char *text, uint32_t length)
{
    uint32_t index;
    for (uint64_t at = hash & match->name_slots.mask;
         (index = slots_next(&match->name_slots, hash, &at)) != PLAN_NONE;) {
        const struct host_name *name = &match->names[index];
        if (name->hash == hash && name->wildcard == wildcard && name->length == length &&
            !memcmp(name->text, text, length))
            return name;
    }
    return NULL;
}

/* ---- hosts ---------------------------------------------------------------------------------- */

/* Wildcards, the longest first: the parent domains, as their hashes were met. */
static uint32_t host_of_wildcard(const struct match *match, const char *name, uint32_t length)
{
    uint64_t hashes[NAME_BYTES_MAX];
    uint8_t starts[NAME_BYTES_MAX];
    size_t count = 0;
    uint64_t hash = plan_name_seed(true);
    for (uint32_t i = length; i-- > 0;) {
        uint32_t suffix = length - i - 1;
        if (name[i] == '.' && i > 0 && match->wildcard_lengths >> (suffix & 63) & 1) {
            hashes[count] = plan_hash_end(hash);
            starts[count++] = (uint8_t)(i + 1);
        }
        hash = plan_hash_step(hash, name[i]);
    }
    while (count-- > 0) {
        const struct host_name *found =
            plan_name(match, true, hashes[count], name + starts[count], length - starts[count]);
        if (found)
            return found->host;
    }
    return match->rest;
}

static uint32_t host_of(const struct match *match, struct slice host)
{
    char name[NAME_BYTES_MAX];
    uint32_t length = host.length;
    if (length && host.bytes[length - 1] == '.')
        length--;
    if (!match->name_count || !length || length > NAME_BYTES_MAX)
        return match->rest;
    uint64_t hash = plan_name_seed(false);
    for (uint32_t i = length; i-- > 0;) {
        name[i] = plan_lower(host.bytes[i]);
        hash = plan_hash_step(hash, name[i]);
    }
    const struct host_name *found = plan_name(match, false, plan_hash_end(hash), name, length);
    if (found)
        return found->host;
    return match->wildcard_lengths ? host_of_wildcard(match, name, length) : match->rest;
}

/* ---- one route ------------------------------------------------------------------------------ */

struct search {
    const struct match *match;
    const struct head *request;
    struct slice path; /* normal */
    struct matched *matched;
    char *allow; /* MATCH_ALLOW_BYTES_MAX */
    bool gave_up;
};

/* `*`: any text, `?`: one byte, an encoded one counts as one. The last `*` takes what it must. */
static bool glob_matches(struct slice glob, struct slice path)
{
    const char *pattern = glob.bytes, *pattern_end = pattern + glob.length;
    const char *text = path.bytes, *text_end = text + path.length;
    const char *star = NULL, *star_text = NULL;
    while (text < text_end) {
        bool there = pattern < pattern_end;
        if (there && *pattern == '*') {
            star = ++pattern;
            star_text = text;
        } else if (there && (*pattern == '?' || *pattern == *text)) {
            text += *pattern == '?' && *text == '%' ? 3 : 1;
            pattern++;
        } else if (star) {
            pattern = star;
            text = ++star_text;
        } else {
            return false;
        }
    }
    while (pattern < pattern_end && *pattern == '*')
        pattern++;
    return pattern == pattern_end && text == text_end;
}

static bool pattern_matches(struct search *search, const struct candidate *candidate)
{
    if (!candidate->regex)
        return glob_matches(candidate->glob, search->path);
    enum regex_result result =
        regex_match(candidate->regex, search->path, search->matched->captures);
    search->gave_up |= result == REGEX_GAVE_UP;
    return result == REGEX_YES;
}

static bool header_matches(const struct head *request, const struct route_match_header *header)
{
    for (uint32_t i = 0; i < request->field_count; i++) {
        const struct field *field = &request->fields[i];
        if (slice_is_nocase(field->name, header->name) &&
            (!header->value || slice_is(field->value, header->value)))
            return true;
    }
    return false;
}

static bool headers_match(const struct head *request, const struct route *route)
{
    for (size_t i = 0; i < route->header_count; i++)
        if (!header_matches(request, &route->headers[i]))
            return false;
    return true;
}

static bool method_matches(const struct head *request, const struct candidate *candidate)
{
    if (!candidate->methods)
        return true;
    if (request->method != METHOD_OTHER)
        return candidate->methods >> request->method & 1;
    for (const char *const *name = candidate->route->methods; *name; name++)
        if (slice_is(request->method_name, *name))
            return true;
    return false;
}

/* "GET, HEAD" gets one more, if it is not there yet. */
static void allow_add(struct search *search, const char *name)
{
    struct slice *allow = &search->matched->allow;
    size_t length = strlen(name);
    for (uint32_t at = 0; at + length <= allow->length; at++) {
        bool begins = at == 0 || allow->bytes[at - 1] == ' ';
        bool ends = at + length == allow->length || allow->bytes[at + length] == ',';
        if (begins && ends && !memcmp(allow->bytes + at, name, length))
            return;
    }
    if (allow->length + 2 + length > MATCH_ALLOW_BYTES_MAX)
        return;
    if (allow->length) {
        memcpy(search->allow + allow->length, ", ", 2);
        allow->length += 2;
    }
    memcpy(search->allow + allow->length, name, length);
    allow->length += (uint32_t)length;
    allow->bytes = search->allow;
}

static void allow_of(struct search *search, const struct route *route)
{
    for (const char *const *name = route->methods; *name; name++) {
        allow_add(search, *name);
        if (!strcmp(*name, "GET"))
            allow_add(search, "HEAD");
    }
}

static bool conditions_match(struct search *search, const struct candidate *candidate)
{
    if (!candidate->conditions)
        return true;
    if (!headers_match(search->request, candidate->route))
        return false;
    if (method_matches(search->request, candidate))
        return true;
    allow_of(search, candidate->route);
    return false;
}

/* ---- routes --------------------------------------------------------------------------------- */

/* The first of the chain that matches; PLAN_NONE. */
static uint32_t chain_find(struct search *search, const struct chain *chain, bool patterns)
{
    uint32_t number = chain->first;
    while (number != PLAN_NONE) {
        const struct candidate *candidate = &search->match->candidates[number];
        bool matches = !patterns || pattern_matches(search, candidate);
        if (search->gave_up)
            return PLAN_NONE;
        if (matches && conditions_match(search, candidate))
            return number;
        number = candidate->next;
    }
    return PLAN_NONE;
}

static uint32_t place_find(struct search *search, const struct place *place)
{
    uint32_t number = PLAN_NONE;
    if (place->length == search->path.length)
        number = chain_find(search, &place->exact, false);
    if (number == PLAN_NONE)
        number = chain_find(search, &place->patterns, true);
    if (number == PLAN_NONE && !search->gave_up)
        number = chain_find(search, &place->prefixes, false);
    return number;
}

struct beginning { /* of the path, that may be a place's text */
    uint64_t hash;
    uint32_t length;
};

/* The path's beginnings that end where a segment does, before or after its slash: for these it is
 * looked up. Only those of lengths that the host has; at most `MATCH_KEY_BYTES_MAX`. */
static size_t beginnings_of(const struct host_plan *plan, struct slice path,
                            struct beginning *ret_beginnings)
{
    uint32_t longest = path.length < plan->longest ? path.length : plan->longest;
    uint64_t hash = plan->seed;
    size_t count = 0;
    for (uint32_t i = 0; i < longest;) {
        char byte = path.bytes[i++];
        hash = plan_hash_step(hash, byte);
        bool ends = byte == '/' || i == path.length || path.bytes[i] == '/';
        if (ends && plan->lengths >> (i & 63) & 1)
            ret_beginnings[count++] = (struct beginning){hash, i};
    }
    return count;
}

static uint32_t route_of(struct search *search, uint32_t host)
{
    struct beginning beginnings[MATCH_KEY_BYTES_MAX];
    size_t count = beginnings_of(&search->match->hosts[host], search->path, beginnings);
    uint32_t number = PLAN_NONE;
    while (count-- > 0 && number == PLAN_NONE && !search->gave_up) {
        const struct place *place =
            plan_place(search->match, host, plan_hash_end(beginnings[count].hash),
                       search->path.bytes, beginnings[count].length);
        if (place)
            number = place_find(search, place);
    }
    return number;
}

/* `*` (of OPTIONS) and nothing (of CONNECT) are matched as the root. */
static bool path_of(const struct head *request, char *scratch, struct slice *ret_path)
{
    struct slice path = request->path;
    if (!path.length || slice_is(path, "*"))
        path = SLICE("/");
    ssize_t length = path_normalise(path, scratch, MATCH_PATH_BYTES_MAX);
    *ret_path = (struct slice){scratch, length < 0 ? 0 : (uint32_t)length};
    return length >= 0;
}

enum match_result match_find(const struct match *match, const struct head *request, char *scratch,
                             struct matched *ret_matched)
{
    struct search search = {.match = match,
                            .request = request,
                            .matched = ret_matched,
                            .allow = scratch + MATCH_PATH_BYTES_MAX};
    *ret_matched = (struct matched){0};
    if (!path_of(request, scratch, &search.path))
        return MATCH_BAD_PATH;
    uint32_t host = host_of(match, request->host);
    uint32_t number = host == PLAN_NONE ? PLAN_NONE : route_of(&search, host);
    if (search.gave_up)
        return MATCH_BAD_PATH;
    if (number == PLAN_NONE)
        return ret_matched->allow.length ? MATCH_METHOD : MATCH_NONE;
    ret_matched->number = number;
    ret_matched->route = match->candidates[number].route;
    if (!match->candidates[number].regex)
        memset(ret_matched->captures, 0, sizeof ret_matched->captures);
    return MATCH_FOUND;
}
