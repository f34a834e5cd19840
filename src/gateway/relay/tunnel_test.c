#include "gateway/relay/tunnel.h"

#include <signal.h>
#include <sys/resource.h>

#include "gateway/core/tls_fake_test.h"
#include "gateway/relay/fixture_test.h"

static struct worker worker;
static struct relay_worker relay;
static struct tunnel_end last;
static int overs;
static tally_count in;
static tally_count out;
static int fds_before;

static void over(void *owner, const struct tunnel_end *end)
{
    assert_ptr_equal(owner, &worker);
    last = *end;
    overs++;
}

static int setup(void **state)
{
    (void)state;
    signal(SIGPIPE, SIG_IGN);
    fds_before = fds_open();
    worker = (struct worker){.loop = loop_new(), .relay = &relay};
    worker.input = malloc(WORKER_INPUT_BYTES);
    relay = (struct relay_worker){0};
    tunnels_init(&relay, &worker);
    overs = 0;
    in = 0;
    out = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tunnels_done(&relay);
    pipes_done(&worker.pipes);
    free(worker.input);
    loop_free(worker.loop);
    assert_int_equal(fds_open(), fds_before);
    return 0;
}

/* A tunnel between two TCP connections; the tests hold its far ends. */
static struct tunnel *tunnel_between(int *ret_client, int *ret_upstream, uint32_t idle_ms)
{
    int fds[2];
    struct stream streams[2];
    tcp_pair(ret_client, &fds[0]);
    tcp_pair(ret_upstream, &fds[1]);
    stream_init(&streams[0], worker.loop, fds[0], NULL);
    stream_init(&streams[1], worker.loop, fds[1], NULL);
    const struct tunnel_setup setup_of = {
        .worker = &worker,
        .client = &streams[0],
        .upstream = &streams[1],
        .idle_ms = idle_ms,
        .bytes_in = &in,
        .bytes_out = &out,
        .over = over,
        .owner = &worker,
    };
    struct tunnel *tunnel = tunnel_new(&setup_of);
    assert_non_null(tunnel);
    assert_int_equal(streams[0].fd, -1);
    return tunnel;
}

static void turns(int count)
{
    while (count--)
        assert_int_equal(loop_turn(worker.loop, 5), 0);
}

static void expect(int fd, const char *text)
{
    char bytes[64] = "";
    turns(4);
    assert_int_equal(recv(fd, bytes, sizeof bytes, MSG_DONTWAIT), strlen(text));
    assert_string_equal(bytes, text);
}

static void small_messages_go_both_ways(void **state)
{
    (void)state;
    int client;
    int upstream;
    tunnel_between(&client, &upstream, 0);
    for (int i = 0; i < 5; i++) {
        send(client, "ask", 3, 0);
        expect(upstream, "ask");
        send(upstream, "answer", 6, 0);
        expect(client, "answer");
    }
    assert_int_equal(in, 15);
    assert_int_equal(out, 30);
    assert_null(worker.pipes.count ? &worker : NULL); /* nothing was spliced */
    close(client);
    close(upstream);
    turns(3);
    assert_int_equal(overs, 1);
    assert_string_equal(last.how, "closed");
    assert_int_equal(last.bytes_in, 15);
    assert_int_equal(last.bytes_out, 30);
    assert_false(last.upstream_failed);
}

static void what_was_read_before_goes_first(void **state)
{
    (void)state;
    int ours[2];
    int client;
    int upstream;
    struct stream streams[2];
    tcp_pair(&client, &ours[0]);
    tcp_pair(&upstream, &ours[1]);
    stream_init(&streams[0], worker.loop, ours[0], NULL);
    stream_init(&streams[1], worker.loop, ours[1], NULL);
    send(client, " world", 6, 0);
    const struct tunnel_setup setup_of = {.worker = &worker,
                                          .client = &streams[0],
                                          .upstream = &streams[1],
                                          .client_ahead = "hello",
                                          .client_ahead_length = 5,
                                          .upstream_ahead = "hi",
                                          .upstream_ahead_length = 2,
                                          .over = over,
                                          .owner = &worker};
    assert_non_null(tunnel_new(&setup_of));
    expect(upstream, "hello world");
    expect(client, "hi");
    close(client);
    close(upstream);
    turns(3);
    assert_int_equal(last.bytes_in, 11);
}

static void half_an_end_is_passed_on(int which)
{
    int ends[2];
    char byte;
    tunnel_between(&ends[0], &ends[1], 0);
    send(ends[which], "last", 4, 0);
    shutdown(ends[which], SHUT_WR);
    expect(ends[!which], "last");
    assert_int_equal(recv(ends[!which], &byte, 1, MSG_DONTWAIT), 0);
    send(ends[!which], "late", 4, 0);
    expect(ends[which], "late");
    assert_int_equal(overs, which);
    close(ends[!which]);
    turns(3);
    assert_int_equal(overs, which + 1);
    assert_string_equal(last.how, "closed");
    assert_int_equal(recv(ends[which], &byte, 1, MSG_DONTWAIT), 0);
    close(ends[which]);
}

