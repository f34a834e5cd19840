#include "gateway/core/stream.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/core/tls_fake_test.h"

static struct loop *loop;
static unsigned seen; /* events, and how often */
static int calls;

static void note(struct stream *stream, unsigned events)
{
    (void)stream;
    seen |= events;
    calls++;
}

static void turn(int wait_ms)
{
    seen = 0;
    calls = 0;
    assert_int_equal(loop_turn(loop, wait_ms), 0);
}

static int setup(void **state)
{
    (void)state;
    loop = loop_new();
    return loop ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    loop_free(loop);
    return 0;
}

/* A listening socket of 127.0.0.1 on a port of the kernel's choice. */
static int listener(struct sockaddr_in *ret_address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *ret_address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof *ret_address;
    assert_int_equal(bind(fd, (struct sockaddr *)ret_address, length), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)ret_address, &length), 0);
    return fd;
}

/* A stream that was accepted; the other end blocks. */
static int tcp_pair(struct stream *stream)
{
    struct sockaddr_in address;
    int fd = listener(&address);
    int other = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(other, (struct sockaddr *)&address, sizeof address), 0);
    stream_init(stream, loop, accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), note);
    assert_true(stream->fd >= 0);
    close(fd);
    return other;
}

static void a_connection_is_made_and_read(void **state)
{
    (void)state;
    struct sockaddr_in address;
    struct stream stream;
    char bytes[8];
    int fd = listener(&address);
    assert_int_equal(
        stream_connect(&stream, loop, (struct sockaddr *)&address, sizeof address, note), 0);
    assert_int_equal(stream_connected(&stream), 0);
    int other = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    send(other, "first", 5, 0);                                           /* before anybody reads */
    assert_int_equal(stream_read(&stream, bytes, sizeof bytes), -EAGAIN); /* only registers */
    turn(1000);
    assert_int_equal(calls, 1);
    assert_int_equal(stream_read(&stream, bytes, sizeof bytes), 5);
    stream_close(&stream, false);
    close(other);
    close(fd);
}

static void a_short_exchange_never_meets_epoll(void **state)
{
    (void)state;
    struct stream stream;
    int other = tcp_pair(&stream);
    char bytes[64];
    assert_int_equal(send(other, "hello", 5, 0), 5);
    assert_int_equal(stream_read(&stream, bytes, sizeof bytes), 5);
    assert_int_equal(stream_write(&stream, "world", 5, false), 5);
    assert_int_equal(recv(other, bytes, sizeof bytes, 0), 5);
    assert_memory_equal(bytes, "world", 5);
    assert_false(stream.watch.active);
    stream_close(&stream, false);
    assert_int_equal(recv(other, bytes, sizeof bytes, 0), 0);
    close(other);
}

static void what_comes_before_it_is_registered_is_told_of(void **state)
{
    (void)state;
    struct stream stream;
    int other = tcp_pair(&stream);
    char bytes[64];
    send(other, "one", 3, 0);
    assert_int_equal(stream_read(&stream, bytes, sizeof bytes), 3);
    send(other, "two", 3, 0); /* the short read is not believed about what comes later */
    shutdown(other, SHUT_WR);
    assert_int_equal(stream_read(&stream, bytes, sizeof bytes), -EAGAIN);
    assert_true(stream.watch.active);
    turn(1000);
    assert_int_equal(seen & (WATCH_READ | WATCH_PEER_ENDED), WATCH_READ | WATCH_PEER_ENDED);
    assert_int_equal(stream_read(&stream, bytes, sizeof bytes), 3);
    assert_int_equal(stream_read(&stream, bytes, sizeof bytes), 0);
    assert_true(stream.ended);
    assert_int_equal(stream_read(&stream, bytes, sizeof bytes), 0);
    stream_close(&stream, false);
    close(other);
}

static void a_registered_stream_is_called_once_for_each_change(void **state)
{
    (void)state;
    struct stream stream;
    int other = tcp_pair(&stream);
    char bytes[64];
    assert_int_equal(stream_read(&stream, bytes, sizeof bytes), -EAGAIN);
    turn(0);
    assert_int_equal(calls, 0); /* room to write is nothing new */
    for (int i = 0; i < 3; i++) {
        send(other, "x", 1, 0);
        turn(1000);
        assert_int_equal(calls, 1);
        turn(0);
        assert_int_equal(calls, 0); /* an edge */
        assert_int_equal(stream_read(&stream, bytes, sizeof bytes), 1);
        assert_int_equal(stream_read(&stream, bytes, sizeof bytes), -EAGAIN);
    }
    stream_close(&stream, false);
    close(other);
}

