#include "topology/order.h"

#include <string.h>

enum mark { MARK_NEW, MARK_OPEN, MARK_DONE };

/* A walk in depth whose stack is an array: a chain of ten thousand services is not a chain of ten
 * thousand calls. */
struct walk {
    const struct topology *topology;
    uint32_t *stack; /* the services from where the walk began to where it is */
    uint32_t *next;  /* by service: which of its `uses` comes next */
    uint32_t *marks; /* by service: enum mark */
    size_t depth;
    uint32_t *order;
    size_t order_count;
    order_circle *circle;
    void *context;
};

static void enter(struct walk *walk, uint32_t service)
{
    walk->marks[service] = MARK_OPEN;
    walk->stack[walk->depth++] = service;
}

static void leave(struct walk *walk)
{
    uint32_t service = walk->stack[--walk->depth];
    walk->marks[service] = MARK_DONE;
    walk->order[walk->order_count++] = service;
}

/* `service` is on the stack, and the one on top uses it. */
static void circle_report(struct walk *walk, uint32_t service)
{
    size_t first = walk->depth - 1;
    while (walk->stack[first] != service)
        first--;
    walk->circle(walk->context, walk->stack + first, walk->depth - first);
}

static void step(struct walk *walk)
{
    uint32_t top = walk->stack[walk->depth - 1];
    const struct service *service = &walk->topology->services[top];
    if (walk->next[top] == service->uses_count) {
        leave(walk);
        return;
    }
    uint32_t used = service->uses[walk->next[top]++];
    if (walk->marks[used] == MARK_NEW)
        enter(walk, used);
    else if (walk->marks[used] == MARK_OPEN)
        circle_report(walk, used);
}

void order_make(const struct topology *topology, uint32_t *ret_order, uint32_t *scratch,
                order_circle *circle, void *context)
{
    size_t count = topology->service_count;
    struct walk walk = {
        .topology = topology,
        .stack = scratch,
        .next = scratch + count,
        .marks = scratch + 2 * count,
        .order = ret_order,
        .circle = circle,
        .context = context,
    };
    memset(scratch, 0, 3 * count * sizeof *scratch);
    for (uint32_t i = 0; i < count; i++) {
        if (walk.marks[i] == MARK_NEW)
            enter(&walk, i);
        while (walk.depth)
            step(&walk);
    }
}
