#include <stdio.h>
#include <string.h>

#include "cli/ask.h"
#include "cli/graph_draw.h"
#include "cli/load.h"

typedef void graph_drawer(const struct graph *graph, FILE *out);

static const struct format {
    const char *name;
    graph_drawer *draw;
} formats[] = {{"text", graph_draw_text}, {"dot", graph_draw_dot}, {"svg", graph_draw_svg}};

static graph_drawer *drawer_of(const char *name)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++)
        if (strcmp(formats[i].name, name) == 0)
            return formats[i].draw;
    return NULL;
}

/* Takes both over, either of which may be NULL. */
static int graph_show(struct topology *topology, json_t *answer, graph_drawer *draw)
{
    struct graph *graph = graph_new(topology, json_object_get(answer, "status"));
    topology_free(topology);
    json_decref(answer);
    if (!graph)
        return cli_fail("no memory");
    draw(graph, stdout);
    graph_free(graph);
    return CLI_OK;
}

/* What runs: its figures from the cluster, what leads where from the file that it says it has. */
static int graph_live(const struct cli *cli, graph_drawer *draw)
{
    json_t *answer = ask(cli, json_pack("{s:s}", "command", "status"));
    if (!answer)
        return CLI_FAILED;
    const char *file =
        json_string_value(json_object_get(json_object_get(answer, "status"), "file"));
    struct topology *topology = file && *file ? load_topology(cli, file, NULL) : NULL;
    return graph_show(topology, answer, draw);
}

int command_graph(const struct cli *cli)
{
    const char *format = "text";
    struct cli own = *cli;
    const struct cli_option options[] = {{"--format", NULL, &format, NULL}};
    int words = cli_options(&own, options, 1, false);
    graph_drawer *draw = drawer_of(format);
    if (words < 1 || words > 2 || !draw)
        return cli_usage("graph");
    if (words == 1)
        return graph_live(&own, draw);
    struct topology *topology = load_topology(&own, own.argv[1], NULL);
    return topology ? graph_show(topology, NULL, draw) : CLI_USAGE;
}
