#include "cli/graph_model.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "topology/job_text.h"
#include "topology/site.h"

enum { GRAPH_BYTES_MAX = 256 * 1024 * 1024 };

struct drawing { /* a graph that is being made */
    struct graph *graph;
    const struct topology *topology;
    size_t *services;                 /* index of a service → its node; SIZE_MAX: absent */
    size_t *files;                    /* index of a directory → its node; SIZE_MAX: none yet */
    size_t redirects, texts, metrics; /* nodes; SIZE_MAX: none yet */
    size_t node_room, edge_room;
    size_t *reached; /* node → 1 + its edge, where that begins at the node that is being drawn */
    size_t reached_room;
};

static void *grown(struct arena *arena, const void *list, size_t count, size_t *room, size_t size)
{
    if (count < *room)
        return NULL;
    *room = *room ? *room * 2 : 64;
    void *more = arena_array(arena, *room, size);
    if (count)
        memcpy(more, list, count * size);
    return more;
}

/* ---- nodes and edges ------------------------------------------------------------------------- */

static size_t node_add(struct drawing *drawing, enum graph_kind kind, const char *name,
                       unsigned column)
{
    struct graph *graph = drawing->graph;
    struct graph_node *more = grown(graph->arena, graph->nodes, graph->node_count,
                                    &drawing->node_room, sizeof *graph->nodes);
    graph->nodes = more ? more : graph->nodes;
    graph->nodes[graph->node_count] = (struct graph_node){
        .kind = kind, .name = arena_strdup(graph->arena, name), .column = column};
    return graph->node_count++;
}

static void line_add(struct drawing *drawing, size_t number, const char *text)
{
    struct graph_node *node = &drawing->graph->nodes[number];
    if (node->line_count < GRAPH_LINES_MAX)
        node->lines[node->line_count++] = arena_strdup(drawing->graph->arena, text);
}

static struct graph_edge *edge_add(struct drawing *drawing, size_t from, size_t to,
                                   const char *label)
{
    struct graph *graph = drawing->graph;
    struct graph_edge *more = grown(graph->arena, graph->edges, graph->edge_count,
                                    &drawing->edge_room, sizeof *graph->edges);
    graph->edges = more ? more : graph->edges;
    struct graph_edge *edge = &graph->edges[graph->edge_count++];
    *edge = (struct graph_edge){
        .from = from, .to = to, .label = label ? arena_strdup(graph->arena, label) : NULL};
    return edge;
}

/* Routes to the same place are one edge, and counted: a listener may have a million of them. */
static void edge_reach(struct drawing *drawing, size_t from, size_t to, const char *label)
{
    struct graph *graph = drawing->graph;
    while (to >= drawing->reached_room)
        drawing->reached = grown(graph->arena, drawing->reached, drawing->reached_room,
                                 &drawing->reached_room, sizeof *drawing->reached);
    size_t known = drawing->reached[to];
    if (known && graph->edges[known - 1].from == from) {
        graph->edges[known - 1].more++;
        return;
    }
    edge_add(drawing, from, to, label);
    drawing->reached[to] = graph->edge_count;
}

/* ---- of a topology --------------------------------------------------------------------------- */

/* What is used stands right of all that use it. */
static unsigned *columns_of(struct arena *arena, const struct topology *topology)
{
    unsigned *columns = arena_array(arena, topology->service_count + 1, sizeof *columns);
    for (size_t i = 0; i < topology->service_count; i++)
        columns[i] = 1;
    for (size_t i = topology->start_count; i-- > 0;) {
        const struct service *service = &topology->services[topology->start_order[i]];
        for (size_t j = 0; j < service->uses_count; j++)
            if (columns[service->uses[j]] <= columns[service->index])
                columns[service->uses[j]] = columns[service->index] + 1;
    }
    return columns;
}

