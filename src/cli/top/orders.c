#include "cli/top/orders.h"

#include <stdio.h>
#include <string.h>

static void heard(void *owner, const json_t *object)
{
    struct order *order = owner;
    struct orders *orders = order->orders;
    const char *progress = json_string_value(json_object_get(object, "progress"));
    const char *error = json_string_value(json_object_get(object, "error"));
    if (progress) {
        orders->said(orders->owner, STYLE_PLAIN, order->text, progress);
        return;
    }
    order->conversation = NULL;
    if (object && !error)
        orders->said(orders->owner, STYLE_GOOD, order->text, "done");
    else
        orders->said(orders->owner, STYLE_BAD, order->text,
                     error ? error : "the cluster went away without an answer");
    orders->done(orders->owner);
}

static struct order *place_free(struct orders *orders)
{
    for (size_t i = 0; i < ORDERS_MAX; i++)
        if (!orders->list[i].conversation)
            return &orders->list[i];
    return NULL;
}

void orders_begin(struct orders *orders, struct loop *loop, const char *state, orders_said *said,
                  void (*done)(void *owner), void *owner)
{
    *orders =
        (struct orders){.loop = loop, .state = state, .said = said, .done = done, .owner = owner};
}

void orders_send(struct orders *orders, json_t *request, const char *text)
{
    struct order *order = place_free(orders);
    if (!order) {
        json_decref(request);
        orders->said(orders->owner, STYLE_BAD, text, "too many commands are under way");
        return;
    }
    order->orders = orders;
    snprintf(order->text, sizeof order->text, "%s", text);
    int error = conversation_begin(orders->loop, orders->state, request, heard, order,
                                   &order->conversation);
    if (error)
        orders->said(orders->owner, STYLE_BAD, text, strerror(-error));
    else
        orders->said(orders->owner, STYLE_PLAIN, text, "…");
}

void orders_end(struct orders *orders)
{
    for (size_t i = 0; i < ORDERS_MAX; i++)
        conversation_end(orders->list[i].conversation);
}
