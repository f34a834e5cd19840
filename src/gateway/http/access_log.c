#include "gateway/http/access_log.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "gateway/core/journal.h"
#include "gateway/http/follow.h"
#include "gateway/http/guarded.h"
#include "gateway/http/requester.h"

enum {
    TARGET_BYTES_MAX = 2048, /* of one field, escaped; longer ones are cut */
    NAME_BYTES_MAX = 256,
    AGENT_BYTES_MAX = 1024,
    WORD_BYTES_MAX = 64,
    FIELD_BYTES_MAX = TARGET_BYTES_MAX + 64, /* with name, quotes, comma */
};

/* What all fields are taken from. */
struct record {
    struct exchange *exchange;
    uint64_t wall_ms;
    uint64_t duration_us;
    char client[REQUESTER_BYTES];
    char failure[NAME_BYTES_MAX];
    char time[CLOCK_TEXT_BYTES];
};

struct line {
    char *out; /* JOURNAL_LINE_BYTES_MAX */
    size_t length;
};

static inline void line_add(struct line *line, const char *text, size_t length)
{
    assert(length <= JOURNAL_LINE_BYTES_MAX - line->length);
    memcpy(line->out + line->length, text, length);
    line->length += length;
}

static inline void line_puts(struct line *line, const char *text)
{
    line_add(line, text, strlen(text));
}

static void line_escaped(struct line *line, struct slice text, size_t bytes_max)
{
    assert(bytes_max <= JOURNAL_LINE_BYTES_MAX - line->length);
    line->length += journal_escape(line->out + line->length, bytes_max, text.bytes, text.length);
}

static void line_number(struct line *line, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    line_add(line, digits + at, sizeof digits - at);
}

/* Seconds with microseconds. */
static void line_seconds(struct line *line, uint64_t us)
{
    char digits[6];
    line_number(line, us / 1000000);
    us %= 1000000;
    for (size_t i = sizeof digits; i-- > 0; us /= 10)
        digits[i] = (char)('0' + us % 10);
    line_puts(line, ".");
    line_add(line, digits, sizeof digits);
}

/* ---- values --------------------------------------------------------------------------------- */

static struct slice text_of(const char *text)
{
    return text ? (struct slice){text, (uint32_t)strlen(text)} : (struct slice){0};
}

static struct slice field_value(const struct exchange *exchange, enum field_id id)
{
    const struct field *field = head_field(&exchange->request, id);
    return field ? field->value : (struct slice){0};
}

/* RFC 3339 with milliseconds. The second is the same for thousands of lines. */
static struct slice value_time(struct record *record)
{
    static _Thread_local char text[CLOCK_TEXT_BYTES];
    static _Thread_local uint64_t second = UINT64_MAX;
    if (record->wall_ms / 1000 != second) {
        second = record->wall_ms / 1000;
        clock_format_ms(record->wall_ms, text);
    }
    memcpy(record->time, text, sizeof text);
    unsigned ms = (unsigned)(record->wall_ms % 1000);
    record->time[20] = (char)('0' + ms / 100);
    record->time[21] = (char)('0' + ms / 10 % 10);
    record->time[22] = (char)('0' + ms % 10);
    return text_of(record->time);
}

static struct slice value_client(struct record *record)
{
    size_t length = requester_address(record->exchange, record->client);
    return (struct slice){record->client, (uint32_t)length};
}

static struct slice value_host(struct record *record)
{
    return record->exchange->request.host;
}

/* What the client asked for, wherever a service led the request. */
static const struct head *asked_of(const struct record *record)
{
    const struct exchange *exchange = record->exchange;
    return exchange->follow ? &exchange->follow->asked : &exchange->request;
}

static struct slice value_method(struct record *record)
{
    return asked_of(record)->method_name;
}

static struct slice value_uri(struct record *record)
{
    return asked_of(record)->target;
}

static struct slice value_path(struct record *record)
{
    return asked_of(record)->path;
}

static struct slice value_query(struct record *record)
{
    return asked_of(record)->query;
}

static struct slice value_scheme(struct record *record)
{
    return requester_scheme(record->exchange);
}

static struct slice value_protocol(struct record *record)
{
    const char *name = record->exchange->codec ? record->exchange->codec->name : NULL;
    if (name && !strcmp(name, "HTTP/1.1") && record->exchange->request.version_minor == 0)
        name = "HTTP/1.0";
    return text_of(name);
}

static struct slice value_listener(struct record *record)
{
    return text_of(record->exchange->client->plan->listener->text);
}

static struct slice value_route(struct record *record)
{
    const struct route *route = record->exchange->route;
    return text_of(route ? route->name : NULL);
}

