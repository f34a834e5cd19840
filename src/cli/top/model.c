#include "cli/top/model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/table.h"

struct reading {
    struct model *model;
    const struct model *before;
    uint64_t wall_ms;
};

/* ---- fields -----------------------------------------------------------------------------------
 */

static double number_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

/* Seconds since that time; NAN: it is none. */
static double seconds_since(const struct reading *reading, const char *time_text)
{
    struct tm broken = {0};
    const char *end = strptime(time_text, "%Y-%m-%dT%H:%M:%S", &broken);
    return end ? (double)reading->wall_ms / 1000 - (double)timegm(&broken) : NAN;
}

static double age_of(const struct reading *reading, const char *time_text)
{
    double seconds = seconds_since(reading, time_text);
    return seconds < 0 ? 0 : seconds;
}

static char *text_copy(const struct reading *reading, const char *text)
{
    return arena_strdup(reading->model->arena, text);
}

/* What is not known adds nothing; two unknown ones stay unknown. */
static void total_add(double *total, double value)
{
    if (isnan(*total))
        *total = value;
    else if (!isnan(value))
        *total += value;
}

/* ---- items ------------------------------------------------------------------------------------
 */

static const char *index_key(struct arena *arena, enum item_kind kind, const char *name)
{
    return arena_printf(arena, "%d%s", (int)kind, name);
}

static struct item *item_add(struct reading *reading, enum item_kind kind, const char *name)
{
    struct model *model = reading->model;
    struct item *item = &model->items[model->item_count];
    *item = (struct item){.kind = kind,
                          .name = text_copy(reading, name),
                          .parent = model->item_count++,
                          .state = "",
                          .note = "",
                          .requests_total = NAN,
                          .connections_total = NAN,
                          .served_total = NAN,
                          .response_seconds = NAN};
    for (unsigned i = 0; i < COLUMN_COUNT; i++)
        item->value[i] = NAN;
    (void)table_add(model->index, index_key(model->arena, kind, name), item, NULL);
    const struct item *past = reading->before ? model_find(reading->before, kind, name) : NULL;
    item->folded = past && past->folded;
    return item;
}

/* How much a counter has grown; it begins anew when what it counts does. */
static double growth(double now, double past)
{
    return now >= past ? now - past : now;
}

/* Requests where the gateway has any, else connections; time until the answer. */
static void rate_set(struct reading *reading, struct item *item)
{
    const struct model *before = reading->before;
    const struct item *past = before ? model_find(before, item->kind, item->name) : NULL;
    if (!past || reading->model->at_ms <= before->at_ms)
        return;
    double seconds = (double)(reading->model->at_ms - before->at_ms) / 1000;
    double requests = growth(item->requests_total, past->requests_total);
    double connections = growth(item->connections_total, past->connections_total);
    bool asked = item->requests_total > 0;
    item->value[COLUMN_RATE] = (asked || isnan(connections) ? requests : connections) / seconds;
    if (requests > 0)
        item->value[COLUMN_MEAN] =
            growth(item->response_seconds, past->response_seconds) * 1000 / requests;
}

/* Of a service or listener, by its own count, which holds what had no instance, too, and servers
 * elsewhere. Of one that the gateway has nothing of, instances' connections are all there is. */
static void served_rate_set(struct reading *reading, struct item *item, const json_t *object)
{
    const struct model *before = reading->before;
    const struct item *past = before ? model_find(before, item->kind, item->name) : NULL;
    item->served_total = number_of(object, "requests_total");
    if (past && item->served_total > 0 && reading->model->at_ms > before->at_ms)
        item->value[COLUMN_RATE] = growth(item->served_total, past->served_total) * 1000 /
                                   (double)(reading->model->at_ms - before->at_ms);
}

