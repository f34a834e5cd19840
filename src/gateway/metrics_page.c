/* The text of the metrics page: families one after the other, each with the lines of all that have
 * it, as Prometheus' text format 0.0.4 wants them. */
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/utf8.h"
#include "gateway/metrics.h"
#include "gateway/metrics_page.h"
#include "topology/guard.h"

_Static_assert((int)GUARD_KINDS <= (int)TALLY_GUARDS, "each guard has its count");

enum {
    LABELS_BYTES_MAX = 3 * TALLY_NAME_BYTES + 64,
    LE_BYTES = 40,
    VALUE_BYTES = 32,
};

static const char others[] = "others"; /* the row of all that had no room for a row of their own */

struct traffic_row {
    char labels[LABELS_BYTES_MAX]; /* `service="api"` */
    struct tally_traffic sum;
};

struct endpoint_row {
    char labels[LABELS_BYTES_MAX]; /* `service="api",endpoint="api.2"` */
    struct tally_endpoint sum;
    bool instance;
    bool up;
    enum endpoint_role role; /* of an instance */
};

struct page {
    const struct board *board;
    const struct tally *tally;
    struct buffer *out;
    struct traffic_row *traffic[TALLY_KINDS];
    size_t traffic_count[TALLY_KINDS];
    struct endpoint_row *endpoints;
    size_t endpoint_count;
    char les[TALLY_BUCKETS][LE_BYTES]; /* `le="0.000100"`, by bucket */
};

/* ---- labels --------------------------------------------------------------------------------- */

/* Appends `name="text"` with what the format wants escaped; bytes that are no UTF-8, which would
 * spoil the whole page, become `?`, other control bytes blanks. */
static void label_add(char labels[LABELS_BYTES_MAX], const char *name, const char *text)
{
    size_t at = strlen(labels), left = strlen(text);
    at += (size_t)snprintf(labels + at, LABELS_BYTES_MAX - at, "%s%s=\"", at ? "," : "", name);
    while (left && at + 8 < LABELS_BYTES_MAX) {
        size_t bytes = utf8_sequence((const unsigned char *)text, left);
        if (*text == '"' || *text == '\\' || *text == '\n')
            labels[at++] = '\\';
        if (!bytes)
            labels[at++] = '?';
        else if (*text == '\n')
            labels[at++] = 'n';
        else if ((unsigned char)*text < ' ')
            labels[at++] = ' ';
        else
            memcpy(labels + at, text, bytes), at += bytes;
        text += bytes ? bytes : 1;
        left -= bytes ? bytes : 1;
    }
    labels[at++] = '"';
    labels[at] = 0;
}

/* ---- gathering ------------------------------------------------------------------------------ */

static const char *const kind_names[TALLY_KINDS] = {
    [TALLY_SERVICE] = "service", [TALLY_LISTENER] = "listener", [TALLY_ROUTE] = "route"};

/* The name of a service on the board while it does not change; false: nobody's, or it does. */
static bool board_name(const struct board *board, uint32_t number, char name[BOARD_NAME_BYTES])
{
    const struct board_service *service = board_service(board, number);
    uint32_t before = atomic_load_explicit(&service->version, memory_order_acquire);
    memcpy(name, service->name, BOARD_NAME_BYTES);
    name[BOARD_NAME_BYTES - 1] = 0;
    atomic_thread_fence(memory_order_acquire);
    uint32_t after = atomic_load_explicit(&service->version, memory_order_relaxed);
    return before == after && !(before & 1) && name[0];
}

/* A route's row is named "LISTENER ROUTE". */
static void route_labels_add(char labels[LABELS_BYTES_MAX], const char *name)
{
    char listener[TALLY_NAME_BYTES];
    const char *space = strchr(name, ' ');
    if (space) {
        snprintf(listener, sizeof listener, "%.*s", (int)(space - name), name);
        label_add(labels, "listener", listener);
    }
    label_add(labels, "route", space ? space + 1 : name);
}