static void a_full_socket_blocks_and_is_told_of_room(void **state)
{
    (void)state;
    struct stream stream;
    int other = tcp_pair(&stream);
    enum { MUCH = 16 << 20 };
    char *bytes = calloc(1, MUCH);
    ssize_t taken = stream_write(&stream, bytes, MUCH, false);
    assert_in_range(taken, 1, MUCH - 1);
    assert_true(stream.watch.active); /* a short write is registered by itself */
    assert_int_equal(stream_write(&stream, bytes, MUCH, false), -EAGAIN);
    turn(0);
    turn(0);
    assert_true(stream.write_blocked);
    ssize_t received = 0;
    while (received < taken)
        received += recv(other, bytes, MUCH, 0);
    while (stream.write_blocked)
        turn(1000);
    assert_int_equal(seen & WATCH_WRITE, WATCH_WRITE);
    const struct iovec parts[] = {{bytes, 3}, {bytes, 0}, {bytes, 4}};
    assert_int_equal(stream_writev(&stream, parts, 3, false), 7);
    free(bytes);
    stream_close(&stream, true);
    close(other);
}

static void a_refused_connection_says_so(void **state)
{
    (void)state;
    struct sockaddr_in address;
    int fd = listener(&address);
    close(fd);
    struct stream stream;
    int error = stream_connect(&stream, loop, (struct sockaddr *)&address, sizeof address, note);
    if (!error) {
        error = stream_connected(&stream);
        stream_close(&stream, false);
    }
    assert_int_equal(error, -ECONNREFUSED);
}

static void a_connection_under_way_is_told_of(void **state)
{
    (void)state;
    struct sockaddr_in address;
    int fd = listener(&address);
    listen(fd, 0);
    struct stream streams[8];
    int waiting = -1;
    /* A full backlog: the kernel drops the SYN and the connection stays under way. */
    for (int i = 0; i < 8; i++) {
        stream_connect(&streams[i], loop, (struct sockaddr *)&address, sizeof address, note);
        if (waiting < 0 && stream_connected(&streams[i]) == -EAGAIN)
            waiting = i;
    }
    assert_true(waiting >= 0);
    assert_int_equal(stream_write(&streams[waiting], "x", 1, false), -EAGAIN);
    turn(0);
    assert_true(streams[waiting].write_blocked);
    for (int i = 0; i < waiting; i++)
        close(accept4(fd, NULL, NULL, SOCK_CLOEXEC));
    for (int i = 0; i < 40 && streams[waiting].write_blocked; i++)
        turn(100); /* the SYN is sent again after a second */
    assert_int_equal(stream_connected(&streams[waiting]), 0);
    assert_int_equal(stream_write(&streams[waiting], "x", 1, false), 1);
    for (int i = 0; i < 8; i++)
        stream_close(&streams[i], true);
    close(fd);
}

