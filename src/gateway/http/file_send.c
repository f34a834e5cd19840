#include "gateway/http/file_send.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/scoped.h"
#include "gateway/http/files.h"
#include "gateway/http/http_worker.h"

enum step { STEP_ON, STEP_FULL, STEP_GONE, STEP_SHORT };

/* ---- ends --------------------------------------------------------------------------------------
 */

void file_send_abort(struct file_send *send)
{
    struct worker *worker = send->exchange->worker;
    deferred_stop(worker->loop, &send->again);
    file_unref(send->file);
    free(send->owned);
    send->file = NULL;
    send->owned = NULL;
}

static void send_end(struct file_send *send)
{
    struct exchange *exchange = send->exchange;
    file_send_abort(send);
    exchange_release(exchange);
}

/* It was cut while we served it: what is missing cannot be made up. */
static void send_short(struct file_send *send)
{
    exchange_fail(send->exchange, 503, BLAME_ENGINX, "the file became shorter");
    send_end(send);
}

/* ---- pieces ------------------------------------------------------------------------------------
 */

static void pieces_skip(struct file_send *send)
{
    while (send->at < send->count && !send->pieces[send->at].length)
        send->at++;
}

static void piece_took(struct file_send *send, size_t taken)
{
    struct file_piece *piece = &send->pieces[send->at];
    piece->offset += taken;
    piece->length -= taken;
    if (!piece->length)
        send->moving = false;
    pieces_skip(send);
}

/* The next bytes, at most as many as the scratch has room for when they must be read. 0: the file
 * has no more. */
static size_t piece_bytes(struct file_send *send, const char **ret_bytes)
{
    const struct file_piece *piece = &send->pieces[send->at];
    const char *bytes = piece->bytes ? piece->bytes : send->file->content;
    if (bytes) {
        *ret_bytes = bytes + piece->offset;
        return piece->length;
    }
    char *scratch = send->exchange->worker->http->files->scratch;
    size_t size = piece->length < FILES_SCRATCH_BYTES ? piece->length : FILES_SCRATCH_BYTES;
    ssize_t count = pread(send->file->fd, scratch, size, (off_t)piece->offset);
    *ret_bytes = scratch;
    return count > 0 ? (size_t)count : 0;
}

static bool piece_last(const struct file_send *send, size_t length)
{
    return send->at + 1 == send->count && send->pieces[send->at].length == length;
}

static enum step piece_copy(struct file_send *send)
{
    const char *bytes;
    size_t length = piece_bytes(send, &bytes);
    if (!length)
        return STEP_SHORT;
    ssize_t taken = exchange_write(send->exchange, bytes, length, piece_last(send, length));
    if (taken < 0)
        return STEP_GONE;
    piece_took(send, (size_t)taken);
    return (size_t)taken < length ? STEP_FULL : STEP_ON;
}

/* ---- by the kernel alone ------------------------------------------------------------------------
 */

/* Is the next piece one of the file that is worth it, to a client that the kernel can give it to?
 * What was begun so ends so: its last bytes would take two calls else. */
static bool piece_moves(const struct file_send *send)
{
    const struct file_piece *piece = &send->pieces[send->at];
    return !piece->bytes && !send->file->content &&
           (piece->length >= EXCHANGE_MOVED_BYTES_MIN || send->moving) &&
           exchange_sends_files(send->exchange);
}

static enum step piece_move(struct file_send *send)
{
    const struct file_piece *piece = &send->pieces[send->at];
    size_t length =
        piece->length < EXCHANGE_TURN_BYTES_MAX ? piece->length : EXCHANGE_TURN_BYTES_MAX;
    ssize_t moved = exchange_send_file(send->exchange, send->file->fd, piece->offset, length);
    if (moved == 0)
        return STEP_SHORT;
    if (moved < 0)
        return moved == -EAGAIN ? STEP_FULL : STEP_GONE;
    send->moving = true;
    piece_took(send, (size_t)moved);
    if (send->at < send->count)
        return STEP_ON;
    return exchange_write(send->exchange, "", 0, true) < 0 ? STEP_GONE : STEP_ON;
}

/* ---- going on ----------------------------------------------------------------------------------
 */

static void again_due(struct deferred *deferred)
{
    file_send_room(deferred->owner);
}

void file_send_room(struct file_send *send)
{
    uint64_t before = send->exchange->bytes_out;
    enum step step = STEP_ON;
    while (step == STEP_ON && send->at < send->count) {
        if (send->exchange->bytes_out - before >= EXCHANGE_TURN_BYTES_MAX) {
            deferred_start(send->exchange->worker->loop, &send->again, again_due, send);
            return;
        }
        step = piece_moves(send) ? piece_move(send) : piece_copy(send);
    }
    if (step == STEP_SHORT)
        send_short(send);
    else if (step == STEP_ON)
        send_end(send);
}

/* The head, with the first bytes behind it, but for those that the kernel moves. */
static void first_send(struct file_send *send, struct response_head *head)
{
    const char *bytes = "";
    bool moves = piece_moves(send);
    size_t length = moves ? 0 : piece_bytes(send, &bytes);
    if (!length && !moves) {
        send_short(send);
        return;
    }
    bool last = length && piece_last(send, length);
    head->follows = moves;
    ssize_t taken = exchange_respond(send->exchange, head, bytes, length, last);
    if (taken < 0)
        return; /* abort follows */
    piece_took(send, (size_t)taken);
    if ((size_t)taken == length)
        file_send_room(send);
}

void file_send_start(struct file_send *send, struct response_head *head)
{
    head->body = BODY_LENGTH;
    head->body_length = 0;
    for (uint32_t i = 0; i < send->count; i++)
        head->body_length += send->pieces[i].length;
    pieces_skip(send);
    if (send->at < send->count && send->exchange->request.method != METHOD_HEAD) {
        first_send(send, head);
        return;
    }
    if (exchange_respond(send->exchange, head, "", 0, true) >= 0)
        send_end(send);
}