static void counters_read(struct item *item, const json_t *object)
{
    item->requests_total = number_of(object, "requests_total");
    item->connections_total = number_of(object, "connections_total");
    item->response_seconds = number_of(object, "response_seconds_total");
    item->value[COLUMN_CONNECTIONS] = number_of(object, "connections");
    item->value[COLUMN_ERRORS] = number_of(object, "errors_total");
}

static void latency_read(struct item *item, const json_t *object)
{
    const json_t *latency = json_object_get(object, "latency_ms");
    item->value[COLUMN_P50] = number_of(latency, "p50");
    item->value[COLUMN_P95] = number_of(latency, "p95");
    item->value[COLUMN_P99] = number_of(latency, "p99");
}

/* ---- instances --------------------------------------------------------------------------------
 */

static enum item_mood mood_of(const char *state, bool healthy)
{
    if (strcmp(state, "up") == 0)
        return healthy ? ITEM_WELL : ITEM_ILL;
    return strcmp(state, "failed") == 0 || strcmp(state, "backoff") == 0 ? ITEM_ILL : ITEM_CHANGING;
}

/* Why it is not well, or where it should be; else its role and what it says of itself; else how it
 * ended the last time. */
static const char *instance_note(const struct reading *reading, const json_t *object)
{
    const char *reason = text_of(object, "reason");
    const char *role = text_of(object, "role"), *says = text_of(object, "status");
    const char *step = text_of(object, "step");
    if (*reason || *step)
        return text_copy(reading, *reason ? reason : step);
    if (json_is_true(json_object_get(object, "held")))
        return "drained by hand";
    if (*role || *says)
        return arena_printf(reading->model->arena, "%s%s%s", role, *role && *says ? ": " : "",
                            says);
    const char *how = text_of(object, "exit");
    return *how ? arena_printf(reading->model->arena, "last %s", how) : "";
}

static void instance_read(struct reading *reading, const json_t *object, struct item *service)
{
    char *name = NULL;
    double number = number_of(object, "id");
    uint32_t id = number >= 1 && number < UINT32_MAX ? (uint32_t)number : 0;
    name = arena_printf(reading->model->arena, "%s.%u", service->name, id);
    struct item *item = item_add(reading, ITEM_INSTANCE, name);
    bool healthy = !json_is_false(json_object_get(object, "healthy"));
    const char *state = text_of(object, "state");
    item->service = service->name;
    item->parent = service->parent;
    item->number = id;
    item->mood = mood_of(state, healthy);
    item->state = strcmp(state, "up") == 0 && !healthy ? "ill" : text_copy(reading, state);
    item->note = instance_note(reading, object);
    item->value[COLUMN_CPU] = number_of(object, "cpu_percent");
    item->value[COLUMN_MEMORY] = number_of(object, "memory_bytes");
    item->value[COLUMN_RESTARTS] = number_of(object, "restarts");
    item->value[COLUMN_SINCE] = age_of(reading, text_of(object, "since"));
    counters_read(item, object);
    rate_set(reading, item);
}

/* ---- services ---------------------------------------------------------------------------------
 */

static const char *breaker_note(const json_t *object)
{
    const char *state = text_of(json_object_get(object, "breaker"), "state");
    if (strcmp(state, "open") == 0)
        return "its breaker is open";
    return strcmp(state, "half-open") == 0 ? "its breaker is half open" : "";
}

static const char *service_note(const struct reading *reading, const json_t *object)
{
    const char *breaker = breaker_note(object);
    const json_t *rollout = json_object_get(object, "rollout");
    const json_t *scale = json_object_get(object, "scale");
    const char *state = text_of(rollout, "state"), *step = text_of(rollout, "step");
    if (*breaker)
        return breaker;
    if (*state && strcmp(state, "done") != 0)
        return arena_printf(reading->model->arena, "%s%s%s, %.0f of %.0f replaced%s%s", state,
                            *step ? ": " : "", step, number_of(rollout, "replaced"),
                            number_of(rollout, "of"), *text_of(rollout, "why") ? ": " : "",
                            text_of(rollout, "why"));
    return text_copy(reading, text_of(scale, "why"));
}

