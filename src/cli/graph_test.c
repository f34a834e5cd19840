#include "cli/graph_model.h"

#include "cli/graph_draw.h"
#include "topology/parse_fixture.h"

static const char shop[] = "cluster shop;\n"
                           "service web { run /bin/web; port 8000; uses api; }\n"
                           "service api { run /bin/api; port 8001; instances 2; uses db; }\n"
                           "service db { run /bin/db; port 8002; }\n"
                           "service far { at 192.0.2.1:80 192.0.2.2:80; }\n"
                           "listen 8080 http {\n"
                           "    host a.example { route / -> web; route /b -> web; }\n"
                           "    route /far/ -> far;\n"
                           "    route =/hello { respond 200 \"a <b> & \\\"c\\\"\"; }\n"
                           "}\n"
                           "listen 9000 tcp -> db;\n";

static const struct graph_node *node_of(const struct graph *graph, enum graph_kind kind,
                                        const char *name)
{
    for (size_t i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].kind == kind && strcmp(graph->nodes[i].name, name) == 0)
            return &graph->nodes[i];
    fail_msg("no node %s", name);
    return NULL;
}

static const struct graph_edge *edge_of(const struct graph *graph, const struct graph_node *from,
                                        const struct graph_node *to)
{
    for (size_t i = 0; i < graph->edge_count; i++)
        if (graph->edges[i].from == (size_t)(from - graph->nodes) &&
            graph->edges[i].to == (size_t)(to - graph->nodes))
            return &graph->edges[i];
    fail_msg("no edge %s -> %s", from->name, to->name);
    return NULL;
}

static void a_file_is_nodes_and_edges(void **state)
{
    (void)state;
    char label[128];
    struct topology *topology = good(shop);
    struct graph *graph = graph_new(topology, NULL);
    topology_free(topology); /* nothing of it is used any more */
    assert_non_null(graph);
    assert_string_equal(graph->name, "shop");
    assert_false(graph->live);
    const struct graph_node *http = node_of(graph, GRAPH_LISTENER, "tcp:8080");
    const struct graph_node *web = node_of(graph, GRAPH_SERVICE, "web");
    const struct graph_node *api = node_of(graph, GRAPH_SERVICE, "api");
    const struct graph_node *far = node_of(graph, GRAPH_SERVICE, "far");
    const struct graph_edge *routes = edge_of(graph, http, web);
    assert_int_equal(routes->more, 1); /* two routes are one edge */
    assert_string_equal(graph_label(routes, label, sizeof label), "a.example / +1");
    assert_string_equal(api->lines[0], "2 instances");
    assert_true(edge_of(graph, web, api)->uses);
    assert_false(edge_of(graph, far, node_of(graph, GRAPH_REMOTE, "192.0.2.2:80"))->uses);
    edge_of(graph, http, node_of(graph, GRAPH_ANSWER, "responses"));
    edge_of(graph, node_of(graph, GRAPH_LISTENER, "tcp:9000"), node_of(graph, GRAPH_SERVICE, "db"));
    for (size_t i = 0; i < graph->edge_count; i++)
        assert_true(graph->nodes[graph->edges[i].from].column <
                    graph->nodes[graph->edges[i].to].column);
    graph_free(graph);
}

static json_t *running(const char *state)
{
    return json_pack("{s:s, s:[{s:s, s:i, s:f, s:i, s:[s], s:[{s:i, s:s}, {s:i, s:s}]}]}",
                     "cluster", "shop", "services", "name", "api", "wanted", 2,
                     "requests_per_second", 12.5, "requests_total", 9, "listeners", "tcp:7",
                     "instances", "id", 1, "state", "up", "id", 2, "state", state);
}

static void what_runs_is_shown(void **state)
{
    (void)state;
    struct topology *topology = good(shop);
    json_t *status = running("backoff");
    struct graph *graph = graph_new(topology, status);
    json_decref(status);
    topology_free(topology);
    const struct graph_node *api = node_of(graph, GRAPH_SERVICE, "api");
    assert_true(graph->live);
    assert_int_equal(api->mood, GRAPH_ILL);
    assert_string_equal(api->lines[1], "1 of 2 up");
    assert_string_equal(api->lines[2], "12.5 requests/s");
    assert_string_equal(api->members[1].name, "api.2");
    assert_string_equal(api->members[1].state, "backoff");
    graph_free(graph);
}

