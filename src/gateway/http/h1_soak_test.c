/* Requests of all framings, pipelined on one connection and cut at random places, to an origin that
 * answers in all framings, also cut: each must arrive whole, in order, with its own body. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "gateway/http/h1_parse.h"
#include "gateway/http/h1_rig.h"

enum { REQUESTS = 60, ROUNDS = 3, BODY_MAX = 200000, FIELDS = 32, IDLE_MS_MAX = 10000 };

struct peer { /* one end of the test's */
    int fd;
    struct buffer out;
    struct buffer in;
    bool moved; /* bytes, in this turn */
};

static struct random_state dice;

static size_t roll(size_t bound)
{
    return (size_t)random_below(&dice, bound);
}

static void peer_done(struct peer *peer)
{
    if (peer->fd >= 0)
        close(peer->fd);
    buffer_done(&peer->out);
    buffer_done(&peer->in);
    *peer = (struct peer){.fd = -1};
}

static void peer_init(struct peer *peer, int fd)
{
    peer->fd = fd;
    buffer_init(&peer->out, 64 << 20);
    buffer_init(&peer->in, 64 << 20);
}

/* False: the other end is over. */
static bool peer_move(struct peer *peer)
{
    size_t piece = 1 + roll(roll(4) ? 3000 : 100000);
    if (piece > peer->out.length)
        piece = peer->out.length;
    ssize_t count = piece ? send(peer->fd, peer->out.data, piece, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
    peer->moved = count > 0;
    if (count > 0)
        buffer_consume(&peer->out, (size_t)count);
    static char bytes[65536];
    count = recv(peer->fd, bytes, 1 + roll(sizeof bytes - 1), MSG_DONTWAIT);
    peer->moved |= count > 0;
    if (count > 0)
        buffer_append(&peer->in, bytes, (size_t)count);
    return count > 0 || (count < 0 && errno == EAGAIN);
}

/* ---- messages ------------------------------------------------------------------------------- */

static char body_byte(unsigned number, size_t at)
{
    return (char)('!' + (number * 31 + at * 7 + at / 251) % 90);
}

static void body_put(struct buffer *out, unsigned number, size_t length, bool chunked)
{
    for (size_t at = 0; at < length;) {
        size_t run = chunked ? 1 + roll(20000) : length;
        if (run > length - at)
            run = length - at;
        if (chunked)
            buffer_printf(out, "%zx%s\r\n", run, roll(3) ? "" : ";a=b");
        for (size_t i = 0; i < run; i++, at++)
            buffer_append(out, &(char){body_byte(number, at)}, 1);
        if (chunked)
            buffer_puts(out, "\r\n");
    }
    if (chunked)
        buffer_puts(out, "0\r\n\r\n");
}

static void framed_put(struct buffer *out, unsigned number, size_t length, bool chunked)
{
    if (chunked)
        buffer_puts(out, "Transfer-Encoding: chunked\r\n\r\n");
    else
        buffer_printf(out, "Content-Length: %zu\r\n\r\n", length);
    body_put(out, number, length, chunked);
}

static void request_put(struct buffer *out, unsigned number)
{
    size_t kind = roll(3);
    buffer_printf(out, "%s /%u HTTP/1.1\r\nHost: a\r\n", kind ? "PUT" : "GET", number);
    if (kind)
        framed_put(out, number, roll(2) ? roll(200) : roll(BODY_MAX), kind == 2);
    else
        buffer_puts(out, "\r\n");
}

/* Length of the whole message at the start of these bytes; 0: not there yet. Its body must be that
 * of `number`. */
static size_t message_check(struct buffer *in, const struct head *head, size_t head_length,
                            unsigned number)
{
    char *body = in->data + head_length;
    size_t have = in->length - head_length, used = 0, length = 0;
    if (head->body == BODY_LENGTH) {
        used = length = head->body_length;
        if (have < length)
            return 0;
    } else if (head->body == BODY_CHUNKED) {
        char *copy = malloc(have + 1), *data;
        memcpy(copy, body, have);
        struct h1_chunks chunks;
        h1_chunks_init(&chunks);
        enum h1_result result = h1_chunks_decode(&chunks, copy, have, &used, &data, &length);
        assert_int_not_equal(result, H1_BAD);
        for (size_t i = 0; i < length; i++)
            if (data[i] != body_byte(number, i))
                fail_msg("byte %zu of body %u", i, number);
        free(copy);
        return result == H1_DONE ? head_length + used : 0;
    }
    for (size_t i = 0; i < length; i++)
        if (body[i] != body_byte(number, i))
            fail_msg("byte %zu of body %u", i, number);
    return head_length + used;
}

static size_t head_find_end(const struct buffer *in)
{
    size_t scanned = 0, length = 0;
    if (!in->length || h1_head_end(in->data, in->length, &scanned, &length) != H1_DONE)
        return 0;
    return length;
}

/* ---- the origin ----------------------------------------------------------------------------- */

/* Answers a request that is there whole. True: it will end the connection after that. */
static bool origin_answer(struct peer *origin, unsigned *expected)
{
    struct field fields[FIELDS];
    struct head head = {.fields = fields, .fields_room = FIELDS};
    struct h1_refusal refusal;
    size_t length = head_find_end(&origin->in);
    if (!length)
        return false;
    assert_int_equal(h1_request_parse(origin->in.data, length, &head, &refusal), H1_DONE);
    unsigned number = (unsigned)strtoul(head.target.bytes + 1, NULL, 10);
    assert_int_equal(number, *expected);
    size_t whole = message_check(&origin->in, &head, length, number);
    if (!whole)
        return false;
    buffer_consume(&origin->in, whole);
    assert_int_equal(origin->in.length, 0); /* never more than was asked for */
    ++*expected;
    size_t kind = roll(5), size = roll(2) ? roll(200) : roll(4 * BODY_MAX);
    bool ends = kind == 4;
    buffer_printf(&origin->out, "HTTP/1.1 200 OK\r\nX-Number: %u\r\n%s", number,
                  kind == 3 ? "Connection: close\r\n" : "");
    if (ends) {
        buffer_puts(&origin->out, "\r\n");
        body_put(&origin->out, number, size, false);
    } else {
        framed_put(&origin->out, number, size, kind == 1);
    }
    return ends || kind == 3;
}

/* ---- the client ----------------------------------------------------------------------------- */

static void client_check(struct peer *client, unsigned *expected)
{
    struct field fields[FIELDS];
    for (;;) {
        struct head head = {.fields = fields, .fields_room = FIELDS};
        const char *why = NULL;
        size_t length = head_find_end(&client->in);
        if (!length)
            return;
        if (h1_response_parse(client->in.data, length, METHOD_GET, &head, &why) != H1_DONE)
            fail_msg("%s", why);
        assert_int_equal(head.status, 200);
        unsigned number = (unsigned)strtoul(head_find(&head, "x-number")->value.bytes, NULL, 10);
        assert_int_equal(number, *expected);
        size_t whole = message_check(&client->in, &head, length, number);
        if (!whole)
            return;
        buffer_consume(&client->in, whole);
        ++*expected;
    }
}

static void soak(struct rig *rig)
{
    struct peer client = {.fd = -1}, origin = {.fd = -1};
    unsigned asked = 0, answered = 0;
    bool ends = false;
    peer_init(&client, rig_client(rig));
    for (unsigned i = 0; i < REQUESTS; i++)
        request_put(&client.out, i);
    for (int idle_ms = 0; answered < REQUESTS;) {
        bool moved = client.moved || (origin.fd >= 0 && origin.moved);
        idle_ms = moved ? 0 : idle_ms + 1;
        if (idle_ms > IDLE_MS_MAX)
            fail_msg("all stands still at %u of %u, asked %u", answered, REQUESTS, asked);
        assert_true(peer_move(&client));
        client_check(&client, &answered);
        loop_turn(rig->worker.loop, moved ? 0 : 1);
        if (origin.fd < 0 && rig_origin_waits(rig, 1))
            peer_init(&origin, rig_origin(rig, 1));
        if (origin.fd < 0)
            continue;
        bool there = peer_move(&origin);
        if (there && !ends)
            ends = origin_answer(&origin, &asked);
        if (!there || (ends && !origin.out.length)) {
            peer_done(&origin);
            ends = false;
        }
    }
    assert_int_equal(asked, REQUESTS);
    assert_int_equal(client.in.length, 0);
    peer_done(&client);
    peer_done(&origin);
}

static void whatever_the_pieces_all_arrive(void **state)
{
    struct rig *rig = *state;
    rig->narrow = true;
    rig_start(rig, 1);
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        random_seed(&dice, round);
        soak(rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whatever_the_pieces_all_arrive, rig_begin, rig_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
