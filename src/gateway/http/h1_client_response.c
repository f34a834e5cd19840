#include <errno.h>
#include <stdlib.h>

#include "gateway/http/cgi_response.h"
#include "gateway/http/h1_client_private.h"
#include "gateway/http/h1_fields.h"
#include "gateway/http/http_worker.h"

enum { RESPONSE_HEAD_BYTES_MAX = 64 * 1024, KEEP_MARGIN_MS = 1000 };

/* ---- what is held --------------------------------------------------------------------------- */

static bool held_store(struct h1_client *client, const char *bytes, size_t length)
{
    if (!length)
        return true;
    client->held = malloc(length);
    if (!client->held)
        return false;
    memcpy(client->held, bytes, length);
    client->held_from = 0;
    client->held_length = (uint32_t)length;
    return true;
}

/* To the input, where more is read behind it. How much that is. */
static size_t held_load(struct h1_client *client)
{
    size_t length = client->held_length;
    if (length)
        memcpy(client->worker->input, client->held + client->held_from, length);
    client_held_drop(client);
    return length;
}

/* ---- heads ---------------------------------------------------------------------------------- */

/* Keep-Alive: timeout=5: it will close an idle connection by then; we let it go before. */
static uint32_t keep_ms(const struct head *head)
{
    const struct field *field = head_field(head, FIELD_KEEP_ALIVE);
    if (!field)
        return UINT32_MAX;
    struct slice list = field->value, member;
    while (h1_list_next(&list, &member)) {
        uint64_t seconds;
        if (member.length > 8 && !memcmp(member.bytes, "timeout=", 8) &&
            h1_length_read((struct slice){member.bytes + 8, member.length - 8}, &seconds) &&
            seconds < 1000000)
            return seconds * 1000 > KEEP_MARGIN_MS ? (uint32_t)seconds * 1000 - KEEP_MARGIN_MS : 0;
    }
    return UINT32_MAX;
}

static void body_begin(struct h1_client *client, const struct head *head)
{
    client->state = CLIENT_BODY;
    client->body = (uint8_t)head->body;
    client->body_left = head->body == BODY_LENGTH ? head->body_length : 0;
    client->keep_alive = head->keep_alive;
    client->keep_ms = keep_ms(head);
    if (client->fastcgi) { /* the end is END_REQUEST's, whatever the head says */
        client->body = BODY_CLOSE;
        client->length_known = head->body != BODY_CLOSE;
        client->body_left = head->body == BODY_CLOSE ? UINT64_MAX : head->body_length;
        if (head->body == BODY_NONE)
            client->body_left = 0;
        client->keep_alive = client->records_keep;
    }
    if (head->body == BODY_CHUNKED) {
        h1_chunks_init(&client->chunks);
        client->chunks.trailer = client->trailer_room;
    }
}

/* ---- bodies --------------------------------------------------------------------------------- */

struct run {     /* of a body, decoded, in the input */
    char *start; /* of the bytes that it was found in */
    char *bytes;
    size_t length;
    size_t used; /* bytes of the input that it came from */
    bool last;
};

/* Until END_REQUEST; what is more than the head said is left out, less is broken. */
static bool run_of_records(struct h1_client *client, size_t length, struct run *run)
{
    run->used = length;
    run->length = length < client->body_left ? length : (size_t)client->body_left;
    run->last = client->records_over;
    return !run->last || !client->length_known || run->length == client->body_left;
}

/* The next run of the body in these bytes. False: broken. */
static bool run_find(struct h1_client *client, char *bytes, size_t length, struct run *run)
{
    *run = (struct run){.start = bytes, .bytes = bytes};
    if (client->fastcgi)
        return run_of_records(client, length, run);
    switch ((enum body_kind)client->body) {
    case BODY_NONE:
        run->last = true;
        return true;
    case BODY_LENGTH:
        run->length = run->used = length < client->body_left ? length : (size_t)client->body_left;
        run->last = run->length == client->body_left;
        return true;
    case BODY_CLOSE:
        run->length = run->used = length;
        return true;
    case BODY_CHUNKED:
        break;
    }
    run->length = run->used = client->scanned;
    if (!client->scanned) {
        enum h1_result result =
            h1_chunks_decode(&client->chunks, bytes, length, &run->used, &run->bytes, &run->length);
        if (result == H1_BAD)
            return false;
        client->chunks_over = result == H1_DONE;
    }
    run->last = client->chunks_over;
    return true;
}

/* Before the owner hears of it, since it may give the client back at once. */
static void run_announce(struct h1_client *client, const struct run *run, size_t length)
{
    if (!run->last)
        return;
    client->state = CLIENT_OVER;
    client->deadline_ms = UINT64_MAX;
    client->keep_alive &= run->used == length; /* what is behind it answers nothing */
}