static const char *service_state(const struct reading *reading, const json_t *object, size_t up,
                                 double wanted)
{
    const char *roll = text_of(json_object_get(object, "rollout"), "state");
    if (json_is_true(json_object_get(json_object_get(object, "scale"), "asleep")))
        return "asleep";
    if (strncmp(roll, "rolling", 7) == 0)
        return "rolling";
    if (!(wanted > 0) && !up)
        return "-";
    return arena_printf(reading->model->arena, "%zu/%.0f", up, wanted);
}

/* Of its instances, added up. */
static size_t instances_add(struct reading *reading, const json_t *object, struct item *service)
{
    static const enum column summed[] = {COLUMN_CPU, COLUMN_MEMORY, COLUMN_CONNECTIONS,
                                         COLUMN_RESTARTS};
    size_t index, up = 0;
    double connections = NAN, responses = NAN, rate = NAN;
    json_t *instance;
    service->requests_total = NAN;
    json_array_foreach (json_object_get(object, "instances"), index, instance) {
        instance_read(reading, instance, service);
        const struct item *item = &reading->model->items[reading->model->item_count - 1];
        for (size_t i = 0; i < sizeof summed / sizeof summed[0]; i++)
            total_add(&service->value[summed[i]], item->value[summed[i]]);
        total_add(&service->requests_total, item->requests_total);
        total_add(&connections, item->connections_total);
        total_add(&responses, item->response_seconds);
        total_add(&rate, item->value[COLUMN_RATE]);
        up += strcmp(item->state, "up") == 0;
        if (item->mood > service->mood)
            service->mood = item->mood;
    }
    service->connections_total = connections;
    service->response_seconds = responses;
    rate_set(reading, service);
    service->value[COLUMN_RATE] = rate;
    return up;
}

static void service_read(struct reading *reading, const json_t *object)
{
    struct model *model = reading->model;
    struct item *item = item_add(reading, ITEM_SERVICE, text_of(object, "name"));
    double wanted = number_of(object, "wanted");
    item->service = item->name;
    size_t up = instances_add(reading, object, item);
    if (item->mood == ITEM_WELL && (double)up < wanted)
        item->mood = ITEM_CHANGING;
    if (*breaker_note(object))
        item->mood = ITEM_ILL;
    item->state = service_state(reading, object, up, wanted);
    item->note = service_note(reading, object);
    served_rate_set(reading, item, object);
    item->value[COLUMN_ERRORS] = number_of(object, "errors_total");
    latency_read(item, object);
    for (unsigned i = 0; i < COLUMN_COUNT; i++)
        total_add(&model->total[i], item->value[i]);
    model->services++;
    model->instances += json_array_size(json_object_get(object, "instances"));
    model->instances_up += up;
}

/* ---- jobs and listeners -----------------------------------------------------------------------
 */

static void job_read(struct reading *reading, const json_t *object)
{
    struct item *item = item_add(reading, ITEM_JOB, text_of(object, "name"));
    const json_t *last = json_array_get(json_object_get(object, "history"), 0);
    char due[COLUMN_TEXT_BYTES];
    double wait = -seconds_since(reading, text_of(object, "next"));
    bool runs = json_is_true(json_object_get(object, "running"));
    bool failed = json_is_false(json_object_get(last, "ok"));
    item->service = item->name;
    item->state = runs ? "runs" : failed ? "failed" : last ? "done" : "waits";
    item->mood = runs ? ITEM_CHANGING : failed ? ITEM_ILL : ITEM_WELL;
    item->value[COLUMN_SINCE] =
        age_of(reading, text_of(runs ? object : last, runs ? "since" : "begin"));
    item->note = arena_printf(reading->model->arena, "job%s%s%s%s", isnan(wait) ? "" : " in ",
                              isnan(wait) ? "" : column_format(COLUMN_SINCE, wait, due),
                              last ? ", last " : "", text_of(last, "exit"));
}

