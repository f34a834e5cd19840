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

int h2_wire_data(struct h2_wire *wire, const uint8_t *head, const char *bytes, size_t length)
{
    struct h2_worker *h2 = h2_of_wire(wire);
    if (h2->output_length + 9 + length > H2_OUTPUT_BYTES) {
        wire->full = true;
        return NGHTTP2_ERR_WOULDBLOCK;
    }
    char *at = h2->output + h2->output_length;
    memcpy(at, head, 9);
    if (length)
        memcpy(at + 9, bytes, length);
    h2->output_length += 9 + length;
    return 0;
}

/* All frames that there are, and that find room. -errno: the session is broken. */
static int fill(struct h2_wire *wire)
{
    struct h2_worker *h2 = h2_of_wire(wire);
    wire->full = false;
    while (!wire->full && H2_OUTPUT_BYTES - h2->output_length >= H2_OUTPUT_MARGIN) {
        const uint8_t *bytes;
        ssize_t length = nghttp2_session_mem_send(wire->session, &bytes);
        if (length < 0)
            return -EPROTO;
        if (length == 0)
            return 0;
        memcpy(h2->output + h2->output_length, bytes, (size_t)length);
        h2->output_length += (size_t)length;
    }
    wire->full = true;
    return 0;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* 0: all of it; -EAGAIN, *ret_sent tells how much; -errno. */
static int write_all(struct h2_wire *wire, const char *bytes, size_t length, size_t *ret_sent)
{
    size_t sent = 0;
    ssize_t count = 0;
    while (sent < length && count >= 0) {
        count = stream_write(&wire->stream, bytes + sent, length - sent, false);
        sent += count > 0 ? (size_t)count : 0;
    }
    if (sent)
        wire->sent_ms = loop_now(wire->worker->loop);
    *ret_sent = sent;
    return count < 0 ? (int)count : 0;
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

static int pending_keep(struct h2_wire *wire, const char *bytes, size_t length)
{
    wire->pending = malloc(length);
    if (!wire->pending)
        return -ENOMEM;
    memcpy(wire->pending, bytes, length);
    wire->pending_length = (uint32_t)length;
    wire->pending_sent = 0;
    wire->sent_ms = loop_now(wire->worker->loop);
    wire->kind->wait(wire);
    return -EAGAIN;
}

int h2_wire_flush(struct h2_wire *wire)
{
    struct h2_worker *h2 = h2_of_wire(wire);
    int error = pending_flush(wire);
    wire->kind->streams_go_on(wire);
    size_t total = 0;
    while (!error) {
        h2->output_length = 0;
        error = fill(wire);
        if (error || !h2->output_length)
            return error;
        size_t length = h2->output_length, sent;
        error = write_all(wire, h2->output, length, &sent);
        if (error == -EAGAIN)
            return pending_keep(wire, h2->output + sent, length - sent);
        total += length;
        if (!error && total >= H2_TURN_BYTES) {
            h2_resume(wire);
            return -EAGAIN;
        }
        if (!error)
            wire->kind->streams_go_on(wire);
    }
    return error;
}
