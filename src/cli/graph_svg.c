#include <stdlib.h>
#include <string.h>

#include "cli/graph_draw.h"

/* Lengths are pixels. The width of text is guessed: a font of fixed width is asked for. */
enum {
    MARGIN = 20,
    CHARACTER_WIDTH = 8,
    LINE_HEIGHT = 16,
    PADDING = 10,
    NODE_GAP = 20,
    COLUMN_GAP = 200,
    COLUMN_NAME_MAX = 48, /* longer names are cut */
    MEMBER = 12,
    MEMBERS_IN_A_ROW = 12,
};

struct place {
    int x, y, width, height;
};

static const char *const fills[] = {
    [GRAPH_UNKNOWN] = "#f4f4f4", [GRAPH_WELL] = "#d8f0d8", [GRAPH_ILL] = "#f8d8d0"};
static const char *const strokes[] = {[GRAPH_LISTENER] = "#3060a0",
                                      [GRAPH_SERVICE] = "#404040",
                                      [GRAPH_JOB] = "#803080",
                                      [GRAPH_REMOTE] = "#806030",
                                      [GRAPH_ANSWER] = "#707070"};

/* At most COLUMN_NAME_MAX bytes, whole characters; what XML does not allow is left out. */
static void xml_put(const char *text, FILE *out)
{
    size_t length = strlen(text), end = length;
    if (length > COLUMN_NAME_MAX)
        for (end = COLUMN_NAME_MAX; end && ((unsigned char)text[end] & 0xc0) == 0x80;)
            end--;
    for (size_t i = 0; i < end; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte == '<')
            fputs("&lt;", out);
        else if (byte == '&')
            fputs("&amp;", out);
        else if (byte == '"')
            fputs("&quot;", out);
        else
            fputc(byte < 0x20 || byte == 0x7f ? '?' : byte, out);
    }
    if (end < length)
        fputs("\xe2\x80\xa6", out);
}

static int width_of(const char *text)
{
    size_t length = strlen(text);
    return (int)(length > COLUMN_NAME_MAX ? COLUMN_NAME_MAX + 1 : length) * CHARACTER_WIDTH;
}

static int member_rows(const struct graph_node *node)
{
    return (int)(node->member_count + MEMBERS_IN_A_ROW - 1) / MEMBERS_IN_A_ROW;
}

static void size_set(const struct graph_node *node, struct place *place)
{
    place->width = width_of(node->name);
    for (size_t i = 0; i < node->line_count; i++)
        if (width_of(node->lines[i]) > place->width)
            place->width = width_of(node->lines[i]);
    if (node->member_count && place->width < MEMBERS_IN_A_ROW * (MEMBER + 2))
        place->width = MEMBERS_IN_A_ROW * (MEMBER + 2);
    place->width += 2 * PADDING;
    place->height =
        (int)(node->line_count + 1) * LINE_HEIGHT + PADDING + member_rows(node) * (MEMBER + 4);
}

/* Column by column, each as wide as its widest node. */
static void layout(const struct graph *graph, struct place *places, int *ret_width, int *ret_height)
{
    unsigned columns = 0;
    int x = MARGIN;
    *ret_height = 2 * MARGIN;
    for (size_t i = 0; i < graph->node_count; i++) {
        size_set(&graph->nodes[i], &places[i]);
        if (graph->nodes[i].column >= columns)
            columns = graph->nodes[i].column + 1;
    }
    for (unsigned column = 0; column < columns; column++) {
        int y = MARGIN + 2 * LINE_HEIGHT, widest = 0;
        for (size_t i = 0; i < graph->node_count; i++) {
            if (graph->nodes[i].column != column)
                continue;
            places[i].x = x;
            places[i].y = y;
            y += places[i].height + NODE_GAP;
            widest = places[i].width > widest ? places[i].width : widest;
        }
        x += widest ? widest + COLUMN_GAP : 0;
        *ret_height = y + MARGIN > *ret_height ? y + MARGIN : *ret_height;
    }
    *ret_width = x > COLUMN_GAP + MARGIN ? x - COLUMN_GAP + MARGIN : 2 * MARGIN;
}