static void traffic_row_add(struct page *page, enum tally_kind kind, uint32_t row, const char *name)
{
    struct traffic_row *to = &page->traffic[kind][page->traffic_count[kind]++];
    to->labels[0] = 0;
    if (kind == TALLY_ROUTE)
        route_labels_add(to->labels, name);
    else
        label_add(to->labels, kind_names[kind], name);
    tally_traffic_sum(page->tally, kind, row, &to->sum);
}

static uint32_t names_count(const struct tally *tally, enum tally_kind kind)
{
    uint32_t rows = tally_sizes(tally)->rows[kind], count = 0;
    while (count + 1 < rows && *tally_row_name(tally, kind, count))
        count++; /* they are given in their order */
    return count;
}

/* Those that nobody has used yet are left out. */
static void used_row_add(struct page *page, enum tally_kind kind, uint32_t row, const char *name)
{
    traffic_row_add(page, kind, row, name);
    const struct tally_traffic *sum = &page->traffic[kind][page->traffic_count[kind] - 1].sum;
    if (!sum->requests && !sum->requests_now && !sum->connections && !sum->refused)
        page->traffic_count[kind]--;
}

static void traffic_gather(struct page *page, enum tally_kind kind)
{
    uint32_t count = names_count(page->tally, kind);
    page->traffic[kind] = calloc((size_t)count + 1, sizeof **page->traffic);
    if (!page->traffic[kind])
        return;
    for (uint32_t row = 0; row < count; row++) {
        if (kind == TALLY_ROUTE)
            used_row_add(page, kind, row, tally_row_name(page->tally, kind, row));
        else
            traffic_row_add(page, kind, row, tally_row_name(page->tally, kind, row));
    }
    used_row_add(page, kind, tally_sizes(page->tally)->rows[kind] - 1, others);
}

static void services_gather(struct page *page)
{
    uint32_t rows = tally_sizes(page->tally)->rows[TALLY_SERVICE];
    uint32_t services = board_services_max(page->board);
    uint32_t most = rows < services ? rows : services;
    page->traffic[TALLY_SERVICE] = calloc(most + 1, sizeof **page->traffic);
    for (uint32_t number = 0; page->traffic[TALLY_SERVICE] && number < most; number++) {
        char name[BOARD_NAME_BYTES];
        if (board_name(page->board, number, name))
            traffic_row_add(page, TALLY_SERVICE, number, name);
    }
}

static void instances_gather(struct page *page, uint32_t number, struct board_instance *instances,
                             uint32_t *slots, uint32_t most)
{
    char service[BOARD_NAME_BYTES], name[BOARD_NAME_BYTES + 16];
    if (!board_name(page->board, number, service))
        return;
    uint32_t version;
    uint32_t count = board_read(page->board, number, instances, slots, most, &version);
    for (uint32_t i = 0; i < count; i++) {
        struct endpoint_row *row = &page->endpoints[page->endpoint_count++];
        snprintf(name, sizeof name, "%s.%u", service, instances[i].number);
        row->labels[0] = 0;
        label_add(row->labels, "service", service);
        label_add(row->labels, "endpoint", name);
        row->instance = true;
        row->up = instances[i].state == BOARD_UP;
        row->role = (enum endpoint_role)instances[i].role;
        tally_endpoint_sum(page->tally, slots[i], &row->sum);
    }
}

static uint32_t remotes_count(const struct tally *tally)
{
    const struct tally_sizes *sizes = tally_sizes(tally);
    uint32_t count = 0;
    while (count + 1 < sizes->remotes_max && *tally_remote_name(tally, sizes->slots_max + count))
        count++;
    return count;
}

static void remote_add(struct page *page, uint32_t at, const char *name)
{
    struct endpoint_row *row = &page->endpoints[page->endpoint_count++];
    row->labels[0] = 0;
    row->instance = false;
    label_add(row->labels, "endpoint", name);
    tally_endpoint_sum(page->tally, at, &row->sum);
}

