#include "gateway/http/h2_wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/http/h2_worker.h"

/* ---- those that go on ----------------------------------------------------------------------- */

/* What is put in line meanwhile waits for the next turn. */
void h2_resume_all(struct h2_worker *h2)
{
    struct h2_wire *wire = h2->resume_first;
    h2->resume_first = NULL;
    h2->resume_last = &h2->resume_first;
    while (wire) {
        struct h2_wire *next = wire->resume_next;
        wire->queued = false;
        h2_enter(wire);
        if (!wire->dead)
            wire->kind->go_on(wire);
        h2_leave(wire);
        wire = next;
    }
}

static void resume_due(struct deferred *deferred)
{
    h2_resume_all(deferred->owner);
}

void h2_resume(struct h2_wire *wire)
{
    struct h2_worker *h2 = h2_of_wire(wire);
    if (wire->queued || wire->dead)
        return;
    wire->queued = true;
    wire->resume_next = NULL;
    *h2->resume_last = wire;
    h2->resume_last = &wire->resume_next;
    deferred_start(wire->worker->loop, &h2->resume, resume_due, h2);
}

void h2_leave(struct h2_wire *wire)
{
    wire->busy = false;
    h2_free_if_dead(wire);
}

void h2_free_if_dead(struct h2_wire *wire)
{
    if (wire->dead && !wire->busy && !wire->queued)
        wire->kind->free(wire);
}

void h2_wire_done(struct h2_wire *wire)
{
    nghttp2_session_del(wire->session);
    free(wire->pending);
}

bool h2_crowded(const struct h2_wire *wire)
{
    return wire->pending && nghttp2_session_get_outbound_queue_size(wire->session) > H2_QUEUE_MAX;
}

/* ---- filling -------------------------------------------------------------------------------- */

int h2_wire_data(struct h2_wire *wire, const uint8_t *head, struct h2_block *block, size_t length)
{
    struct h2_output *output = &h2_of_wire(wire)->output;
    if (h2_output_data(output, head, block, length, stream_plain(&wire->stream)))
        return 0;
    wire->full = true;
    return NGHTTP2_ERR_WOULDBLOCK;
}

/* All frames that there are, and that find room. -errno: the session is broken. */
static int fill(struct h2_wire *wire)
{
    struct h2_output *output = &h2_of_wire(wire)->output;
    wire->full = false;
    while (!wire->full && !h2_output_full(output)) {
        const uint8_t *bytes;
        ssize_t length = nghttp2_session_mem_send(wire->session, &bytes);
        if (length < 0)
            return -EPROTO;
        if (length == 0)
            return 0;
        h2_output_frame(output, bytes, (size_t)length);
    }
    wire->full = true;
    return 0;
}

/* ---- writing -------------------------------------------------------------------------------- */

static void sent_note(struct h2_wire *wire, size_t sent)
{
    if (sent)
        wire->sent_ms = loop_now(wire->worker->loop);
}

/* 0: all of it; -EAGAIN, *ret_sent tells how much; -errno. */
static int write_all(struct h2_wire *wire, const char *bytes, size_t length, size_t *ret_sent)
{
    size_t sent = 0;
    ssize_t count = 0;
    while (sent < length && count >= 0) {
        count = stream_write(&wire->stream, bytes + sent, length - sent, false);
        sent += count > 0 ? (size_t)count : 0;
    }
    sent_note(wire, sent);
    *ret_sent = sent;
    return count < 0 ? (int)count : 0;
}

/* The same of what was gathered. A plain socket that takes less than all is full. */
static int write_gathered(struct h2_wire *wire, const struct h2_output *output, size_t *ret_sent)
{
    if (output->part_count == 1)
        return write_all(wire, output->bytes, output->total, ret_sent);
    ssize_t count = stream_writev(&wire->stream, output->parts, (int)output->part_count, false);
    *ret_sent = count > 0 ? (size_t)count : 0;
    sent_note(wire, *ret_sent);
    return count < 0 ? (int)count : *ret_sent < output->total ? -EAGAIN : 0;
}

static int pending_flush(struct h2_wire *wire)
{
    if (!wire->pending)
        return 0;
    size_t sent;
    int error = write_all(wire, wire->pending + wire->pending_sent,
                          wire->pending_length - wire->pending_sent, &sent);
    wire->pending_sent += (uint32_t)sent;
    if (error)
        return error;
    free(wire->pending);
    wire->pending = NULL;
    return 0;
}

static int pending_keep(struct h2_wire *wire, const struct h2_output *output, size_t sent)
{
    size_t length = output->total - sent;
    wire->pending = malloc(length);
    if (!wire->pending)
        return -ENOMEM;
    h2_output_rest(output, sent, wire->pending);
    wire->pending_length = (uint32_t)length;
    wire->pending_sent = 0;
    wire->sent_ms = loop_now(wire->worker->loop);
    wire->kind->wait(wire);
    return -EAGAIN;
}

/* Fills and writes the output once. 0 or -errno; *ret_length: 0 when there was nothing. */
static int output_turn(struct h2_wire *wire, size_t *ret_length)
{
    struct h2_output *output = &h2_of_wire(wire)->output;
    size_t sent = 0;
    int error = fill(wire);
    *ret_length = error ? 0 : output->total;
    if (*ret_length)
        error = write_gathered(wire, output, &sent);
    if (error == -EAGAIN)
        error = pending_keep(wire, output, sent);
    h2_output_written(output);
    return error;
}

int h2_wire_flush(struct h2_wire *wire)
{
    int error = pending_flush(wire);
    wire->kind->streams_go_on(wire);
    size_t total = 0, length;
    while (!error) {
        error = output_turn(wire, &length);
        if (error || !length)
            return error;
        total += length;
        if (total >= H2_TURN_BYTES) {
            h2_resume(wire);
            return -EAGAIN;
        }
        wire->kind->streams_go_on(wire);
    }
    return error;
}
