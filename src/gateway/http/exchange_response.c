/* The way of a response: from the handler through the filters to the codec, and how it ends. */
#include "gateway/http/bump.h"
#include "gateway/http/compress.h"
#include "gateway/http/error_page.h"
#include "gateway/http/expand.h"
#include "gateway/http/filter.h"
#include "gateway/http/follow.h"
#include "gateway/http/grpc.h"
#include "gateway/http/guarded.h"
#include "gateway/http/h1_text.h"

/* ---- to the codec --------------------------------------------------------------------------- */

static ssize_t counted(struct exchange *exchange, ssize_t taken, size_t length, bool last)
{
    if (taken > 0)
        exchange->bytes_out += (uint64_t)taken;
    if (last && taken == (ssize_t)length)
        exchange->response_ended = true;
    return taken;
}

/* The route's rules for responses, whoever answers. What they make must end no line. */
static bool rules_apply(struct exchange *exchange, struct response_head *head)
{
    uint32_t count;
    const struct field *made =
        expand_fields(exchange, true, head->fields, head->field_count, &count);
    struct field *fields = made ? bump_alloc(exchange->arena, (count + 1) * sizeof *fields) : NULL;
    if (!fields)
        return false;
    for (uint32_t i = 0; i < count; i++) {
        fields[i] = made[i];
        fields[i].dropped |= !field_sane(&fields[i]);
    }
    head->fields = fields;
    head->field_count = count;
    return true;
}

ssize_t filter_respond_last(struct exchange *exchange, const struct response_head *head,
                            const char *bytes, size_t length, bool last)
{
    return counted(exchange, exchange->codec->respond(exchange, head, bytes, length, last), length,
                   last);
}

static bool of_cors(const struct field *field)
{
    static const char begin[] = "access-control-";
    struct slice name = field->name;
    name.length = name.length < sizeof begin - 1 ? name.length : (uint32_t)sizeof begin - 1;
    return field->id == FIELD_OTHER && slice_is_nocase(name, begin);
}

/* What guards want of each response. A handler knows nothing of it, so what it says of CORS goes.
 */
static bool guarded_apply(struct exchange *exchange, struct response_head *head)
{
    const struct guarded *guarded = exchange->guarded;
    bool own = exchange->handler == &handler_guards; /* it says what it means */
    struct field *fields =
        bump_alloc(exchange->arena, (head->field_count + guarded->response_count) * sizeof *fields);
    uint32_t count = 0;
    if (!fields)
        return false;
    for (uint32_t i = 0; i < head->field_count; i++)
        if (own || !of_cors(&head->fields[i]))
            fields[count++] = head->fields[i];
    for (uint32_t i = 0; i < guarded->response_count; i++)
        fields[count++] = guarded->response_fields[i];
    head->fields = fields;
    head->field_count = count;
    return true;
}

static ssize_t head_send(struct exchange *exchange, const struct response_head *head,
                         const char *bytes, size_t length, bool last)
{
    struct response_head ruled = *head;
    if (exchange->follow && head->status < 400)
        follow_apply(exchange, &ruled); /* without memory for it: as it is */
    if (exchange->guarded && exchange->guarded->response_fields)
        guarded_apply(exchange, &ruled); /* the same */
    if (exchange->route && exchange->route->headers_change_count)
        rules_apply(exchange, &ruled); /* without memory for it: as it is */
    exchange->status = head->status;
    if (exchange->route && exchange->route->compression)
        return compress_respond(exchange, &ruled, bytes, length, last);
    return filter_respond_last(exchange, &ruled, bytes, length, last);
}

/* ---- through the filters -------------------------------------------------------------------- */

void filter_append(struct exchange *exchange, struct filter *filter)
{
    struct filter **end = &exchange->filters;
    while (*end)
        end = &(*end)->next;
    filter->next = NULL;
    *end = filter;
}

static ssize_t respond_to(struct filter *filter, struct exchange *exchange,
                          const struct response_head *head, const char *bytes, size_t length,
                          bool last)
{
    if (filter)
        return filter->kind->respond(filter, exchange, head, bytes, length, last);
    return head_send(exchange, head, bytes, length, last);
}

static ssize_t write_to(struct filter *filter, struct exchange *exchange, const char *bytes,
                        size_t length, bool last)
{
    if (filter)
        return filter->kind->write(filter, exchange, bytes, length, last);
    return counted(exchange, exchange->codec->write(exchange, bytes, length, last), length, last);
}

static void end_to(struct filter *filter, struct exchange *exchange, const struct field *trailers,
                   uint32_t count)
{
    if (filter) {
        filter->kind->end(filter, exchange, trailers, count);
        return;
    }
    exchange->response_ended = true;
    exchange->codec->end(exchange, trailers, count);
}

ssize_t filter_respond(struct filter *filter, struct exchange *exchange,
                       const struct response_head *head, const char *bytes, size_t length,
                       bool last)
{
    return respond_to(filter->next, exchange, head, bytes, length, last);
}

ssize_t filter_write(struct filter *filter, struct exchange *exchange, const char *bytes,
                     size_t length, bool last)
{
    return write_to(filter->next, exchange, bytes, length, last);
}

void filter_end(struct filter *filter, struct exchange *exchange, const struct field *trailers,
                uint32_t count)
{
    end_to(filter->next, exchange, trailers, count);
}