static void remotes_gather(struct page *page, uint32_t count)
{
    const struct tally_sizes *sizes = tally_sizes(page->tally);
    for (uint32_t i = 0; i < count; i++)
        remote_add(page, sizes->slots_max + i,
                   tally_remote_name(page->tally, sizes->slots_max + i));
    remote_add(page, sizes->slots_max + sizes->remotes_max - 1, others);
    const struct tally_endpoint *sum = &page->endpoints[page->endpoint_count - 1].sum;
    if (!sum->connections && !sum->requests)
        page->endpoint_count--;
}

static void endpoints_gather(struct page *page)
{
    uint32_t slots_max = board_slots_max(page->board), remotes = remotes_count(page->tally);
    struct board_instance *instances = calloc(slots_max, sizeof *instances);
    uint32_t *slots = calloc(slots_max, sizeof *slots);
    page->endpoints = calloc((size_t)slots_max + remotes + 1, sizeof *page->endpoints);
    if (instances && slots && page->endpoints) {
        for (uint32_t i = 0; i < board_services_max(page->board); i++)
            instances_gather(page, i, instances, slots, slots_max - (uint32_t)page->endpoint_count);
        remotes_gather(page, remotes);
    }
    free(instances);
    free(slots);
}

/* ---- printing ------------------------------------------------------------------------------- */

static void head_print(struct buffer *out, const char *object, const char *name, const char *type,
                       const char *help)
{
    buffer_printf(out, "# HELP enginx_%s%s %s\n# TYPE enginx_%s%s %s\n", object, name, help, object,
                  name, type);
}

static const char *number_text(uint64_t number, char text[VALUE_BYTES])
{
    char *at = text + VALUE_BYTES - 1;
    *at = 0;
    do
        *--at = (char)('0' + number % 10);
    while (number /= 10);
    return at;
}

static const char *seconds_text(uint64_t us, char text[VALUE_BYTES])
{
    snprintf(text, VALUE_BYTES, "%" PRIu64 ".%06u", us / 1000000, (unsigned)(us % 1000000));
    return text;
}

/* `enginx_OBJECTNAME{LABELS,EXTRA} VALUE`, EXTRA maybe "". Without printf(3): there may be hundreds
 * of thousands of them, and the gateway's main thread has other things to do. */
static void sample_print(struct buffer *out, const char *object, const char *name,
                         const char *labels, const char *extra, const char *value)
{
    char line[LABELS_BYTES_MAX + 256];
    char *at = stpcpy(stpcpy(stpcpy(line, "enginx_"), object), name);
    at = stpcpy(stpcpy(at, "{"), labels);
    if (*extra)
        at = stpcpy(stpcpy(at, ","), extra);
    at = stpcpy(stpcpy(stpcpy(at, "} "), value), "\n");
    buffer_append(out, line, (size_t)(at - line));
}

static void count_print(struct buffer *out, const char *object, const char *name,
                        const char *labels, const char *extra, uint64_t value)
{
    char text[VALUE_BYTES];
    sample_print(out, object, name, labels, extra, number_text(value, text));
}

static void classes_print(struct buffer *out, const char *object, const char *name,
                          const char *labels, const tally_count status[6])
{
    static const char *const classes[] = {"class=\"none\"", "class=\"1xx\"", "class=\"2xx\"",
                                          "class=\"3xx\"",  "class=\"4xx\"", "class=\"5xx\""};
    for (int i = 0; i < 6; i++)
        count_print(out, object, name, labels, classes[i], status[i]);
}

/* Only guards that have refused somebody: most rows have none. */
static void guards_print(const struct page *page, enum tally_kind kind)
{
    char extra[LE_BYTES];
    head_print(page->out, kind_names[kind], "_guard_refused_total", "counter",
               "Requests refused by guards, by the kind of guard.");
    for (size_t i = 0; i < page->traffic_count[kind]; i++)
        for (unsigned guard = 0; guard < GUARD_KINDS; guard++) {
            const struct traffic_row *row = &page->traffic[kind][i];
            snprintf(extra, sizeof extra, "guard=\"%s\"", guard_names[guard]);
            if (row->sum.guarded[guard])
                count_print(page->out, kind_names[kind], "_guard_refused_total", row->labels, extra,
                            row->sum.guarded[guard]);
        }
}

