#include "gateway/http/cache_policy.h"

#include "gateway/http/file_condition.h"

enum { MS = 1000 };

/* ---- what is said --------------------------------------------------------------------------- */

static void request_field(const struct field *field, struct cache_request *facts)
{
    static const struct {
        const char *name;
        size_t offset;
    } rows[] = {
        {"Range", offsetof(struct cache_request, range)},
        {"If-Range", offsetof(struct cache_request, if_range)},
        {"If-None-Match", offsetof(struct cache_request, if_none_match)},
        {"If-Modified-Since", offsetof(struct cache_request, if_modified_since)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (slice_is_nocase(field->name, rows[i].name))
            *(struct slice *)(void *)((char *)facts + rows[i].offset) = field->value;
    facts->preconditions |= slice_is_nocase(field->name, "If-Match") ||
                            slice_is_nocase(field->name, "If-Unmodified-Since");
    facts->authorized |= slice_is_nocase(field->name, "Authorization");
}

void cache_request_read(const struct head *request, struct cache_request *ret_facts)
{
    bool pragma = false, controlled = false;
    *ret_facts = (struct cache_request){0};
    for (uint32_t i = 0; i < request->field_count; i++) {
        const struct field *field = &request->fields[i];
        char first = field->name.length ? (char)(field->name.bytes[0] | 0x20) : 0;
        if (field->id != FIELD_OTHER || field->dropped)
            continue;
        if (first == 'i' || first == 'r' || first == 'a') {
            request_field(field, ret_facts);
        } else if (first == 'c' && slice_is_nocase(field->name, "Cache-Control")) {
            cache_control_read(&ret_facts->control, field->value);
            controlled = true;
        } else if (first == 'p' && slice_is_nocase(field->name, "Pragma")) {
            pragma |= slice_is_nocase(field->value, "no-cache");
        }
    }
    if (pragma && !controlled) /* §5.4 */
        ret_facts->control.flags |= CONTROL_NO_CACHE;
}

static void text_take(struct slice *text, struct slice value)
{
    if (!text->bytes)
        *text = value;
}

static bool lists_all(struct slice value)
{
    return memchr(value.bytes, '*', value.length) != NULL;
}

void cache_response_read(const struct field *fields, uint32_t count,
                         struct cache_response *ret_facts)
{
    struct cache_response *facts = ret_facts;
    *facts = (struct cache_response){0};
    bool cookie = false;
    for (uint32_t i = 0; i < count; i++) {
        const struct field *field = &fields[i];
        cookie |= field->id == FIELD_SET_COOKIE && !field->dropped;
        if (field->id == FIELD_DATE)
            text_take(&facts->date, field->value);
        if (field->id != FIELD_OTHER || field->dropped)
            continue;
        if (slice_is_nocase(field->name, "Cache-Control")) {
            cache_control_read(&facts->control, field->value);
            facts->has_control = true;
        } else if (slice_is_nocase(field->name, "Expires")) {
            facts->expires_bad |= facts->expires.bytes != NULL;
            text_take(&facts->expires, field->value);
        } else if (slice_is_nocase(field->name, "Age")) {
            text_take(&facts->age, field->value);
        } else if (slice_is_nocase(field->name, "ETag")) {
            text_take(&facts->etag, field->value);
        } else if (slice_is_nocase(field->name, "Last-Modified")) {
            text_take(&facts->last_modified, field->value);
        } else if (slice_is_nocase(field->name, "Vary")) {
            facts->vary_any |= lists_all(field->value);
        }
    }
    facts->sets_cookie = cookie && !cache_control_lists(&facts->control, SLICE("Set-Cookie"));
}

bool cache_field_kept(const struct cache_control *control, const struct field *field)
{
    return !field->dropped && !field_hop_by_hop(field->id) && field->id != FIELD_TRAILER &&
           field->id != FIELD_CONTENT_LENGTH && !slice_is_nocase(field->name, "Age") &&
           !(control->list_count && cache_control_lists(control, field->name));
}

/* ---- may it be stored? ---------------------------------------------------------------------- */

static bool status_listed(uint16_t status, const uint16_t *statuses)
{
    while (*statuses && *statuses != status)
        statuses++;
    return *statuses != 0;
}

/* Those whose caching is defined (RFC 9110 §15.1, and redirects that say how long they hold). */
static bool status_understood(uint16_t status)
{
    static const uint16_t statuses[] = {200, 203, 204, 300, 301, 302, 307, 308,
                                        404, 405, 410, 414, 451, 501, 0};
    return status_listed(status, statuses);
}

/* §3: the conditions that have nothing to do with time. */
static const char *forbidden(const struct cache_request *request,
                             const struct cache_response *response, uint16_t status)
{
    uint32_t says = response->control.flags;
    bool understood = says & CONTROL_MUST_UNDERSTAND;
    if (status < 200 || status == 206 || status == 304)
        return "not a whole answer";
    if (understood && !status_understood(status))
        return "must-understand, of a status that is not understood";
    if (response->control.broken)
        return "its Cache-Control is broken";
    if (request->control.flags & CONTROL_NO_STORE)
        return "the request says no-store";
    if (says & CONTROL_NO_STORE && !understood)
        return "no-store";
    if (says & CONTROL_PRIVATE)
        return "private";
    if (response->sets_cookie)
        return "it sets a cookie";
    if (response->vary_any)
        return "Vary: *";
    if (request->authorized &&
        !(says & (CONTROL_PUBLIC | CONTROL_MUST_REVALIDATE | CONTROL_S_MAXAGE)))
        return "the request has Authorization"; /* §3.5 */
    return NULL;
}

/* Wall milliseconds; 0: none, or not a date. */
static uint64_t date_ms(struct slice text)
{
    time_t seconds = text.bytes ? http_date_parse(text) : -1;
    return seconds > 0 ? (uint64_t)seconds * MS : 0;
}

static uint64_t expires_lifetime(const struct cache_response *response, uint64_t now_ms)
{
    uint64_t expires_ms = date_ms(response->expires), dated_ms = date_ms(response->date);
    if (!dated_ms)
        dated_ms = now_ms / MS * MS;
    return response->expires_bad || expires_ms <= dated_ms ? 0 : expires_ms - dated_ms;
}

/* §4.2.1. False: it does not say, and `ttl` is not for it. */
static bool lifetime_find(const struct cache_response *response, uint16_t status,
                          const struct route_cache *rules, uint64_t now_ms, uint64_t *ret_ms)
{
    const struct cache_control *control = &response->control;
    if (control->flags & CONTROL_S_MAXAGE)
        *ret_ms = (uint64_t)control->s_maxage * MS;
    else if (control->flags & CONTROL_MAX_AGE)
        *ret_ms = (uint64_t)control->max_age * MS;
    else if (response->expires.bytes)
        *ret_ms = expires_lifetime(response, now_ms);
    else if (rules->ttl_ms && status_listed(status, rules->statuses))
        *ret_ms = rules->ttl_ms;
    else if (control->flags & (CONTROL_PUBLIC | CONTROL_NO_CACHE))
        *ret_ms = 0;
    else
        return false;
    if (control->flags & CONTROL_NO_CACHE)
        *ret_ms = 0;
    return true;
}

static uint64_t age_read(struct slice text)
{
    uint64_t seconds = 0;
    for (uint32_t i = 0; i < text.length; i++) {
        if (text.bytes[i] < '0' || text.bytes[i] > '9')
            return i ? seconds : 0; /* of a list, the first (§5.1) */
        seconds = seconds * 10 + (uint64_t)(text.bytes[i] - '0');
        if (seconds > CONTROL_SECONDS_MAX)
            return CONTROL_SECONDS_MAX;
    }
    return seconds;
}

/* §4.2.3: corrected_initial_age. */
static uint64_t age_initial(const struct cache_response *response, uint64_t asked_ms,
                            uint64_t now_ms)
{
    uint64_t dated_ms = date_ms(response->date);
    uint64_t apparent = dated_ms && now_ms > dated_ms ? now_ms - dated_ms : 0;
    apparent = apparent / MS * MS; /* a date has whole seconds: a younger one has no age */
    uint64_t delay = now_ms > asked_ms ? now_ms - asked_ms : 0;
    uint64_t said = age_read(response->age) * MS + delay;
    return apparent > said ? apparent : said;
}

/* What a response that must not be used stale says of it: nothing but its own words count. */
static uint64_t beyond(const struct cache_control *control, enum cache_directive directive,
                       uint32_t said_s, uint64_t configured_ms)
{
    if (control->flags & (CONTROL_NO_CACHE | CONTROL_MUST_REVALIDATE | CONTROL_PROXY_REVALIDATE))
        return 0;
    if (control->flags & directive)
        return (uint64_t)said_s * MS;
    return control->flags & CONTROL_S_MAXAGE ? 0 : configured_ms; /* §5.2.2.10 */
}

const char *cache_may_store(const struct cache_request *request,
                            const struct cache_response *response, uint16_t status,
                            const struct route_cache *rules, uint64_t asked_ms, uint64_t now_ms,
                            struct cache_life *ret_life)
{
    const struct cache_control *control = &response->control;
    const char *why = forbidden(request, response, status);
    struct cache_life life = {.stored_ms = now_ms};
    if (why)
        return why;
    if (!lifetime_find(response, status, rules, now_ms, &life.lifetime_ms))
        return "it does not say how long it is fresh";
    life.age_ms = age_initial(response, asked_ms, now_ms);
    life.refresh_ms = beyond(control, CONTROL_STALE_WHILE_REVALIDATE,
                             control->stale_while_revalidate, rules->refresh_ms);
    life.stale_ms =
        beyond(control, CONTROL_STALE_IF_ERROR, control->stale_if_error, rules->stale_ms);
    life.strict = control->flags & (CONTROL_NO_CACHE | CONTROL_MUST_REVALIDATE |
                                    CONTROL_PROXY_REVALIDATE | CONTROL_S_MAXAGE);
    bool validator = response->etag.bytes || response->last_modified.bytes;
    if (life.lifetime_ms <= life.age_ms && !validator && !life.refresh_ms && !life.stale_ms)
        return "it is stale already";
    *ret_life = life;
    return NULL;
}

/* ---- may it be used? ------------------------------------------------------------------------ */

uint64_t cache_age_ms(const struct cache_life *life, uint64_t now_ms)
{
    return life->age_ms + (now_ms > life->stored_ms ? now_ms - life->stored_ms : 0);
}

/* §5.2.1; the lifetime that this client's words leave of it. */
static bool client_content(const struct cache_life *life, const struct cache_control *request,
                           uint64_t age_ms)
{
    uint64_t lifetime_ms = life->lifetime_ms;
    if (request->flags & CONTROL_NO_CACHE)
        return false;
    if (request->flags & CONTROL_MAX_AGE && age_ms >= (uint64_t)request->max_age * MS)
        return false;
    if (request->flags & CONTROL_MIN_FRESH)
        return age_ms + (uint64_t)request->min_fresh * MS < lifetime_ms;
    if (request->flags & CONTROL_MAX_STALE && !life->strict)
        lifetime_ms += (uint64_t)request->max_stale * MS;
    return age_ms < lifetime_ms;
}

enum cache_use cache_may_use(const struct cache_life *life, const struct cache_control *request,
                             uint64_t now_ms)
{
    uint64_t age_ms = cache_age_ms(life, now_ms);
    if (request && request->flags)
        return client_content(life, request, age_ms) ? USE_FRESH : USE_VALIDATED;
    if (age_ms < life->lifetime_ms)
        return USE_FRESH;
    return life->refresh_ms && age_ms - life->lifetime_ms < life->refresh_ms ? USE_WHILE_REFRESHED
                                                                             : USE_VALIDATED;
}

bool cache_may_use_stale(const struct cache_life *life, uint64_t now_ms)
{
    uint64_t age_ms = cache_age_ms(life, now_ms);
    return age_ms < life->lifetime_ms || age_ms - life->lifetime_ms < life->stale_ms;
}