static void node_svg(const struct graph_node *node, const struct place *place, FILE *out)
{
    int y = place->y + LINE_HEIGHT;
    fprintf(out,
            "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"%d\" fill=\"%s\" "
            "stroke=\"%s\"/>\n<text x=\"%d\" y=\"%d\" font-weight=\"bold\">",
            place->x, place->y, place->width, place->height, node->kind == GRAPH_REMOTE ? 16 : 4,
            fills[node->mood], strokes[node->kind], place->x + PADDING, y);
    xml_put(node->name, out);
    fputs("</text>\n", out);
    for (size_t i = 0; i < node->line_count; i++) {
        y += LINE_HEIGHT;
        fprintf(out, "<text x=\"%d\" y=\"%d\">", place->x + PADDING, y);
        xml_put(node->lines[i], out);
        fputs("</text>\n", out);
    }
    y += PADDING / 2;
    for (size_t i = 0; i < node->member_count; i++) {
        fprintf(out,
                "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"%s\" "
                "stroke=\"#404040\"><title>",
                place->x + PADDING + (int)(i % MEMBERS_IN_A_ROW) * (MEMBER + 2),
                y + (int)(i / MEMBERS_IN_A_ROW) * (MEMBER + 4), MEMBER, MEMBER,
                node->members[i].mood == GRAPH_WELL ? "#50b050" : "#d06040");
        xml_put(node->members[i].name, out);
        fputc(' ', out);
        xml_put(node->members[i].state, out);
        fputs("</title></rect>\n", out);
    }
}

static void edge_svg(const struct graph_edge *edge, const struct place *places, FILE *out)
{
    char label[128];
    const struct place *from = &places[edge->from], *to = &places[edge->to];
    int x = from->x + from->width, y = from->y + from->height / 2;
    int end_x = to->x, end_y = to->y + to->height / 2, half = (end_x - x) / 2;
    fprintf(out,
            "<path d=\"M%d,%d C%d,%d %d,%d %d,%d\" fill=\"none\" stroke=\"#606060\"%s "
            "marker-end=\"url(#end)\"/>\n",
            x, y, x + half, y, end_x - half, end_y, end_x, end_y,
            edge->uses ? " stroke-dasharray=\"5,4\"" : "");
    if (!edge->label)
        return;
    fprintf(out, "<text x=\"%d\" y=\"%d\" font-size=\"10\" text-anchor=\"end\">", end_x - 8,
            end_y - 4);
    xml_put(graph_label(edge, label, sizeof label), out);
    fputs("</text>\n", out);
}

void graph_draw_svg(const struct graph *graph, FILE *out)
{
    int width, height;
    struct place *places = calloc(graph->node_count + 1, sizeof *places);
    if (!places)
        return;
    layout(graph, places, &width, &height);
    fprintf(out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" "
            "width=\"%d\" height=\"%d\" font-family=\"monospace\" font-size=\"13\">\n"
            "<defs><marker id=\"end\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" "
            "markerHeight=\"8\" orient=\"auto\"><path d=\"M0,0 L8,4 L0,8 z\" fill=\"#606060\"/>"
            "</marker></defs>\n<text x=\"%d\" y=\"%d\" font-size=\"16\">cluster ",
            width, height, MARGIN, MARGIN + LINE_HEIGHT / 2);
    xml_put(graph->name, out);
    fputs("</text>\n", out);
    for (size_t i = 0; i < graph->edge_count; i++)
        edge_svg(&graph->edges[i], places, out);
    for (size_t i = 0; i < graph->node_count; i++)
        node_svg(&graph->nodes[i], &places[i], out);
    fputs("</svg>\n", out);
    free(places);
}
