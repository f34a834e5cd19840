/* A request of the gateway's own to a service: on behalf of an exchange (may this client have it?),
 * or of nobody (a stored response is to be made fresh). It is an exchange like others, with a codec
 * that gives the response to whoever asked for it, so routes, balancing, retries, health and the
 * service's counters are those of every request; a client's counters and the access log are not.
 *
 * It has no body. Calls come from the loop or from within subrequest_start; after `over`, or
 * subrequest_cancel, there are no more, and it is gone. One worker. */
#pragma once

#include "gateway/http/exchange.h"

struct subrequest;

struct subrequest_calls {
    /* The head of the response; its slices hold during the call. False: enough was heard; as
     * subrequest_cancel. */
    bool (*head)(void *owner, const struct response_head *head);
    /* Bytes of the body. How many were taken; less: it goes on with subrequest_more. NULL: the
     * body is thrown away. */
    size_t (*body)(void *owner, const char *bytes, size_t length);
    /* The end. `whole`: the response is complete; else `why` says what failed (for the log; holds
     * during the call); an answer of the gateway's own (503: nobody is there) is one, too. */
    void (*over)(void *owner, bool whole, const char *why);
};

struct subrequest_setup {
    const struct client_base *client; /* whose request it is about; a copy is made */
    struct generation_use *use;       /* a reference is taken */
    const struct route *route;        /* whom it goes to; lives as long as the generation */
    struct slice method;              /* "GET", "HEAD" …: of those without a body */
    struct slice authority;           /* of the Host field */
    struct slice target;              /* origin form */
    const struct field *fields;       /* without Host; copied */
    uint32_t field_count;
    const struct slice *captures; /* ten, of the route's regular expression; copied; NULL: none */
    bool secure;                  /* the client's request came by TLS */
    bool client_trusted;
    const struct subrequest_calls *calls;
    void *owner;
};

/* NULL: no memory, or the fields are too many or too large; nothing was called. When `over` was
 * called within, *ret_over is true and the pointer is not to be used. */
struct subrequest *subrequest_start(const struct subrequest_setup *setup, bool *ret_over);
/* The request as it is asked. */
const struct head *subrequest_head(const struct subrequest *subrequest);
/* The owner takes the body's bytes again. */
void subrequest_more(struct subrequest *subrequest);
void subrequest_cancel(struct subrequest *subrequest);