enum { OF_SERVICE = 1 << TALLY_SERVICE, OF_LISTENER = 1 << TALLY_LISTENER, OF_ALL = 7 };

struct family {
    const char *name;
    const char *type;
    const char *help;
    size_t offset;
    unsigned kinds; /* of traffic */
};

#define TRAFFIC(field) offsetof(struct tally_traffic, field)
static const struct family traffic_families[] = {
    {"_received_bytes_total", "counter", "Bytes from clients.", TRAFFIC(bytes_in), OF_ALL},
    {"_sent_bytes_total", "counter", "Bytes to clients.", TRAFFIC(bytes_out), OF_ALL},
    {"_requests_in_flight", "gauge", "Requests (relays: connections) under way.",
     TRAFFIC(requests_now), OF_ALL},
    {"_connections", "gauge", "Connections of clients, open.", TRAFFIC(connections_now),
     OF_LISTENER},
    {"_connections_total", "counter", "Connections of clients.", TRAFFIC(connections), OF_LISTENER},
    {"_refused_total", "counter", "Refused over a cap or limit.", TRAFFIC(refused), OF_ALL},
    {"_retries_total", "counter", "Further tries of requests.", TRAFFIC(retries), OF_SERVICE},
    {"_held_total", "counter", "Requests that waited for an endpoint.", TRAFFIC(held), OF_SERVICE},
    {"_held", "gauge", "Requests that wait for an endpoint.", TRAFFIC(held_now), OF_SERVICE},
};

static uint64_t count_at(const void *sum, size_t offset)
{
    return *(const tally_count *)(const void *)((const char *)sum + offset);
}

static void traffic_family_print(const struct page *page, enum tally_kind kind,
                                 const struct family *family)
{
    head_print(page->out, kind_names[kind], family->name, family->type, family->help);
    for (size_t i = 0; i < page->traffic_count[kind]; i++) {
        const struct traffic_row *row = &page->traffic[kind][i];
        count_print(page->out, kind_names[kind], family->name, row->labels, "",
                    count_at(&row->sum, family->offset));
    }
}

/* Of breakers that have opened, and not once in each line of those that never did. */
static void breakers_print(const struct page *page)
{
    static const struct family families[] = {
        {"_breaker_opened_total", "counter", "Times that the breaker has opened.",
         TRAFFIC(breaker_opened), 0},
        {"_breaker_refused_total", "counter", "Requests that the breaker did not let pass.",
         TRAFFIC(broken), 0},
    };
    head_print(page->out, "service", "_breaker_state", "gauge",
               "0: closed, 1: open, 2: half-open.");
    for (size_t i = 0; i < page->traffic_count[TALLY_SERVICE]; i++) {
        const struct traffic_row *row = &page->traffic[TALLY_SERVICE][i];
        if (row->sum.breaker_opened)
            count_print(page->out, "service", "_breaker_state", row->labels, "",
                        tally_breaker_state(&row->sum));
    }
    for (size_t f = 0; f < sizeof families / sizeof *families; f++) {
        head_print(page->out, "service", families[f].name, families[f].type, families[f].help);
        for (size_t i = 0; i < page->traffic_count[TALLY_SERVICE]; i++) {
            const struct traffic_row *row = &page->traffic[TALLY_SERVICE][i];
            if (row->sum.breaker_opened)
                count_print(page->out, "service", families[f].name, row->labels, "",
                            count_at(&row->sum, families[f].offset));
        }
    }
}

/* The count is the sum of the buckets, so that both agree while they are counted on. */
static void histogram_print(const struct page *page, const char *object,
                            const struct traffic_row *row)
{
    char text[VALUE_BYTES];
    uint64_t count = 0;
    for (unsigned i = 0; i < TALLY_BUCKETS; i++) {
        count += row->sum.latency[i];
        count_print(page->out, object, "_request_seconds_bucket", row->labels, page->les[i], count);
    }
    sample_print(page->out, object, "_request_seconds_sum", row->labels, "",
                 seconds_text(row->sum.latency_us, text));
    count_print(page->out, object, "_request_seconds_count", row->labels, "", count);
}