static void remotes_add(struct drawing *drawing, const struct service *service)
{
    char text[64];
    size_t from = drawing->services[service->index];
    size_t count = service->gateway.remote_count;
    for (size_t i = 0; i < count && i < GRAPH_REMOTES_MAX; i++) {
        size_t node = node_add(drawing, GRAPH_REMOTE, service->gateway.remotes[i].text,
                               drawing->graph->nodes[from].column + 1);
        edge_add(drawing, from, node, NULL);
    }
    if (count <= GRAPH_REMOTES_MAX)
        return;
    snprintf(text, sizeof text, "%zu more", count - GRAPH_REMOTES_MAX);
    edge_add(drawing, from,
             node_add(drawing, GRAPH_REMOTE, text, drawing->graph->nodes[from].column + 1), NULL);
}

static void job_lines(struct drawing *drawing, const struct service *service)
{
    char text[JOB_TEXT_BYTES];
    size_t node = drawing->services[service->index];
    line_add(drawing, node, job_text_times(service->job, text));
    if (*job_text_bounds(service->job, text))
        line_add(drawing, node, text);
}

static void service_lines(struct drawing *drawing, const struct service *service)
{
    char text[96];
    size_t node = drawing->services[service->index];
    if (service->gateway.remote_count)
        snprintf(text, sizeof text, "%zu remote", service->gateway.remote_count);
    else if (service->scale.high)
        snprintf(text, sizeof text, "%u to %u instances", service->scale.low, service->scale.high);
    else
        snprintf(text, sizeof text, "%u instance%s", service->instances,
                 service->instances == 1 ? "" : "s");
    line_add(drawing, node, text);
    if (service->publish)
        line_add(drawing, node, "published");
}

/* `*place` is the node of that name, which is made when it is needed first. */
static size_t answer_of(struct drawing *drawing, size_t *place, const char *name)
{
    if (*place == SIZE_MAX)
        *place = node_add(drawing, GRAPH_ANSWER, name, 1);
    return *place;
}

static size_t files_of(struct drawing *drawing, uint32_t directory)
{
    size_t *place = &drawing->files[directory];
    if (*place == SIZE_MAX)
        *place = node_add(drawing, GRAPH_ANSWER,
                          arena_printf(drawing->graph->arena, "files %s",
                                       drawing->topology->directories[directory]),
                          1);
    return *place;
}

static void route_add(struct drawing *drawing, size_t from, const struct route *route)
{
    switch (route->kind) {
    case ROUTE_PROXY:
        for (size_t i = 0; i < route->target_count; i++)
            edge_reach(drawing, from, drawing->services[route->targets[i].service], route->name);
        break;
    case ROUTE_REDIRECT:
        edge_reach(drawing, from, answer_of(drawing, &drawing->redirects, "redirects"),
                   route->name);
        break;
    case ROUTE_RESPOND:
        edge_reach(drawing, from, answer_of(drawing, &drawing->texts, "responses"), route->name);
        break;
    case ROUTE_FILES:
        edge_reach(drawing, from, files_of(drawing, route->files->directory), route->name);
        break;
    }
}

static void site_add(struct drawing *drawing, size_t from, const struct site *site)
{
    for (size_t i = 0; i < site->host_count; i++)
        for (size_t j = 0; j < site->hosts[i].route_count; j++)
            route_add(drawing, from, &site->hosts[i].routes[j]);
    for (size_t i = 0; i < site->own_route_count; i++)
        route_add(drawing, from, site->own_routes[i]);
}

static const char *listener_does(const struct listener *listener)
{
    if (listener->kind == LISTENER_METRICS)
        return "metrics";
    if (listener->kind == LISTENER_HTTP)
        return listener->tls ? "https" : "http";
    if (listener->path == LISTENER_DIRECT)
        return "direct";
    return listener->tls ? "tls, relay" : "relay";
}

static void listener_add(struct drawing *drawing, const struct listener *listener)
{
    size_t from = node_add(drawing, GRAPH_LISTENER, listener->text, 0);
    line_add(drawing, from, listener_does(listener));
    if (listener->kind == LISTENER_METRICS)
        edge_add(drawing, from, answer_of(drawing, &drawing->metrics, "metrics page"), NULL);
    else if (listener->kind == LISTENER_HTTP)
        site_add(drawing, from, listener->site);
    else if (!listener->sni_count)
        edge_add(drawing, from, drawing->services[listener->service], NULL);
    for (size_t i = 0; i < listener->sni_count; i++)
        for (const char *const *name = listener->snis[i].names; *name; name++)
            edge_reach(drawing, from, drawing->services[listener->snis[i].service], *name);
}