static void a_reset_is_a_reset(void **state)
{
    (void)state;
    struct stream stream;
    int other = tcp_pair(&stream);
    char bytes[4];
    stream_close(&stream, true);
    assert_int_equal(recv(other, bytes, sizeof bytes, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    close(other);

    other = tcp_pair(&stream);
    assert_int_equal(stream_watch(&stream), 0);
    turn(1000);
    setsockopt(other, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(other);
    turn(1000);
    assert_int_equal(seen & WATCH_ERROR, WATCH_ERROR);
    assert_int_equal(stream_read(&stream, bytes, sizeof bytes), -ECONNRESET);
    stream_close(&stream, false);
}

static void half_an_end_leaves_the_other_half(void **state)
{
    (void)state;
    struct stream stream;
    int other = tcp_pair(&stream);
    char bytes[4];
    stream_shutdown(&stream);
    assert_true(stream.shut);
    assert_int_equal(recv(other, bytes, sizeof bytes, 0), 0);
    send(other, "ab", 2, 0);
    assert_int_equal(stream_read(&stream, bytes, sizeof bytes), 2);
    stream_close(&stream, false);
    stream_close(&stream, false); /* a closed one is accepted */
    close(other);
}

static void small_writes_are_prompt_from_the_second_on(void **state)
{
    (void)state;
    struct stream stream;
    int other = tcp_pair(&stream);
    int on = -1;
    socklen_t length = sizeof on;
    stream_write(&stream, "a", 1, false);
    getsockopt(stream.fd, IPPROTO_TCP, TCP_NODELAY, &on, &length);
    assert_int_equal(on, 0);
    stream_write(&stream, "b", 1, false);
    getsockopt(stream.fd, IPPROTO_TCP, TCP_NODELAY, &on, &length);
    assert_true(on != 0);
    stream_close(&stream, false);
    close(other);
}

static int other_calls;
static void note_other(struct stream *stream, unsigned events)
{
    (void)stream;
    (void)events;
    other_calls++;
}

static void a_moved_stream_loses_nothing(void **state)
{
    (void)state;
    struct stream stream;
    struct stream moved;
    int other = tcp_pair(&stream);
    char bytes[16];
    assert_int_equal(stream_read(&stream, bytes, sizeof bytes), -EAGAIN);
    turn(1000);
    send(other, "late", 4, 0);
    stream_move(&moved, &stream, note_other); /* before the loop told of it */
    assert_int_equal(stream.fd, -1);
    stream_close(&stream, true);
    other_calls = 0;
    turn(1000);
    assert_int_equal(calls, 0);
    assert_int_equal(other_calls, 1);
    assert_int_equal(stream_read(&moved, bytes, sizeof bytes), 4);
    stream_close(&moved, false);
    close(other);
}

/* Both ends are streams here: the handshake goes on inside of reads and writes, in any order. */
static void tls_is_spoken_inside_of_reads_and_writes(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    struct stream client;
    struct stream server;
    stream_init(&client, loop, ends[0], note);
    stream_init(&server, loop, ends[1], note);
    assert_int_equal(stream_tls_connect(&client, NULL, "a.example"), 0);
    assert_int_equal(stream_tls_accept(&server, NULL), 0);
    char bytes[16];
    assert_int_equal(stream_read(&server, bytes, sizeof bytes), -EAGAIN);
    assert_int_equal(stream_write(&client, "abcd", 4, false), -EAGAIN); /* waits for a read */
    assert_true(client.write_crossed);
    turn(1000);
    assert_int_equal(stream_read(&server, bytes, sizeof bytes), -EAGAIN);
    while (client.write_blocked)
        turn(1000);
    assert_int_equal(stream_write(&client, "abcd", 4, false), 4);
    turn(1000);
    assert_int_equal(stream_read(&server, bytes, sizeof bytes), 4);
    assert_memory_equal(bytes, "abcd", 4);
    assert_int_equal(stream_read(&server, bytes, sizeof bytes), -EAGAIN);
    stream_shutdown(&client);
    turn(1000);
    assert_int_equal(stream_read(&server, bytes, sizeof bytes), 0);
    stream_close(&client, false);
    stream_close(&server, false);
}

static void a_close_notify_waits_for_room(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    struct stream stream;
    stream_init(&stream, loop, ends[0], note);
    assert_int_equal(stream_tls_connect(&stream, NULL, NULL), 0);
    send(ends[1], "H", 1, 0);
    static char bytes[64 * 1024];
    memset(bytes, 'a', sizeof bytes);
    while (stream_write(&stream, bytes, sizeof bytes, false) > 0)
        ;
    stream_shutdown(&stream);
    assert_true(stream.shut_blocked);
    ssize_t count;
    char last = 0;
    while ((count = recv(ends[1], bytes, sizeof bytes, 0)) > 0)
        last = bytes[count - 1];
    assert_int_equal(errno, EAGAIN); /* no FIN without it */
    turn(1000);
    turn(0);
    while ((count = recv(ends[1], bytes, sizeof bytes, 0)) > 0)
        last = bytes[count - 1];
    assert_int_equal(count, 0);
    assert_int_equal(last, 'E');
    stream_close(&stream, false);
    close(ends[1]);
}

/* connect(2) says EAGAIN there, which is not the EAGAIN of others: nothing is under way. */
static void a_unix_socket_whose_queue_is_full_refuses(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "enginx-stream-%d", getpid());
    int full = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(full, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(full, 0), 0);
    struct stream streams[4];
    int error = 0;
    size_t count = 0;
    while (count < 4 && !error) {
        error = stream_connect(&streams[count], loop, (struct sockaddr *)&address, sizeof address,
                               note);
        count += !error;
    }
    assert_int_equal(error, -ECONNREFUSED);
    assert_false(stream_error_ours(error));
    assert_true(stream_error_ours(-EMFILE));
    while (count)
        stream_close(&streams[--count], false);
    close(full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_connection_is_made_and_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_short_exchange_never_meets_epoll, setup, teardown),
        cmocka_unit_test_setup_teardown(what_comes_before_it_is_registered_is_told_of, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_registered_stream_is_called_once_for_each_change, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_full_socket_blocks_and_is_told_of_room, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_connection_says_so, setup, teardown),
        cmocka_unit_test_setup_teardown(a_unix_socket_whose_queue_is_full_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(a_connection_under_way_is_told_of, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reset_is_a_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(half_an_end_leaves_the_other_half, setup, teardown),
        cmocka_unit_test_setup_teardown(small_writes_are_prompt_from_the_second_on, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_moved_stream_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(tls_is_spoken_inside_of_reads_and_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_close_notify_waits_for_room, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