static void les_make(struct page *page)
{
    char text[VALUE_BYTES];
    for (unsigned i = 0; i < TALLY_BUCKETS; i++)
        snprintf(page->les[i], LE_BYTES, "le=\"%s\"",
                 i + 1 < TALLY_BUCKETS ? seconds_text(tally_bucket_us(i), text) : "+Inf");
}

static void traffic_print(const struct page *page, enum tally_kind kind)
{
    const char *object = kind_names[kind];
    head_print(
        page->out, object, "_requests_total", "counter",
        "Requests that are over, by the status that the client got; none: no answer (relays: "
        "all).");
    for (size_t i = 0; i < page->traffic_count[kind]; i++)
        classes_print(page->out, object, "_requests_total", page->traffic[kind][i].labels,
                      page->traffic[kind][i].sum.status);
    for (size_t i = 0; i < sizeof traffic_families / sizeof *traffic_families; i++)
        if (traffic_families[i].kinds >> kind & 1)
            traffic_family_print(page, kind, &traffic_families[i]);
    if (kind != TALLY_SERVICE)
        guards_print(page, kind);
    else
        breakers_print(page);
    head_print(page->out, object, "_request_seconds", "histogram", "Time of whole requests.");
    for (size_t i = 0; i < page->traffic_count[kind]; i++)
        if (page->traffic[kind][i].sum.requests) /* half of the page, were it all zeros */
            histogram_print(page, object, &page->traffic[kind][i]);
}

#define ENDPOINT(field) offsetof(struct tally_endpoint, field)
static const struct family endpoint_families[] = {
    {"_connections", "gauge", "Connections to it, open.", ENDPOINT(connections_now), 0},
    {"_connections_total", "counter", "Connections to it.", ENDPOINT(connections), 0},
    {"_requests_in_flight", "gauge", "Requests under way.", ENDPOINT(requests_now), 0},
    {"_requests_total", "counter", "Requests given to it.", ENDPOINT(requests), 0},
    {"_received_bytes_total", "counter", "Bytes from clients.", ENDPOINT(bytes_in), 0},
    {"_sent_bytes_total", "counter", "Bytes to clients.", ENDPOINT(bytes_out), 0},
    {"_connect_failures_total", "counter", "Connections that failed.", ENDPOINT(failures_connect),
     0},
    {"_failures_total", "counter", "Connections broken, garbage, no answer in time.",
     ENDPOINT(failures), 0},
    {"_ejected_total", "counter", "Times that it was left out after failures.", ENDPOINT(ejected),
     0},
    {"_checks_total", "counter", "Health checks of it by the gateway.", ENDPOINT(checks), 0},
    {"_checks_failed_total", "counter", "Those that failed.", ENDPOINT(checks_failed), 0},
};

static void up_print(const struct page *page)
{
    head_print(page->out, "endpoint", "_up", "gauge", "1: the instance is in rotation.");
    for (size_t i = 0; i < page->endpoint_count; i++)
        if (page->endpoints[i].instance)
            count_print(page->out, "endpoint", "_up", page->endpoints[i].labels, "",
                        page->endpoints[i].up);
}

static void roles_print(const struct page *page)
{
    head_print(page->out, "endpoint", "_role", "gauge",
               "1: the instance has this role; those whose role is not known are left out.");
    for (size_t i = 0; i < page->endpoint_count; i++) {
        const struct endpoint_row *row = &page->endpoints[i];
        const char *name = row->instance ? endpoint_role_name(row->role) : NULL;
        char label[32];
        if (!name)
            continue;
        snprintf(label, sizeof label, "role=\"%s\"", name);
        count_print(page->out, "endpoint", "_role", row->labels, label, 1);
    }
}