static void services_add(struct drawing *drawing)
{
    const struct topology *topology = drawing->topology;
    const unsigned *columns = columns_of(drawing->graph->arena, topology);
    for (size_t i = 0; i < topology->service_count; i++) {
        const struct service *service = &topology->services[i];
        drawing->services[i] = SIZE_MAX;
        if (!service->absent)
            drawing->services[i] = node_add(drawing, service->job ? GRAPH_JOB : GRAPH_SERVICE,
                                            service->name, columns[i]);
    }
    for (size_t i = 0; i < topology->service_count; i++) {
        const struct service *service = &topology->services[i];
        if (service->absent)
            continue;
        if (service->job)
            job_lines(drawing, service);
        else
            service_lines(drawing, service);
        for (size_t j = 0; j < service->uses_count; j++)
            edge_add(drawing, drawing->services[i], drawing->services[service->uses[j]], NULL)
                ->uses = true;
        remotes_add(drawing, service);
    }
}

static void topology_add(struct drawing *drawing)
{
    const struct topology *topology = drawing->topology;
    struct arena *arena = drawing->graph->arena;
    drawing->graph->name = arena_strdup(arena, topology->name);
    drawing->services = arena_array(arena, topology->service_count + 1, sizeof *drawing->services);
    drawing->files = arena_array(arena, topology->directory_count + 1, sizeof *drawing->files);
    for (size_t i = 0; i < topology->directory_count; i++)
        drawing->files[i] = SIZE_MAX;
    services_add(drawing);
    for (size_t i = 0; i < topology->listener_count; i++)
        listener_add(drawing, &topology->listeners[i]);
}

/* ---- of what runs ---------------------------------------------------------------------------- */

static const char *text_in(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static size_t node_find(const struct graph *graph, enum graph_kind kind, const char *name)
{
    for (size_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].kind == kind && strcmp(graph->nodes[i].name, name) == 0)
            return i;
    return SIZE_MAX;
}

/* Its instances; how many of them are up. */
static size_t members_add(struct drawing *drawing, size_t number, const json_t *service)
{
    struct graph_node *node = &drawing->graph->nodes[number];
    const json_t *list = json_object_get(service, "instances");
    size_t up = 0, index;
    json_t *instance;
    node->members = arena_array(drawing->graph->arena, GRAPH_MEMBERS_MAX, sizeof *node->members);
    json_array_foreach (list, index, instance) {
        const char *state = text_in(instance, "state");
        bool well =
            strcmp(state, "up") == 0 && !json_is_false(json_object_get(instance, "healthy"));
        const char *shown = strcmp(state, "up") == 0 && !well ? "ill" : state;
        up += well;
        if (node->member_count == GRAPH_MEMBERS_MAX)
            continue;
        node->members[node->member_count++] = (struct graph_member){
            .name = arena_printf(drawing->graph->arena, "%s.%lld", node->name,
                                 (long long)json_integer_value(json_object_get(instance, "id"))),
            .state = arena_strdup(drawing->graph->arena, shown),
            .mood = well ? GRAPH_WELL : GRAPH_ILL};
    }
    return up;
}

static void traffic_line(struct drawing *drawing, size_t number, const json_t *service)
{
    char text[128];
    const json_t *rate = json_object_get(service, "requests_per_second");
    const json_t *latency = json_object_get(service, "latency_ms");
    if (!json_is_real(rate) || !json_integer_value(json_object_get(service, "requests_total")))
        return;
    int length = snprintf(text, sizeof text, "%.1f requests/s", json_real_value(rate));
    if (json_is_object(latency))
        snprintf(text + length, sizeof text - (size_t)length, ", p95 %.1f ms",
                 json_real_value(json_object_get(latency, "p95")));
    line_add(drawing, number, text);
}