/* The first that holds something, seen from the client, so that room reaches it; NULL: none. */
static struct filter *holder_of(const struct exchange *exchange)
{
    struct filter *last = NULL;
    for (struct filter *filter = exchange->filters; filter; filter = filter->next)
        if (filter->holds)
            last = filter;
    return last;
}

void filter_settle(struct exchange *exchange)
{
    if (exchange->release_waits && !holder_of(exchange)) {
        exchange->release_waits = false;
        exchange->codec->released(exchange);
    }
}

static void filters_room(struct exchange *exchange)
{
    struct filter *holder;
    while ((holder = holder_of(exchange))) {
        holder->kind->room(holder, exchange);
        if (holder->holds)
            return;
    }
    if (exchange->handler)
        exchange->handler->response_room(exchange);
    else
        filter_settle(exchange);
}

static bool filters_cut(struct exchange *exchange)
{
    for (struct filter *filter = exchange->filters; filter; filter = filter->next)
        if (filter->kind->cut && filter->kind->cut(filter, exchange))
            return true;
    return false;
}

static bool filters_go_on(struct exchange *exchange)
{
    for (struct filter *filter = exchange->filters; filter; filter = filter->next)
        if (filter->kind->released && filter->kind->released(filter, exchange))
            return true;
    return false;
}

/* ---- what handlers call --------------------------------------------------------------------- */

ssize_t exchange_respond(struct exchange *exchange, const struct response_head *head,
                         const char *bytes, size_t length, bool last)
{
    exchange->responded = true;
    return respond_to(exchange->filters, exchange, head, bytes, length, last);
}

ssize_t exchange_write(struct exchange *exchange, const char *bytes, size_t length, bool last)
{
    return write_to(exchange->filters, exchange, bytes, length, last);
}

void exchange_end(struct exchange *exchange, const struct field *trailers, uint32_t count)
{
    end_to(exchange->filters, exchange, trailers, count);
}

void exchange_interim(struct exchange *exchange, const struct response_head *head)
{
    exchange->codec->interim(exchange, head);
}

ssize_t exchange_place(struct exchange *exchange, char **ret_bytes)
{
    if (exchange->filters || !exchange->codec->place)
        return -1;
    return exchange->codec->place(exchange, ret_bytes);
}

void exchange_placed(struct exchange *exchange, size_t length)
{
    exchange->codec->placed(exchange, length);
    exchange->bytes_out += length;
}

bool exchange_splices(struct exchange *exchange)
{
    return !exchange->filters && exchange->codec->splices && exchange->codec->splices(exchange);
}

ssize_t exchange_splice(struct exchange *exchange, int pipe_fd, size_t length)
{
    return counted(exchange, exchange->codec->splice(exchange, pipe_fd, length), length, false);
}

bool exchange_sends_files(struct exchange *exchange)
{
    return exchange->codec->send_file && exchange_splices(exchange);
}

ssize_t exchange_send_file(struct exchange *exchange, int fd, uint64_t offset, size_t length)
{
    return counted(exchange, exchange->codec->send_file(exchange, fd, offset, length), length,
                   false);
}

void exchange_writable(struct exchange *exchange)
{
    if (exchange->filters)
        filters_room(exchange);
    else if (exchange->handler)
        exchange->handler->response_room(exchange);
}

/* ---- ends ----------------------------------------------------------------------------------- */

void exchange_blame(struct exchange *exchange, enum exchange_blame blame, const char *why)
{
    if (exchange->blame != BLAME_NOBODY)
        return;
    exchange->blame = blame;
    exchange->why = why;
}

void exchange_fail(struct exchange *exchange, uint16_t status, enum exchange_blame blame,
                   const char *why)
{
    exchange->failed = status;
    if (exchange->responded) {
        exchange_cut(exchange, blame, why);
        return;
    }
    exchange_blame(exchange, blame, why);
    if (grpc_is(&exchange->request))
        grpc_respond(exchange, status);
    else
        error_page_respond(exchange, status);
}

/* Who called waits for trailers, and gets some. False: they find no place. */
static bool call_end(struct exchange *exchange)
{
    if (!exchange->codec->trails || exchange->response_ended || !grpc_is(&exchange->request))
        return false;
    struct field trailers[GRPC_TRAILERS];
    grpc_trailers(exchange->failed ? exchange->failed : 502, trailers);
    exchange->response_ended = true;
    exchange->codec->end(exchange, trailers, GRPC_TRAILERS);
    return true;
}

void exchange_cut(struct exchange *exchange, enum exchange_blame blame, const char *why)
{
    exchange_blame(exchange, blame, why);
    if (filters_cut(exchange))
        return;
    for (struct filter *filter = exchange->filters; filter; filter = filter->next)
        filter->holds = false; /* it is lost */
    if (!call_end(exchange))
        exchange->codec->cut(exchange);
}

void exchange_release(struct exchange *exchange)
{
    exchange->handler = NULL;
    if (exchange->filters) {
        if (filters_go_on(exchange))
            return;
        exchange->release_waits = true;
        filter_settle(exchange);
        return;
    }
    exchange->codec->released(exchange);
}

void exchange_filters_done(struct exchange *exchange)
{
    struct filter *filter = exchange->filters;
    exchange->filters = NULL;
    while (filter) {
        struct filter *next = filter->next;
        if (filter->kind->done)
            filter->kind->done(filter, exchange);
        filter = next;
    }
}