/* The owner took so much of it; what it did not take is put in front of the rest. Returns what of
 * the input was used. */
static size_t run_taken(struct h1_client *client, const struct run *run, size_t taken)
{
    size_t left = run->length - taken;
    client->wanted = left == 0;
    client->scanned = 0;
    if (client->body == BODY_LENGTH || client->fastcgi)
        client->body_left -= taken;
    if (!left)
        return run->used;
    client->state = CLIENT_BODY;
    client->deadline_ms = UINT64_MAX; /* the client is slow, not the endpoint */
    if (client->body != BODY_CHUNKED)
        return taken;
    memmove(run->start + run->used - left, run->bytes + taken, left);
    client->scanned = (uint32_t)left;
    return run->used - left;
}

static const char *body_broken(const struct h1_client *client)
{
    return client->fastcgi ? "the response is shorter than its Content-Length"
                           : "a broken chunk in the response";
}

/* False: the client is another's, gone, or failed. */
static bool body_process(struct h1_client *client, char *bytes, size_t length, size_t *used)
{
    struct run run;
    if (!run_find(client, bytes, length, &run)) {
        client_fail(client, false, body_broken(client));
        return false;
    }
    if (!run.length && !run.last) {
        *used += run.used;
        client->starved = true;
        return true;
    }
    uint64_t serial = client->serial;
    run_announce(client, &run, length);
    size_t taken = client->calls->body(client->owner, run.bytes, run.length, run.last);
    if (client->dead || client->serial != serial)
        return false;
    *used += run_taken(client, &run, taken);
    client->starved = client->wanted && client->state == CLIENT_BODY;
    return true;
}

/* ---- heads ---------------------------------------------------------------------------------- */

static bool interim_process(struct h1_client *client, const struct head *head)
{
    uint64_t serial = client->serial;
    client->calls->interim(client->owner, head);
    return !client->dead && client->serial == serial;
}

/* The final head, with what is there of the body. */
static bool final_process(struct h1_client *client, const struct head *head, char *bytes,
                          size_t length, size_t *used)
{
    struct run run;
    body_begin(client, head);
    if (head->status == 101 && !held_store(client, bytes, length)) {
        client_fail(client, false, "no memory for what came behind the upgrade");
        return false;
    }
    if (head->status == 101)
        length = 0;
    if (!run_find(client, bytes, length, &run)) {
        client_fail(client, false, body_broken(client));
        return false;
    }
    uint64_t serial = client->serial;
    client_deadline(client, client->times.read);
    run_announce(client, &run, length);
    size_t taken = client->calls->response(client->owner, head, run.bytes, run.length, run.last);
    if (client->dead || client->serial != serial || client->upgraded)
        return false;
    *used += run_taken(client, &run, taken);
    client->starved = client->wanted && client->state == CLIENT_BODY;
    return true;
}

static enum h1_result head_parse(const struct h1_client *client, const char *bytes, size_t length,
                                 struct head *head, const char **ret_why)
{
    if (!client->cgi)
        return h1_response_parse(bytes, length, client->method, head, ret_why);
    return client->fastcgi ? cgi_response_parse(bytes, length, client->method, head, ret_why)
                           : cgi_http_response_parse(bytes, length, client->method, head, ret_why);
}

static bool head_process(struct h1_client *client, char *bytes, size_t length, size_t *used)
{
    size_t scanned = client->scanned, head_length = 0;
    enum h1_result result = h1_head_end(bytes, length, &scanned, &head_length);
    client->scanned = (uint32_t)scanned;
    if (result == H1_BAD || (result == H1_MORE && length >= RESPONSE_HEAD_BYTES_MAX) ||
        head_length > RESPONSE_HEAD_BYTES_MAX) {
        client_fail(client, false, "a response head with broken lines, or a very large one");
        return false;
    }
    client->starved = result == H1_MORE;
    if (result == H1_MORE)
        return true;
    struct head head = {.fields = client->worker->http->response_fields,
                        .fields_room = HEAD_FIELDS_MAX};
    const char *why = NULL;
    result = head_parse(client, bytes, head_length, &head, &why);
    if (result != H1_DONE) {
        client_fail(client, false, why);
        return false;
    }
    *used += head_length;
    client->scanned = 0;
    if (head.status < 200 && head.status != 101)
        return interim_process(client, &head);
    return final_process(client, &head, bytes + head_length, length - head_length, used);
}

/* ---- reading -------------------------------------------------------------------------------- */