static void half_an_end_is_passed_on_either_way(void **state)
{
    (void)state;
    half_an_end_is_passed_on(0);
    half_an_end_is_passed_on(1);
}

static void a_reset_is_passed_on_as_one(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++) {
        int ends[2];
        char byte;
        tunnel_between(&ends[0], &ends[1], 0);
        send(ends[0], "x", 1, 0);
        expect(ends[1], "x");
        reset_close(ends[which]);
        turns(3);
        assert_int_equal(overs, which + 1);
        assert_string_equal(last.how, which ? "reset by upstream" : "reset by client");
        assert_int_equal(last.upstream_failed, which);
        assert_int_equal(recv(ends[!which], &byte, 1, MSG_DONTWAIT), -1);
        assert_int_equal(errno, ECONNRESET);
        close(ends[!which]);
    }
}

struct party { /* one far end: sends `size` bytes, checks what it gets */
    int fd;
    uint64_t sent;
    uint64_t got;
};

static char scratch[256 * 1024];

static void party_send(struct party *party, uint64_t size)
{
    while (party->sent < size) {
        size_t part = sizeof scratch;
        if (part > size - party->sent)
            part = (size_t)(size - party->sent);
        for (size_t i = 0; i < part; i++)
            scratch[i] = text_at(party->sent + i);
        ssize_t count = send(party->fd, scratch, part, MSG_DONTWAIT);
        if (count < 0)
            return;
        party->sent += (uint64_t)count;
    }
}

static bool party_receive(struct party *party)
{
    ssize_t count;
    while ((count = recv(party->fd, scratch, sizeof scratch, MSG_DONTWAIT)) > 0) {
        for (ssize_t i = 0; i < count; i++)
            if (scratch[i] != text_at(party->got + (uint64_t)i))
                fail_msg("byte %llu is wrong", (unsigned long long)party->got + (size_t)i);
        party->got += (uint64_t)count;
    }
    return count == 0;
}