static void latency_print(const struct page *page)
{
    head_print(page->out, "endpoint", "_response_seconds_total", "counter",
               "Time until its responses began, in all.");
    for (size_t i = 0; i < page->endpoint_count; i++) {
        char text[VALUE_BYTES];
        sample_print(page->out, "endpoint", "_response_seconds_total", page->endpoints[i].labels,
                     "", seconds_text(page->endpoints[i].sum.latency_us, text));
    }
}

static void endpoints_print(const struct page *page)
{
    up_print(page);
    roles_print(page);
    for (size_t i = 0; i < sizeof endpoint_families / sizeof *endpoint_families; i++) {
        const struct family *family = &endpoint_families[i];
        head_print(page->out, "endpoint", family->name, family->type, family->help);
        for (size_t j = 0; j < page->endpoint_count; j++)
            count_print(page->out, "endpoint", family->name, page->endpoints[j].labels, "",
                        count_at(&page->endpoints[j].sum, family->offset));
    }
    head_print(page->out, "endpoint", "_responses_total", "counter",
               "Its responses by status; none: relayed.");
    for (size_t i = 0; i < page->endpoint_count; i++)
        classes_print(page->out, "endpoint", "_responses_total", page->endpoints[i].labels,
                      page->endpoints[i].sum.status);
    latency_print(page);
}

static void instances_print(const struct page *page)
{
    head_print(page->out, "service", "_instances_wanted", "gauge",
               "Instances that there shall be.");
    for (uint32_t i = 0; i < board_services_max(page->board); i++) {
        char name[BOARD_NAME_BYTES], labels[LABELS_BYTES_MAX] = "";
        if (!board_name(page->board, i, name))
            continue;
        label_add(labels, "service", name);
        count_print(page->out, "service", "_instances_wanted", labels, "",
                    board_service(page->board, i)->wanted);
    }
}

static void value_print(struct buffer *out, const char *name, const char *type, const char *help,
                        uint64_t value)
{
    head_print(out, name, "", type, help);
    buffer_printf(out, "enginx_%s %" PRIu64 "\n", name, value);
}

static void process_print(const struct page *page, const struct generation *generation)
{
    struct buffer *out = page->out;
    head_print(out, "build_info", "", "gauge", "The version.");
    buffer_puts(out, "enginx_build_info{version=\"" ENGINX_VERSION "\"} 1\n");
    if (generation)
        value_print(out, "generation", "gauge", "The configuration's number.", generation->number);
    value_print(out, "gateway_threads", "gauge", "Threads of the gateway.",
                tally_sizes(page->tally)->threads);
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        value_print(out, "gateway_resident_memory_max_bytes", "gauge",
                    "The most memory that the gateway's process had.",
                    (uint64_t)usage.ru_maxrss * 1024);
        head_print(out, "gateway_cpu_seconds_total", "", "counter",
                   "CPU time of the gateway's process.");
        char text[VALUE_BYTES];
        uint64_t us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                      (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
        buffer_printf(out, "enginx_gateway_cpu_seconds_total %s\n", seconds_text(us, text));
    }
#ifndef __SANITIZE_ADDRESS__
    struct mallinfo2 heap = mallinfo2();
    value_print(out, "gateway_heap_bytes", "gauge", "Memory that the gateway's process allocated.",
                heap.uordblks + heap.hblkhd);
#endif
}

void metrics_print(const struct metrics_sources *sources, const struct generation *generation,
                   struct buffer *out)
{
    struct page page = {.board = sources->board, .tally = sources->tally, .out = out};
    les_make(&page);
    services_gather(&page);
    traffic_gather(&page, TALLY_LISTENER);
    traffic_gather(&page, TALLY_ROUTE);
    endpoints_gather(&page);
    process_print(&page, generation);
    if (generation)
        metrics_caches_print(generation, out);
    if (generation && sources->bans)
        metrics_bans_print(generation, sources->bans, out);
    for (int kind = 0; kind < TALLY_KINDS; kind++)
        traffic_print(&page, (enum tally_kind)kind);
    instances_print(&page);
    endpoints_print(&page);
    for (int kind = 0; kind < TALLY_KINDS; kind++)
        free(page.traffic[kind]);
    free(page.endpoints);
}