static void what_runs_needs_no_file(void **state)
{
    (void)state;
    json_t *status = running("up");
    struct graph *graph = graph_new(NULL, status);
    json_decref(status);
    const struct graph_node *api = node_of(graph, GRAPH_SERVICE, "api");
    assert_int_equal(api->mood, GRAPH_WELL);
    edge_of(graph, node_of(graph, GRAPH_LISTENER, "tcp:7"), api);
    graph_free(graph);
}

static void jobs_are_no_services(void **state)
{
    (void)state;
    struct topology *topology = good("cluster shop;\n"
                                     "service db { run /bin/db; port 8002; }\n"
                                     "job mail { run /bin/mail; every 1m; timeout 30s; uses db; }\n"
                                     "job load { run /bin/load; }\n");
    json_t *status = json_pack("{s:[{s:s, s:b, s:s, s:[{s:b, s:s}]}, {s:s, s:b, s:s}]}", "jobs",
                               "name", "mail", "running", 0, "next", "2026-01-02T03:04:05Z",
                               "history", "ok", 0, "exit", "exited with status 3", "name", "load",
                               "running", 1, "since", "2026-01-01T00:00:00Z");
    struct graph *graph = graph_new(topology, status);
    topology_free(topology);
    json_decref(status);
    assert_int_equal(graph->node_count, 3);
    const struct graph_node *mail = node_of(graph, GRAPH_JOB, "mail");
    assert_int_equal(mail->line_count, 4);
    assert_string_equal(mail->lines[0], "every 1m");
    assert_string_equal(mail->lines[1], "timeout 30s");
    assert_string_equal(mail->lines[2], "next 2026-01-02T03:04:05Z");
    assert_string_equal(mail->lines[3], "last exited with status 3");
    assert_int_equal(mail->mood, GRAPH_ILL);
    assert_true(edge_of(graph, mail, node_of(graph, GRAPH_SERVICE, "db"))->uses);
    const struct graph_node *load = node_of(graph, GRAPH_JOB, "load");
    assert_string_equal(load->lines[0], "when it is asked for");
    assert_string_equal(load->lines[1], "runs since 2026-01-01T00:00:00Z");
    assert_int_equal(load->mood, GRAPH_UNKNOWN);
    graph_free(graph);
}

static void many_routes_are_counted(void **state)
{
    (void)state;
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    fputs("cluster many;\nlisten 80 http {\n", out);
    for (int i = 0; i < 300; i++)
        fprintf(out, "route /%d/ -> s%d; route =/%d -> s%d;\n", i, i, i, 299 - i);
    fputs("}\n", out);
    for (int i = 0; i < 300; i++)
        fprintf(out, "service s%d { run /bin/s; port 8000; }\n", i);
    fclose(out);
    struct topology *topology = good(text);
    struct graph *graph = graph_new(topology, NULL);
    free(text);
    topology_free(topology);
    assert_int_equal(graph->node_count, 301);
    assert_int_equal(graph->edge_count, 300);
    for (size_t i = 0; i < graph->edge_count; i++)
        assert_int_equal(graph->edges[i].more, 1);
    graph_free(graph);
}

static void names_are_escaped(void **state)
{
    (void)state;
    static const struct {
        void (*draw)(const struct graph *graph, FILE *out);
        const char *has;
    } ways[] = {{graph_draw_text, "a<\"&?b"},
                {graph_draw_dot, "a<\\\"& b"},
                {graph_draw_svg, "a&lt;&quot;&amp;?b"}};
    json_t *status = json_pack("{s:s, s:[]}", "cluster", "a<\"&\033b", "services");
    struct graph *graph = graph_new(NULL, status);
    json_decref(status);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        char *text = NULL;
        size_t length = 0;
        FILE *out = open_memstream(&text, &length);
        ways[i].draw(graph, out);
        fclose(out);
        if (!strstr(text, ways[i].has))
            fail_msg("%s is not in %s", ways[i].has, text);
        free(text);
    }
    graph_free(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_nodes_and_edges), cmocka_unit_test(what_runs_is_shown),
        cmocka_unit_test(what_runs_needs_no_file),   cmocka_unit_test(many_routes_are_counted),
        cmocka_unit_test(names_are_escaped),         cmocka_unit_test(jobs_are_no_services),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(said);
    return failed;
}
