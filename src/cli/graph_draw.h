/* The ways to draw a graph. All of them write to `out` and escape what names may hold. */
#pragma once

#include <stdio.h>

#include "cli/graph_model.h"

/* For terminals: listeners and services, and what each leads to. */
void graph_draw_text(const struct graph *graph, FILE *out);
/* For graphviz' `dot`. */
void graph_draw_dot(const struct graph *graph, FILE *out);
/* A picture, laid out in columns from listeners to what is used last. */
void graph_draw_svg(const struct graph *graph, FILE *out);