/* False: the client is another's, gone, or failed. */
static bool process(struct h1_client *client, char *bytes, size_t length, size_t *used)
{
    while (client->state == CLIENT_HEAD) {
        if (*used == length) {
            client->starved = true;
            return true;
        }
        if (!head_process(client, bytes + *used, length - *used, used))
            return false;
        if (client->state == CLIENT_HEAD && client->starved)
            return true;
    }
    while (client->state == CLIENT_BODY && client->wanted &&
           (*used < length || client->records_over))
        if (!body_process(client, bytes + *used, length - *used, used))
            return false;
    return true;
}

void client_read_ended(struct h1_client *client, ssize_t count)
{
    if (client->state == CLIENT_BODY && client->body == BODY_CLOSE && count == 0 &&
        !client->fastcgi) {
        client->state = CLIENT_OVER;
        client->calls->body(client->owner, "", 0, true);
        return;
    }
    if (!client->connected) { /* a TLS handshake fails wherever it happens to go on */
        client_not_connected(client, (int)count);
        return;
    }
    client_fail(client, false,
                client->state == CLIENT_BODY ? "the endpoint broke off in the middle of the body"
                : client->received           ? "the endpoint broke off in the middle of the head"
                                             : "the endpoint closed without an answer");
}

/* Bytes in the input now. False: none, and whoever waits for them was told. */
static bool input_fill(struct h1_client *client, size_t *ret_length)
{
    size_t length = held_load(client);
    char *input = client->worker->input;
    *ret_length = length;
    if (client->records_over)
        return true;
    ssize_t count = stream_read(&client->stream, input + length, WORKER_INPUT_BYTES - length);
    if (count <= 0) {
        if (!held_store(client, input, length))
            count = -ENOMEM;
        if (count != -EAGAIN)
            client_read_ended(client, count);
        return false;
    }
    client->received = true;
    client->starved = false;
    if (client->state == CLIENT_BODY)
        client_deadline(client, client->times.read);
    size_t came = (size_t)count;
    if (client->fastcgi && !fcgi_client_decode(client, input + length, &came))
        return false;
    *ret_length = length + came;
    return true;
}

/* What is held goes on, where it lies. False: the client is another's, gone, or failed. */
static bool held_process(struct h1_client *client)
{
    char *held = client->held;
    size_t from = client->held_from, length = client->held_length, used = 0;
    client->held = NULL;
    client->held_length = 0;
    bool ours = process(client, held + from, length, &used);
    if (!ours || used == length) {
        free(held);
        return ours;
    }
    client->held = held;
    client->held_from = (uint32_t)(from + used);
    client->held_length = (uint32_t)(length - used);
    return true;
}

/* What came last, and what of it is left over. False: the client is another's, gone, or failed. */
static bool input_process(struct h1_client *client, size_t length)
{
    char *input = client->worker->input;
    size_t used = 0;
    if (!process(client, input, length, &used))
        return false;
    if (client->state == CLIENT_HEAD && client->records_over) {
        client_fail(client, false, "the program ended the request without a whole head");
        return false;
    }
    if (client->state == CLIENT_OVER || held_store(client, input + used, length - used))
        return true;
    client_fail(client, false, "no memory for what the endpoint sent");
    return false;
}

/* One step. False: there is no further one now, or the client is another's, gone, or failed. */
static bool read_step(struct h1_client *client)
{
    if (client->held_length && !client->starved && !client->records_over)
        return held_process(client);
    if (!client->held_length && (client_splice(client) || client_place(client)))
        return false;
    size_t length;
    return input_fill(client, &length) && input_process(client, length);
}

void client_read(struct h1_client *client)
{
    if (client->state == CLIENT_OVER) { /* it says more, or ends: no other request on it */
        client->keep_alive = false;
        return;
    }
    for (int turns = 0; turns < CLIENT_READS_MAX; turns++) {
        if (client->upgraded || (client->state == CLIENT_BODY && !client->wanted))
            return;
        if (!read_step(client) || client->state == CLIENT_OVER)
            return;
    }
    stream_again(&client->stream);
}

void client_more(struct courier *courier)
{
    struct h1_client *client = h1_client_of(courier);
    if (client->state != CLIENT_BODY || client->busy)
        return;
    client->wanted = true;
    client->starved = !client->held_length;
    client->busy = true;
    client_deadline(client, client->times.read);
    client_read(client);
    client->busy = false;
    if (client->dead)
        free(client);
}

/* ---- trailers ------------------------------------------------------------------------------- */

void h1_client_trailers_want(struct h1_client *client, char *room)
{
    client->trailer_room = room;
}

uint32_t client_trailers(struct courier *courier, struct field *fields, uint32_t room)
{
    struct h1_client *client = h1_client_of(courier);
    if (client->body != BODY_CHUNKED || !client->chunks_over)
        return 0;
    return h1_trailers_parse(&client->chunks, fields, room);
}
