#include "control/status_traffic.h"

#include <stdlib.h>
#include <string.h>

#include "base/table.h"
#include "control/text.h"
#include "supervise/explain.h"
#include "supervise/supervisor.h"

static json_t *milliseconds(uint64_t us)
{
    return json_real((double)us / 1000.0);
}

static json_t *latency_json(const struct traffic *traffic)
{
    if (!traffic->timed)
        return json_null();
    json_t *object = json_object();
    json_object_set_new(object, "p50", milliseconds(traffic->p50_us));
    json_object_set_new(object, "p95", milliseconds(traffic->p95_us));
    json_object_set_new(object, "p99", milliseconds(traffic->p99_us));
    return object;
}

void status_traffic_add(json_t *object, const struct tally_traffic *sum, struct traffic_look *look,
                        uint64_t now_ms)
{
    const char *const fields[] = {"requests_total", "requests_per_second", "latency_ms",
                                  "errors_total"};
    for (size_t i = 0; !sum && i < sizeof fields / sizeof fields[0]; i++)
        json_object_set_new(object, fields[i], json_null());
    if (!sum)
        return;
    const struct traffic *traffic = traffic_look(look, sum, now_ms);
    json_object_set_new(object, "requests_total", json_integer((json_int_t)traffic->requests));
    json_object_set_new(object, "requests_per_second",
                        json_real((double)(int64_t)(traffic->requests_per_second * 10) / 10));
    json_object_set_new(object, "latency_ms", latency_json(traffic));
    json_object_set_new(object, "errors_total", json_integer((json_int_t)sum->status[5]));
}

/* ---- listeners --------------------------------------------------------------------------------
 */

/* The rows of the tally that have a listener's name: name → 1 + row. NULL: no memory. */
static struct table *rows_find(const struct tally *tally)
{
    uint32_t rows = tally_sizes(tally)->rows[TALLY_LISTENER];
    struct table *table = table_new();
    for (uint32_t row = 0; table && row < rows; row++) {
        const char *name = tally_row_name(tally, TALLY_LISTENER, row);
        if (!*name)
            break;
        (void)table_add(table, name, (void *)(uintptr_t)(row + 1), NULL);
    }
    return table;
}

static void listener_traffic_add(json_t *object, struct supervisor *supervisor,
                                 const struct tally *tally, uint32_t row)
{
    struct tally_traffic sum;
    tally_traffic_sum(tally, TALLY_LISTENER, row, &sum);
    status_traffic_add(object, &sum, &supervisor->listener_looks[row], loop_now(supervisor->loop));
    json_object_set_new(object, "connections", json_integer((json_int_t)sum.connections_now));
    json_object_set_new(object, "connections_total", json_integer((json_int_t)sum.connections));
    json_object_set_new(object, "refused_total", json_integer((json_int_t)sum.refused));
}

static void listener_quiet_add(json_t *object)
{
    const char *const fields[] = {"connections", "connections_total", "refused_total"};
    status_traffic_add(object, NULL, NULL, 0);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        json_object_set_new(object, fields[i], json_null());
}

static const char *path_name(const struct supervisor *supervisor, const struct listener *listener)
{
    return explain_path(listener, strcmp(supervisor->steering->operations->name, "none") != 0);
}

json_t *status_listeners(struct supervisor *supervisor)
{
    const struct topology *topology = supervisor->topology;
    const struct tally *tally = front_tally(supervisor->front);
    struct table *rows = tally ? rows_find(tally) : NULL;
    if (tally && !supervisor->listener_looks)
        supervisor->listener_looks =
            calloc(tally_sizes(tally)->rows[TALLY_LISTENER], sizeof *supervisor->listener_looks);
    json_t *list = json_array();
    for (size_t i = 0; i < topology->listener_count; i++) {
        const struct listener *listener = &topology->listeners[i];
        uintptr_t row = 0;
        if (rows && supervisor->listener_looks && listener->path != LISTENER_DIRECT)
            row = (uintptr_t)table_get(rows, listener->text);
        json_t *object = json_object();
        json_object_set_new(object, "name", json_text(listener->text));
        json_object_set_new(object, "path", json_string(path_name(supervisor, listener)));
        if (row)
            listener_traffic_add(object, supervisor, tally, (uint32_t)(row - 1));
        else
            listener_quiet_add(object);
        json_array_append_new(list, object);
    }
    table_free(rows);
    return list;
}