static void listener_read(struct reading *reading, const json_t *object)
{
    struct item *item = item_add(reading, ITEM_LISTENER, text_of(object, "name"));
    const char *path = text_of(object, "path");
    item->state = text_copy(reading, path);
    counters_read(item, object);
    served_rate_set(reading, item, object);
    latency_read(item, object);
    if (number_of(object, "refused_total") > 0)
        item->note =
            arena_printf(reading->model->arena, "%.0f refused", number_of(object, "refused_total"));
    else if (strcmp(path, "direct") == 0)
        item->note = "by the kernel: its services have the figures";
}

/* ---- the look ---------------------------------------------------------------------------------
 */

typedef void item_read(struct reading *reading, const json_t *object);

static void list_read(struct reading *reading, const json_t *list, item_read *read)
{
    size_t index;
    json_t *object;
    json_array_foreach (list, index, object)
        read(reading, object);
}

static size_t items_counted(const json_t *status)
{
    size_t index;
    json_t *service;
    size_t count = json_array_size(json_object_get(status, "jobs")) +
                   json_array_size(json_object_get(status, "listeners"));
    json_array_foreach (json_object_get(status, "services"), index, service)
        count += 1 + json_array_size(json_object_get(service, "instances"));
    return count;
}

static void head_read(struct reading *reading, const json_t *status)
{
    struct model *model = reading->model;
    double generation = number_of(status, "generation"), pid = number_of(status, "pid");
    const json_t *quota = json_object_get(status, "quota");
    model->cluster = text_copy(reading, text_of(status, "cluster"));
    model->version = text_copy(reading, text_of(status, "version"));
    model->logs = text_copy(reading, text_of(status, "logs"));
    model->generation = generation > 0 ? (uint64_t)generation : 0;
    model->pid = pid > 0 ? (int64_t)pid : 0;
    model->up_seconds = age_of(reading, text_of(status, "since"));
    model->quota_cpu = number_of(quota, "cpu_percent");
    model->quota_memory = number_of(quota, "memory_bytes");
    for (unsigned i = 0; i < COLUMN_COUNT; i++)
        model->total[i] = NAN;
}

/* All of it, or a jump into the trap. */
static void all_read(struct reading *reading, const json_t *status)
{
    struct model *model = reading->model;
    model->items = arena_array(model->arena, items_counted(status) + 1, sizeof *model->items);
    head_read(reading, status);
    list_read(reading, json_object_get(status, "services"), service_read);
    list_read(reading, json_object_get(status, "jobs"), job_read);
    list_read(reading, json_object_get(status, "listeners"), listener_read);
}

static bool trapped_read(struct reading *reading, const json_t *status)
{
    jmp_buf trap;
    if (setjmp(trap))
        return false;
    arena_trap_set(reading->model->arena, &trap);
    all_read(reading, status);
    return true;
}

struct model *model_new(const json_t *status, const struct model *before, uint64_t at_ms,
                        uint64_t wall_ms)
{
    struct model *model = calloc(1, sizeof *model);
    struct reading reading = {model, before, wall_ms};
    if (!model)
        return NULL;
    model->at_ms = at_ms;
    model->index = table_new();
    model->arena = arena_new(MODEL_BYTES_MAX);
    if (model->index && model->arena && trapped_read(&reading, status))
        return model;
    model_free(model);
    return NULL;
}

void model_free(struct model *model)
{
    if (!model)
        return;
    table_free(model->index);
    arena_free(model->arena);
    free(model);
}

struct item *model_find(const struct model *model, enum item_kind kind, const char *name)
{
    char key[512];
    if (snprintf(key, sizeof key, "%d%s", (int)kind, name) >= (int)sizeof key)
        return NULL;
    return table_get(model->index, key);
}