static void bulk_both_ways(uint64_t size)
{
    struct party parties[2] = {0};
    tunnel_between(&parties[0].fd, &parties[1].fd, 0);
    int before = overs;
    bool ended[2] = {false, false};
    for (int round = 0; round < 100000 && !(ended[0] && ended[1]); round++) {
        for (int i = 0; i < 2; i++) {
            if (parties[i].sent < size) {
                party_send(&parties[i], size);
                if (parties[i].sent == size)
                    shutdown(parties[i].fd, SHUT_WR);
            }
            ended[i] = ended[i] || party_receive(&parties[i]);
        }
        loop_turn(worker.loop, 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_true(ended[i]);
        assert_int_equal(parties[i].got, size);
        close(parties[i].fd);
    }
    turns(2);
    assert_int_equal(overs, before + 1);
    assert_string_equal(last.how, "closed");
    assert_int_equal(last.bytes_in, size);
    assert_int_equal(last.bytes_out, size);
}

static void bulk_goes_both_ways_unchanged_and_is_spliced(void **state)
{
    (void)state;
    bulk_both_ways(64 << 20);
    assert_true(worker.pipes.count > 0);
    for (uint64_t size = 1; size < 600000; size = size * 3 + 1)
        bulk_both_ways(size);
}

static void without_a_pipe_it_is_copied(void **state)
{
    (void)state;
    struct party parties[2] = {0};
    tunnel_between(&parties[0].fd, &parties[1].fd, 0);
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    const struct rlimit none = {.rlim_cur = 3, .rlim_max = limit.rlim_max};
    setrlimit(RLIMIT_NOFILE, &none);
    bool ended = false;
    for (int round = 0; round < 100000 && !ended; round++) {
        party_send(&parties[0], 8 << 20);
        party_receive(&parties[1]);
        ended = parties[1].got == 8 << 20;
        loop_turn(worker.loop, 0);
    }
    assert_int_equal(parties[1].got, 8 << 20);
    assert_int_equal(worker.pipes.count, 0);
    setrlimit(RLIMIT_NOFILE, &limit);
    close(parties[0].fd);
    close(parties[1].fd);
    turns(2);
}

/* Sends until nothing goes any more. */
static void fill(struct party *party)
{
    uint64_t before = 0;
    for (int still = 0; still < 100; still++) {
        party_send(party, 1u << 30);
        loop_turn(worker.loop, 1);
        if (before != party->sent)
            still = 0;
        before = party->sent;
    }
}

static void who_does_not_read_stops_who_sends(void **state)
{
    (void)state;
    struct party parties[2] = {0};
    tunnel_between(&parties[0].fd, &parties[1].fd, 0);
    fill(&parties[0]);
    assert_in_range(parties[0].sent, 1, 64 << 20);
    /* The other direction does not care. */
    send(parties[1].fd, "still", 5, 0);
    expect(parties[0].fd, "still");
    uint64_t sent = parties[0].sent;
    shutdown(parties[0].fd, SHUT_WR);
    while (!party_receive(&parties[1]))
        loop_turn(worker.loop, 1);
    assert_int_equal(parties[1].got, sent);
    close(parties[0].fd);
    close(parties[1].fd);
    turns(2);
    assert_int_equal(overs, 1);
}

static void a_reset_is_seen_while_the_other_side_is_full(void **state)
{
    (void)state;
    struct party parties[2] = {0};
    tunnel_between(&parties[0].fd, &parties[1].fd, 0);
    /* Not more than our side's kernel has room for: to a closed window a RST does not get. */
    for (uint64_t before = 1; before != in;) {
        before = in;
        party_send(&parties[0], parties[0].sent + 32 * 1024);
        turns(3);
    }
    reset_close(parties[0].fd);
    turns(3);
    assert_int_equal(overs, 1);
    assert_string_equal(last.how, "reset by client");
    close(parties[1].fd);
}

static void a_quiet_tunnel_ends_and_a_busy_one_does_not(void **state)
{
    (void)state;
    int ends[4];
    char byte;
    tunnel_between(&ends[0], &ends[1], 600);
    tunnel_between(&ends[2], &ends[3], 600);
    for (int i = 0; i < 20; i++) {
        send(ends[2], "x", 1, 0);
        assert_int_equal(usleep(60000), 0);
        turns(2);
    }
    assert_int_equal(overs, 1);
    assert_string_equal(last.how, "idle");
    assert_int_equal(recv(ends[0], &byte, 1, MSG_DONTWAIT), 0);
    assert_int_equal(recv(ends[1], &byte, 1, MSG_DONTWAIT), 0);
    assert_int_equal(recv(ends[2], &byte, 1, MSG_DONTWAIT), -1);
    for (int i = 0; i < 4; i++)
        close(ends[i]);
    turns(2);
    assert_int_equal(overs, 2);
}

static void a_cut_tunnel_is_down(void **state)
{
    (void)state;
    int client;
    int upstream;
    char byte;
    struct tunnel *tunnel = tunnel_between(&client, &upstream, 0);
    turns(2);
    tunnel_cut(tunnel);
    assert_int_equal(overs, 1);
    assert_string_equal(last.how, "down");
    assert_int_equal(recv(client, &byte, 1, MSG_DONTWAIT), 0);
    close(client);
    close(upstream);
    tunnel_between(&client, &upstream, 0); /* teardown cuts this one */
    close(client);
    close(upstream);
}

static void an_upstream_that_refuses_is_a_failure(void **state)
{
    (void)state;
    struct sockaddr_in address;
    close(tcp_listen(&address));
    int client;
    int ours;
    struct stream streams[2];
    tcp_pair(&client, &ours);
    stream_init(&streams[0], worker.loop, ours, NULL);
    if (stream_connect(&streams[1], worker.loop, (struct sockaddr *)&address, sizeof address,
                       NULL)) {
        skip();
    }
    const struct tunnel_setup setup_of = {.worker = &worker,
                                          .client = &streams[0],
                                          .upstream = &streams[1],
                                          .over = over,
                                          .owner = &worker};
    tunnel_new(&setup_of);
    turns(3);
    assert_int_equal(overs, 1);
    assert_true(last.upstream_failed);
    close(client);
}

/* TLS to the upstream (a fake one): its handshake goes on inside of the tunnel, and the end is a
 * close_notify before the FIN. */
static void tls_may_be_on_a_side(void **state)
{
    (void)state;
    int ours[2];
    int client;
    int upstream;
    struct stream streams[2];
    tcp_pair(&client, &ours[0]);
    tcp_pair(&upstream, &ours[1]);
    stream_init(&streams[0], worker.loop, ours[0], NULL);
    stream_init(&streams[1], worker.loop, ours[1], NULL);
    assert_int_equal(stream_tls_connect(&streams[1], NULL, "a"), 0);
    const struct tunnel_setup setup_of = {.worker = &worker,
                                          .client = &streams[0],
                                          .upstream = &streams[1],
                                          .over = over,
                                          .owner = &worker};
    assert_non_null(tunnel_new(&setup_of));
    send(client, "abc", 3, 0);
    expect(upstream, "H");
    send(upstream, "H", 1, 0);
    expect(upstream, "ABC");
    send(upstream, "XYZ", 3, 0);
    expect(client, "xyz");
    shutdown(client, SHUT_WR);
    expect(upstream, "E");
    send(upstream, "E", 1, 0);
    shutdown(upstream, SHUT_WR);
    turns(3);
    assert_int_equal(overs, 1);
    assert_string_equal(last.how, "closed");
    close(client);
    close(upstream);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(small_messages_go_both_ways),
        EACH(what_was_read_before_goes_first),
        EACH(half_an_end_is_passed_on_either_way),
        EACH(a_reset_is_passed_on_as_one),
        EACH(bulk_goes_both_ways_unchanged_and_is_spliced),
        EACH(without_a_pipe_it_is_copied),
        EACH(who_does_not_read_stops_who_sends),
        EACH(a_reset_is_seen_while_the_other_side_is_full),
        EACH(a_quiet_tunnel_ends_and_a_busy_one_does_not),
        EACH(a_cut_tunnel_is_down),
        EACH(an_upstream_that_refuses_is_a_failure),
        EACH(tls_may_be_on_a_side),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