/* The target that the instance is one of: "api" of "api.2"; with one target there is no doubt. */
static struct slice value_service(struct record *record)
{
    const struct exchange *exchange = record->exchange;
    const struct route *route = exchange->route;
    if (exchange->follow && (!route || !route->target_count))
        route = exchange->follow->route;
    if (!route || !exchange->use || !exchange->upstream[0])
        return (struct slice){0};
    const struct topology *topology = exchange->use->generation->topology;
    for (size_t i = 0; i < route->target_count; i++) {
        const char *name = topology->services[route->targets[i].service].name;
        size_t length = strlen(name);
        bool instance =
            !strncmp(exchange->upstream, name, length) && exchange->upstream[length] == '.';
        if (instance || route->target_count == 1)
            return text_of(name);
    }
    return (struct slice){0};
}

static struct slice value_instance(struct record *record)
{
    return text_of(record->exchange->upstream);
}

static struct slice value_request_id(struct record *record)
{
    return text_of(exchange_request_id(record->exchange));
}

static struct slice value_referer(struct record *record)
{
    return field_value(record->exchange, FIELD_REFERER);
}

static struct slice value_user_agent(struct record *record)
{
    return field_value(record->exchange, FIELD_USER_AGENT);
}

static struct slice value_traceparent(struct record *record)
{
    return field_value(record->exchange, FIELD_TRACEPARENT);
}

static struct slice value_user(struct record *record)
{
    const struct guarded *guarded = record->exchange->guarded;
    return guarded ? guarded->user : (struct slice){0};
}

static struct slice value_tls(struct record *record)
{
    return text_of(record->exchange->tls_version);
}

static struct slice value_sni(struct record *record)
{
    return text_of(record->exchange->tls_sni);
}

static struct slice value_cache(struct record *record)
{
    return text_of(record->exchange->cache);
}

static struct slice value_failure(struct record *record)
{
    static const char *const names[] = {[BLAME_NOBODY] = NULL,
                                        [BLAME_CLIENT] = "client",
                                        [BLAME_UPSTREAM] = "upstream",
                                        [BLAME_ENGINX] = "enginx"};
    const struct exchange *exchange = record->exchange;
    const char *name = names[exchange->blame];
    if (!name)
        return (struct slice){0};
    snprintf(record->failure, sizeof record->failure, "%s: %s", name,
             exchange->why ? exchange->why : "");
    return text_of(record->failure);
}

static uint64_t number_status(const struct record *record)
{
    return record->exchange->status;
}

static uint64_t number_bytes_in(const struct record *record)
{
    return record->exchange->bytes_in;
}

static uint64_t number_bytes_out(const struct record *record)
{
    return record->exchange->bytes_out;
}

static uint64_t number_duration(const struct record *record)
{
    return record->duration_us;
}

static uint64_t number_response(const struct record *record)
{
    return record->exchange->upstream_us;
}

static uint64_t number_tries(const struct record *record)
{
    return record->exchange->tries;
}

/* ---- fields --------------------------------------------------------------------------------- */

enum { /* in the order of access_log_fields */
       LOG_TIME,
       LOG_CLIENT,
       LOG_HOST,
       LOG_METHOD,
       LOG_URI,
       LOG_PATH,
       LOG_QUERY,
       LOG_SCHEME,
       LOG_PROTOCOL,
       LOG_STATUS,
       LOG_BYTES_IN,
       LOG_BYTES_OUT,
       LOG_DURATION,
       LOG_RESPONSE,
       LOG_LISTENER,
       LOG_ROUTE,
       LOG_SERVICE,
       LOG_INSTANCE,
       LOG_TRIES,
       LOG_REQUEST_ID,
       LOG_REFERER,
       LOG_USER_AGENT,
       LOG_TLS,
       LOG_SNI,
       LOG_FAILURE,
       LOG_TRACEPARENT,
       LOG_USER,
       LOG_CACHE,
       LOG_FIELDS,
};

struct log_field {
    const char *name;
    const char *key; /* `,"name":` */
    size_t key_bytes;
    struct slice (*text)(struct record *record);
    uint64_t (*number)(const struct record *record); /* of those that are no text */
    size_t bytes_max;
    bool quoted;      /* in text: it may hold blanks */
    bool seconds;     /* the number is in microseconds */
    bool may_be_zero; /* else 0 means that there is none */
};