static void service_live(struct drawing *drawing, const json_t *service)
{
    char text[96];
    const char *name = text_in(service, "name");
    size_t number = node_find(drawing->graph, GRAPH_SERVICE, name);
    if (number == SIZE_MAX)
        number = node_add(drawing, GRAPH_SERVICE, name, 1);
    size_t up = members_add(drawing, number, service);
    struct graph_node *node = &drawing->graph->nodes[number];
    size_t wanted = (size_t)json_integer_value(json_object_get(service, "wanted"));
    if (node->member_count || wanted) {
        bool asleep = json_is_true(json_object_get(json_object_get(service, "scale"), "asleep"));
        snprintf(text, sizeof text, "%zu of %zu up%s", up, wanted, asleep ? ", asleep" : "");
        line_add(drawing, number, text);
        node->mood = up >= wanted || asleep ? GRAPH_WELL : GRAPH_ILL;
    }
    traffic_line(drawing, number, service);
    size_t index;
    json_t *listener;
    json_array_foreach (json_object_get(service, "listeners"), index, listener) {
        const char *listens = json_string_value(listener);
        size_t from = node_find(drawing->graph, GRAPH_LISTENER, listens);
        if (from == SIZE_MAX) /* of no file: `enginx run`, a port that is published */
            edge_add(drawing, node_add(drawing, GRAPH_LISTENER, listens, 0), number, NULL);
    }
}

/* Since when it runs, or its next time; how the last run ended. */
static void job_live(struct drawing *drawing, const json_t *job)
{
    struct arena *arena = drawing->graph->arena;
    const char *name = text_in(job, "name"), *next = text_in(job, "next");
    const json_t *last = json_array_get(json_object_get(job, "history"), 0);
    size_t number = node_find(drawing->graph, GRAPH_JOB, name);
    if (number == SIZE_MAX)
        number = node_add(drawing, GRAPH_JOB, name, 1);
    if (json_is_true(json_object_get(job, "running")))
        line_add(drawing, number, arena_printf(arena, "runs since %s", text_in(job, "since")));
    else if (*next)
        line_add(drawing, number, arena_printf(arena, "next %s", next));
    if (!last)
        return;
    line_add(drawing, number, arena_printf(arena, "last %s", text_in(last, "exit")));
    drawing->graph->nodes[number].mood =
        json_is_true(json_object_get(last, "ok")) ? GRAPH_WELL : GRAPH_ILL;
}

static void status_add(struct drawing *drawing, const json_t *status)
{
    size_t index;
    json_t *service, *job;
    drawing->graph->name = arena_strdup(drawing->graph->arena, text_in(status, "cluster"));
    drawing->graph->live = true;
    json_array_foreach (json_object_get(status, "services"), index, service)
        service_live(drawing, service);
    json_array_foreach (json_object_get(status, "jobs"), index, job)
        job_live(drawing, job);
}

/* ---- from beginning to end ------------------------------------------------------------------- */

struct graph *graph_new(const struct topology *topology, const json_t *status)
{
    jmp_buf trap;
    struct arena *volatile arena = arena_new(GRAPH_BYTES_MAX);
    if (!arena || setjmp(trap)) {
        arena_free(arena);
        return NULL;
    }
    arena_trap_set(arena, &trap);
    struct drawing drawing = {
        .topology = topology, .redirects = SIZE_MAX, .texts = SIZE_MAX, .metrics = SIZE_MAX};
    drawing.graph = arena_alloc(arena, sizeof *drawing.graph);
    drawing.graph->arena = arena;
    if (topology)
        topology_add(&drawing);
    if (status)
        status_add(&drawing, status);
    return drawing.graph;
}

void graph_free(struct graph *graph)
{
    if (graph)
        arena_free(graph->arena);
}

const char *graph_label(const struct graph_edge *edge, char *text, size_t size)
{
    if (!edge->label)
        return "";
    int length = snprintf(text, size, "%.*s", 60, edge->label);
    if (edge->more && length > 0 && (size_t)length < size)
        snprintf(text + length, size - (size_t)length, " +%zu", edge->more);
    return text;
}
