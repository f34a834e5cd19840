/* Commands that `enginx top` has sent, and that are under way. It goes on meanwhile: what they say
 * comes by a call. */
#pragma once

#include <stdbool.h>

#include "cli/top/command.h"
#include "cli/top/page.h"
#include "control/conversation.h"

enum { ORDERS_MAX = 8 };

/* What a command says: `what` it is, and its progress, result, or why it is not done. */
typedef void orders_said(void *owner, enum page_style style, const char *what, const char *more);

struct order {
    struct orders *orders;
    struct conversation *conversation; /* NULL: this place is free */
    char text[COMMAND_TEXT_BYTES];
};

struct orders {
    struct loop *loop;
    const char *state; /* the user's */
    orders_said *said;
    void (*done)(void *owner); /* one is over, whether it went well or not */
    void *owner;
    struct order list[ORDERS_MAX];
};

/* The struct must stay where it is. */
void orders_begin(struct orders *orders, struct loop *loop, const char *state, orders_said *said,
                  void (*done)(void *owner), void *owner);
/* Sends a request, which is taken over; `text` says what it does. */
void orders_send(struct orders *orders, json_t *request, const char *text);
/* Nobody waits any more for those under way; the cluster goes on with them. */
void orders_end(struct orders *orders);