#define NAME(text) .name = (text), .key = ",\"" text "\":", .key_bytes = sizeof text + 3
static const struct log_field log_fields[LOG_FIELDS] = {
    [LOG_TIME] = {NAME("time"), .text = value_time, .bytes_max = WORD_BYTES_MAX},
    [LOG_CLIENT] = {NAME("client"), .text = value_client, .bytes_max = WORD_BYTES_MAX},
    [LOG_HOST] = {NAME("host"), .text = value_host, .bytes_max = NAME_BYTES_MAX, .quoted = true},
    [LOG_METHOD] = {NAME("method"), .text = value_method, .bytes_max = WORD_BYTES_MAX},
    [LOG_URI] = {NAME("uri"), .text = value_uri, .bytes_max = TARGET_BYTES_MAX, .quoted = true},
    [LOG_PATH] = {NAME("path"), .text = value_path, .bytes_max = TARGET_BYTES_MAX, .quoted = true},
    [LOG_QUERY] = {NAME("query"), .text = value_query, .bytes_max = TARGET_BYTES_MAX,
                   .quoted = true},
    [LOG_SCHEME] = {NAME("scheme"), .text = value_scheme, .bytes_max = WORD_BYTES_MAX},
    [LOG_PROTOCOL] = {NAME("protocol"), .text = value_protocol, .bytes_max = WORD_BYTES_MAX},
    [LOG_STATUS] = {NAME("status"), .number = number_status},
    [LOG_BYTES_IN] = {NAME("bytes_in"), .number = number_bytes_in, .may_be_zero = true},
    [LOG_BYTES_OUT] = {NAME("bytes_out"), .number = number_bytes_out, .may_be_zero = true},
    [LOG_DURATION] = {NAME("duration"), .number = number_duration, .seconds = true,
                      .may_be_zero = true},
    [LOG_RESPONSE] = {NAME("response"), .number = number_response, .seconds = true},
    [LOG_LISTENER] = {NAME("listener"), .text = value_listener, .bytes_max = NAME_BYTES_MAX},
    [LOG_ROUTE] = {NAME("route"), .text = value_route, .bytes_max = NAME_BYTES_MAX, .quoted = true},
    [LOG_SERVICE] = {NAME("service"), .text = value_service, .bytes_max = NAME_BYTES_MAX},
    [LOG_INSTANCE] = {NAME("instance"), .text = value_instance, .bytes_max = NAME_BYTES_MAX},
    [LOG_TRIES] = {NAME("tries"), .number = number_tries, .may_be_zero = true},
    [LOG_REQUEST_ID] = {NAME("request_id"), .text = value_request_id, .bytes_max = WORD_BYTES_MAX},
    [LOG_REFERER] = {NAME("referer"), .text = value_referer, .bytes_max = AGENT_BYTES_MAX,
                     .quoted = true},
    [LOG_USER_AGENT] = {NAME("user_agent"), .text = value_user_agent, .bytes_max = AGENT_BYTES_MAX,
                        .quoted = true},
    [LOG_TLS] = {NAME("tls"), .text = value_tls, .bytes_max = WORD_BYTES_MAX},
    [LOG_SNI] = {NAME("sni"), .text = value_sni, .bytes_max = NAME_BYTES_MAX, .quoted = true},
    [LOG_FAILURE] = {NAME("failure"), .text = value_failure, .bytes_max = NAME_BYTES_MAX,
                     .quoted = true},
    [LOG_TRACEPARENT] = {NAME("traceparent"), .text = value_traceparent,
                         .bytes_max = NAME_BYTES_MAX, .quoted = true},
    [LOG_USER] = {NAME("user"), .text = value_user, .bytes_max = NAME_BYTES_MAX, .quoted = true},
    [LOG_CACHE] = {NAME("cache"), .text = value_cache, .bytes_max = WORD_BYTES_MAX},
};

static const uint8_t json_usual[] = {
    LOG_TIME,     LOG_CLIENT,     LOG_HOST,     LOG_METHOD,     LOG_URI,
    LOG_PROTOCOL, LOG_STATUS,     LOG_BYTES_IN, LOG_BYTES_OUT,  LOG_DURATION,
    LOG_RESPONSE, LOG_LISTENER,   LOG_ROUTE,    LOG_SERVICE,    LOG_INSTANCE,
    LOG_TRIES,    LOG_REQUEST_ID, LOG_REFERER,  LOG_USER_AGENT, LOG_FAILURE,
};

/* A site names fields by the texts of access_log_fields themselves. */
static const struct log_field *log_field_of(const char *name)
{
    for (size_t i = 0; i < LOG_FIELDS; i++)
        if (access_log_fields[i] == name)
            return &log_fields[i];
    for (size_t i = 0; i < LOG_FIELDS; i++)
        if (!strcmp(log_fields[i].name, name))
            return &log_fields[i];
    return NULL;
}

static void number_add(struct line *line, const struct log_field *field,
                       const struct record *record, const char *none)
{
    uint64_t number = field->number(record);
    if (!number && !field->may_be_zero)
        line_puts(line, none);
    else if (field->seconds)
        line_seconds(line, number);
    else
        line_number(line, number);
}

static void value_add(struct line *line, const struct log_field *field, struct record *record,
                      bool quoted, const char *none)
{
    if (field->number) {
        number_add(line, field, record, none);
        return;
    }
    struct slice text = field->text(record);
    if (!text.length) {
        line_puts(line, none);
        return;
    }
    line_puts(line, quoted ? "\"" : "");
    line_escaped(line, text, field->bytes_max);
    line_puts(line, quoted ? "\"" : "");
}

