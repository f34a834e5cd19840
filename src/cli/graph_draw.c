#include "cli/graph_draw.h"

#include <string.h>

enum { LABEL_BYTES = 128 };

/* ---- text ------------------------------------------------------------------------------------ */

/* A name as it stands, but for what would move a terminal's cursor. */
static void text_put(const char *text, FILE *out)
{
    for (; *text; text++)
        fputc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, out);
}

static void node_text(const struct graph *graph, size_t number, FILE *out)
{
    const struct graph_node *node = &graph->nodes[number];
    char label[LABEL_BYTES];
    fputs("  ", out);
    text_put(node->name, out);
    for (size_t i = 0; i < node->line_count; i++) {
        fputs(i ? ", " : "  ", out);
        text_put(node->lines[i], out);
    }
    fputc('\n', out);
    for (size_t i = 0; i < node->member_count; i++)
        if (node->members[i].mood == GRAPH_ILL)
            fprintf(out, "      %s %s\n", node->members[i].name, node->members[i].state);
    for (size_t i = 0; i < graph->edge_count; i++) {
        const struct graph_edge *edge = &graph->edges[i];
        if (edge->from != number)
            continue;
        fputs(edge->uses ? "      uses " : "      -> ", out);
        text_put(graph->nodes[edge->to].name, out);
        if (edge->label) {
            fputs("  ", out);
            text_put(graph_label(edge, label, sizeof label), out);
        }
        fputc('\n', out);
    }
}

void graph_draw_text(const struct graph *graph, FILE *out)
{
    static const struct {
        enum graph_kind kind;
        const char *title;
    } parts[] = {{GRAPH_LISTENER, "listeners"}, {GRAPH_SERVICE, "services"}, {GRAPH_JOB, "jobs"}};
    fputs("cluster ", out);
    text_put(graph->name, out);
    fputs(graph->live ? ", as it runs\n" : "\n", out);
    for (size_t part = 0; part < sizeof parts / sizeof parts[0]; part++) {
        bool titled = false;
        for (size_t i = 0; i < graph->node_count; i++) {
            if (graph->nodes[i].kind != parts[part].kind)
                continue;
            if (!titled)
                fprintf(out, "\n%s\n", parts[part].title);
            titled = true;
            node_text(graph, i, out);
        }
    }
}

/* ---- dot ------------------------------------------------------------------------------------- */

/* Within quotes; a backslash would begin one of dot's own escapes. */
static void dot_put(const char *text, FILE *out)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', out);
        fputc((unsigned char)*text < 0x20 ? ' ' : *text, out);
    }
}

static void node_dot(const struct graph *graph, size_t number, FILE *out)
{
    static const char *const shapes[] = {[GRAPH_LISTENER] = "cds",
                                         [GRAPH_SERVICE] = "box",
                                         [GRAPH_JOB] = "hexagon",
                                         [GRAPH_REMOTE] = "ellipse",
                                         [GRAPH_ANSWER] = "note"};
    static const char *const fills[] = {
        [GRAPH_UNKNOWN] = "#ffffff", [GRAPH_WELL] = "#d8f0d8", [GRAPH_ILL] = "#f8d8d0"};
    const struct graph_node *node = &graph->nodes[number];
    fprintf(out, "  n%zu [shape=%s, style=filled, fillcolor=\"%s\", label=\"", number,
            shapes[node->kind], fills[node->mood]);
    dot_put(node->name, out);
    for (size_t i = 0; i < node->line_count; i++) {
        fputs("\\n", out);
        dot_put(node->lines[i], out);
    }
    for (size_t i = 0; i < node->member_count; i++) {
        fputs("\\n", out);
        dot_put(node->members[i].name, out);
        fputs(" ", out);
        dot_put(node->members[i].state, out);
    }
    fputs("\"];\n", out);
}

void graph_draw_dot(const struct graph *graph, FILE *out)
{
    char label[LABEL_BYTES];
    fputs("digraph \"", out);
    dot_put(graph->name, out);
    fputs("\" {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n"
          "  edge [fontname=\"sans-serif\", fontsize=10];\n",
          out);
    for (size_t i = 0; i < graph->node_count; i++)
        node_dot(graph, i, out);
    for (size_t i = 0; i < graph->edge_count; i++) {
        const struct graph_edge *edge = &graph->edges[i];
        fprintf(out, "  n%zu -> n%zu [%slabel=\"", edge->from, edge->to,
                edge->uses ? "style=dashed, " : "");
        dot_put(graph_label(edge, label, sizeof label), out);
        fputs("\"];\n", out);
    }
    fputs("}\n", out);
}