static bool line_has_room(const struct line *line)
{
    return line->length + FIELD_BYTES_MAX + 1 <= JOURNAL_LINE_BYTES_MAX;
}

/* ---- formats -------------------------------------------------------------------------------- */

static void json_add(struct line *line, const struct log_field *field, struct record *record)
{
    size_t skip = line->length > 1 ? 0 : 1; /* no comma before the first */
    line_add(line, field->key + skip, field->key_bytes - skip);
    value_add(line, field, record, true, "null");
}

static void json_format(struct line *line, const char *const *names, struct record *record)
{
    line_puts(line, "{");
    for (size_t i = 0; names[i] && line_has_room(line); i++) {
        const struct log_field *field = log_field_of(names[i]);
        if (field)
            json_add(line, field, record);
    }
    line_puts(line, "}");
}

static void json_usual_format(struct line *line, struct record *record)
{
    line_puts(line, "{");
    for (size_t i = 0; i < sizeof json_usual; i++)
        json_add(line, &log_fields[json_usual[i]], record);
    line_puts(line, "}");
}

static void text_format(struct line *line, const char *const *names, struct record *record)
{
    for (size_t i = 0; names[i] && line_has_room(line); i++) {
        const struct log_field *field = log_field_of(names[i]);
        if (!field)
            continue;
        line_puts(line, line->length ? " " : "");
        value_add(line, field, record, field->quoted, "-");
    }
}

/* "02/Jan/2026:03:04:05 +0000" of "2026-01-02T03:04:05.123Z". */
static void time_combined(struct line *line, struct record *record)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const char *time = value_time(record).bytes;
    unsigned month = (unsigned)(time[5] - '0') * 10 + (unsigned)(time[6] - '0');
    line_add(line, time + 8, 2);
    line_puts(line, "/");
    line_add(line, months + ((month - 1) % 12) * 3, 3);
    line_puts(line, "/");
    line_add(line, time, 4);
    line_puts(line, ":");
    line_add(line, time + 11, 8);
    line_puts(line, " +0000");
}

static void plain_add(struct line *line, unsigned field, struct record *record)
{
    value_add(line, &log_fields[field], record, false, "-");
}

static void quoted_add(struct line *line, unsigned field, struct record *record)
{
    line_puts(line, " ");
    value_add(line, &log_fields[field], record, true, "\"-\"");
}

static void combined_format(struct line *line, struct record *record)
{
    static const uint8_t after[] = {LOG_INSTANCE, LOG_DURATION, LOG_RESPONSE, LOG_TRIES,
                                    LOG_REQUEST_ID};
    plain_add(line, LOG_CLIENT, record);
    line_puts(line, " - ");
    plain_add(line, LOG_USER, record);
    line_puts(line, " [");
    time_combined(line, record);
    line_puts(line, "] \"");
    plain_add(line, LOG_METHOD, record);
    line_puts(line, " ");
    plain_add(line, LOG_URI, record);
    line_puts(line, " ");
    plain_add(line, LOG_PROTOCOL, record);
    line_puts(line, "\" ");
    plain_add(line, LOG_STATUS, record);
    line_puts(line, " ");
    plain_add(line, LOG_BYTES_OUT, record);
    quoted_add(line, LOG_REFERER, record);
    quoted_add(line, LOG_USER_AGENT, record);
    quoted_add(line, LOG_HOST, record);
    quoted_add(line, LOG_ROUTE, record);
    for (size_t i = 0; i < sizeof after; i++) {
        line_puts(line, " ");
        plain_add(line, after[i], record);
    }
    quoted_add(line, LOG_FAILURE, record);
}

size_t access_log_format(struct exchange *exchange, uint64_t wall_ms, uint64_t duration_us,
                         char *out)
{
    const struct site *site = exchange->client->plan->listener->site;
    const char *const *names = site->access_fields;
    struct record record = {.exchange = exchange, .wall_ms = wall_ms, .duration_us = duration_us};
    struct line line = {.out = out};
    if (site->access_log == ACCESS_JSON && names)
        json_format(&line, names, &record);
    else if (site->access_log == ACCESS_JSON)
        json_usual_format(&line, &record);
    else if (names)
        text_format(&line, names, &record);
    else
        combined_format(&line, &record);
    return line.length;
}

void access_log_exchange(struct exchange *exchange)
{
    struct worker *worker = exchange->worker;
    uint64_t duration_us = worker_now_us(worker) - exchange->begun_us;
    char *room = journal_room(worker->journal);
    journal_commit(worker->journal,
                   access_log_format(exchange, clock_wall_ms(), duration_us, room));
}
