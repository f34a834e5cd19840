#include "gateway/relay/relay.h"

#include "base/table.h"
#include "gateway/core/tls_fake_test.h"
#include "gateway/relay/client_hello.h"
#include "gateway/relay/proxy_header.h"
#include "gateway/relay/relay_rig.h"

static uint16_t port_of(const struct sockaddr_in *address)
{
    return ntohs(address->sin_port);
}

/* A server's listening socket, as instance `number` of the service. */
static int server(struct relay_rig *rig, uint32_t service, uint32_t number)
{
    struct sockaddr_in address;
    int fd = tcp_listen(&address);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    rig_instance(rig, service, number, BOARD_UP, port_of(&address));
    return fd;
}

/* A port on which nobody listens. */
static uint16_t dead_port(void)
{
    struct sockaddr_in address;
    close(tcp_listen(&address));
    return port_of(&address);
}

/* A client's end of a connection that was handed to the relay; `text`: it has spoken before. */
static int client_saying(struct relay_rig *rig, const char *text)
{
    int theirs;
    int ours;
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    tcp_pair(&theirs, &ours);
    getpeername(ours, (struct sockaddr *)&peer, &length);
    send(theirs, text, strlen(text), 0);
    relay_accept(&rig->worker, &rig->plan, ours, (struct sockaddr *)&peer);
    return theirs;
}

static int client(struct relay_rig *rig)
{
    return client_saying(rig, "");
}

static void expect_bytes(struct relay_rig *rig, int fd, const void *wanted, size_t length)
{
    char bytes[1024];
    size_t got = 0;
    for (int i = 0; i < 200 && got < length; i++) {
        ssize_t count = recv(fd, bytes + got, sizeof bytes - got, MSG_DONTWAIT);
        if (count > 0)
            got += (size_t)count;
        else
            rig_turns(rig, 1);
    }
    assert_int_equal(got, length);
    assert_memory_equal(bytes, wanted, length);
}

static void expect(struct relay_rig *rig, int fd, const char *text)
{
    expect_bytes(rig, fd, text, strlen(text));
}

static void expect_reset(struct relay_rig *rig, int fd)
{
    char byte;
    ssize_t count = -1;
    for (int i = 0; i < 500; i++) {
        count = recv(fd, &byte, 1, MSG_DONTWAIT);
        if (count >= 0 || errno != EAGAIN)
            break;
        rig_turns(rig, 1);
    }
    assert_int_equal(count, -1);
    assert_int_equal(errno, ECONNRESET);
}

static int accepted(struct relay_rig *rig, int listener)
{
    int fd = -1;
    for (int i = 0; i < 400 && fd < 0; i++) {
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            rig_turns(rig, 1);
    }
    assert_true(fd >= 0);
    return fd;
}

static void a_connection_is_relayed_and_counted(void **state)
{
    struct relay_rig *rig = *state;
    int listener = server(rig, 0, 1);
    int client_fd = client(rig);
    int server_fd = accepted(rig, listener);
    send(client_fd, "ask", 3, 0);
    expect(rig, server_fd, "ask");
    send(server_fd, "answer", 6, 0);
    expect(rig, client_fd, "answer");
    assert_int_equal(rig_listener(rig)->connections, 1);
    assert_int_equal(rig_listener(rig)->connections_now, 1);
    assert_int_equal(rig_listener(rig)->bytes_in, 3);
    assert_int_equal(rig_service(rig, 0)->requests_now, 1);
    assert_int_equal(rig_endpoint(rig, 0, 1)->connections_now, 1);
    assert_int_equal(rig_endpoint(rig, 0, 1)->requests_now, 1);
    close(client_fd);
    close(server_fd);
    rig_turns(rig, 3);
    assert_int_equal(rig_listener(rig)->connections_now, 0);
    assert_int_equal(rig_service(rig, 0)->requests, 1);
    assert_int_equal(rig_service(rig, 0)->requests_now, 0);
    assert_int_equal(rig_service(rig, 0)->bytes_out, 6);
    assert_int_equal(rig_endpoint(rig, 0, 1)->connections_now, 0);
    assert_int_equal(rig_endpoint(rig, 0, 1)->requests_now, 0);
    assert_int_equal(rig_endpoint(rig, 0, 1)->bytes_in, 3);
    assert_int_equal(rig_endpoint(rig, 0, 1)->bytes_out, 6);
    close(listener);
}

static void who_refuses_is_passed_over(void **state)
{
    struct relay_rig *rig = *state;
    int listener = server(rig, 0, 1);
    rig_instance(rig, 0, 2, BOARD_UP, dead_port());
    for (int i = 0; i < 20; i++) {
        int client_fd = client(rig);
        int server_fd = accepted(rig, listener);
        send(server_fd, "hi", 2, 0);
        expect(rig, client_fd, "hi");
        close(client_fd);
        close(server_fd);
    }
    rig_turns(rig, 2);
    assert_true(rig_endpoint(rig, 0, 2)->failures_connect > 0);
    assert_int_equal(rig_endpoint(rig, 0, 2)->connections_now, 0);
    assert_int_equal(rig_endpoint(rig, 0, 1)->requests, 20);
    close(listener);
}

static void what_was_said_first_comes_once(void **state)
{
    struct relay_rig *rig = *state;
    int listener = server(rig, 0, 1);
    rig_instance(rig, 0, 2, BOARD_UP, dead_port());
    for (int i = 0; i < 20; i++) {
        int client_fd = client_saying(rig, "early");
        int server_fd = accepted(rig, listener);
        send(client_fd, " bird", 5, 0);
        expect(rig, server_fd, "early bird");
        shutdown(client_fd, SHUT_WR);
        send(server_fd, "worm", 4, 0);
        expect(rig, client_fd, "worm");
        close(server_fd);
        rig_turns(rig, 2);
        close(client_fd);
    }
    assert_int_equal(rig_listener(rig)->bytes_in, 200);
    assert_int_equal(rig_endpoint(rig, 0, 1)->bytes_in, 200);
    assert_true(rig_endpoint(rig, 0, 2)->failures_connect > 0);
    assert_int_equal(rig->worker.connections, 0);
    close(listener);
}

static void without_anybody_the_client_is_reset(void **state)
{
    struct relay_rig *rig = *state;
    int fd = client(rig);
    expect_reset(rig, fd);
    close(fd);
    rig_instance(rig, 0, 1, BOARD_UP, dead_port()); /* alone, and it refuses */
    fd = client(rig);
    expect_reset(rig, fd);
    close(fd);
    assert_int_equal(rig_endpoint(rig, 0, 1)->failures_connect, 3); /* 1 + 2 tries */
    assert_int_equal(rig_listener(rig)->connections_now, 0);
}

static void who_is_alone_and_restarts_is_tried_again(void **state)
{
    struct relay_rig *rig = *state;
    struct sockaddr_in address;
    int listener = tcp_listen(&address);
    close(listener);
    rig_instance(rig, 0, 1, BOARD_UP, port_of(&address));
    int client_fd = client(rig); /* refused; there is a pause before the next try */
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    listen(listener, 8);
    int server_fd = accepted(rig, listener);
    send(server_fd, "back", 4, 0);
    expect(rig, client_fd, "back");
    close(client_fd);
    close(server_fd);
    close(listener);
}

static void it_waits_for_who_is_coming(void **state)
{
    struct relay_rig *rig = *state;
    rig_coming(rig, 0, 1);
    int fds[3];
    for (int i = 0; i < 3; i++)
        fds[i] = client(rig);
    send(fds[0], "early", 5, 0);
    rig_turns(rig, 3);
    assert_int_equal(rig_service(rig, 0)->held_now, 3);
    reset_close(fds[2]); /* one does not wait */
    rig_turns(rig, 3);
    assert_int_equal(rig_service(rig, 0)->held_now, 2);
    int listener = server(rig, 0, 1);
    worker_news(&rig->worker);
    int server_fd = accepted(rig, listener);
    expect(rig, server_fd, "early");
    int other_fd = accepted(rig, listener);
    assert_int_equal(rig_service(rig, 0)->held_now, 0);
    close(server_fd);
    close(other_fd);
    close(fds[0]);
    close(fds[1]);
    close(listener);
}

static void nobody_waits_for_ever(void **state)
{
    struct relay_rig *rig = *state;
    rig->services[0].gateway.hold_ms = 50;
    rig_coming(rig, 0, 1);
    int fd = client(rig);
    expect_reset(rig, fd);
    close(fd);
    fd = client(rig); /* the end finds one that waits */
    rig_turns(rig, 1);
    close(fd);
}

/* The queue's last waiter is the last that holds an old generation, whose service is gone: neither
 * may be freed while the queue calls it. */
static void who_waits_may_be_the_last_of_its_generation(void **state)
{
    struct relay_rig *rig = *state;
    rig->services[0].gateway.hold_ms = 50;
    rig_coming(rig, 0, 1);
    int fd = client(rig);
    rig_turns(rig, 1);
    struct topology without = {.services = &rig->services[1], .service_count = 0};
    struct generation next = rig->generation;
    atomic_init(&next.refs, 2);
    next.number = 2;
    next.topology = &without;
    next.services = table_new();
    next.free = NULL;
    next.plan_count = 0;
    assert_int_equal(worker_switch(&rig->worker, &next), 0);
    expect_reset(rig, fd);
    rig_turns(rig, 2);
    assert_int_equal(atomic_load(&rig->generation.refs), 1); /* the rig's own */
    close(fd);
    relay_worker_done(&rig->worker);
    use_unref(rig->worker.current);
    rig->worker.current = NULL;
    table_free(next.services);
}

static void a_proxy_header_is_demanded_and_passed_on(void **state)
{
    struct relay_rig *rig = *state;
    static const struct network all = {.length = 0};
    int listener = server(rig, 0, 1);
    rig->listener.proxies = &all;
    rig->listener.proxy_count = 1;
    rig->services[0].gateway.proxy_protocol = 1;
    static const char header[] = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";
    int client_fd = client(rig);
    send(client_fd, header, 10, 0); /* in two parts, and more behind it */
    rig_turns(rig, 3);
    send(client_fd, header + 10, strlen(header) - 10, 0);
    send(client_fd, "data", 4, 0);
    int server_fd = accepted(rig, listener);
    expect(rig, server_fd, "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\ndata");
    close(client_fd);
    close(server_fd);
    client_fd = client(rig);
    send(client_fd, "GET / HTTP/1.0\r\n\r\n", 18, 0);
    expect_reset(rig, client_fd);
    close(client_fd);
    client_fd = client(rig); /* leaves before it has said all */
    send(client_fd, header, 10, 0);
    shutdown(client_fd, SHUT_WR);
    expect_reset(rig, client_fd);
    close(client_fd);
    assert_int_equal(rig->worker.connections, 0);
    close(listener);
}

static void without_a_header_the_sockets_addresses_are_told(void **state)
{
    struct relay_rig *rig = *state;
    int listener = server(rig, 0, 1);
    rig->services[0].gateway.proxy_protocol = 2;
    int client_fd = client(rig);
    struct sockaddr_storage own = {0};
    struct sockaddr_storage peer = {0};
    socklen_t length = sizeof own;
    getsockname(client_fd, (struct sockaddr *)&own, &length);
    length = sizeof peer;
    getpeername(client_fd, (struct sockaddr *)&peer, &length);
    uint8_t wanted[PROXY_HEADER_BYTES_MAX];
    size_t size = proxy_header_write(2, &own, &peer, wanted);
    int server_fd = accepted(rig, listener);
    expect_bytes(rig, server_fd, wanted, size);
    close(client_fd);
    close(server_fd);
    close(listener);
}

/* The least that is a ClientHello with this name. */
static size_t hello_make(const char *name, uint8_t *out)
{
    const uint8_t length = (uint8_t)strlen(name);
    const uint8_t head[] = {22, 3, 1, 0, (uint8_t)(length + 56), 1, 0, 0, (uint8_t)(length + 52),
                            3,  3};
    const uint8_t rest[] = {0,
                            0,
                            2,
                            0x13,
                            1,
                            1,
                            0,
                            0,
                            (uint8_t)(length + 9),
                            0,
                            0,
                            0,
                            (uint8_t)(length + 5),
                            0,
                            (uint8_t)(length + 3),
                            0,
                            0,
                            length};
    memcpy(out, head, sizeof head);
    memset(out + sizeof head, 7, 32);
    memcpy(out + sizeof head + 32, rest, sizeof rest);
    memcpy(out + sizeof head + 32 + sizeof rest, name, length);
    return sizeof head + 32 + sizeof rest + length;
}

static void a_name_leads_to_its_service(void **state)
{
    struct relay_rig *rig = *state;
    static const char *const exact[] = {"a.example", NULL};
    static const char *const wide[] = {"*.example", NULL};
    static const struct sni_target targets[] = {{.names = exact, .service = 0},
                                                {.names = wide, .service = 1}};
    rig->listener.snis = targets;
    rig->listener.sni_count = 2;
    rig->listener.service = UINT32_MAX;
    int listeners[] = {server(rig, 0, 1), server(rig, 1, 1)};
    static const char *const names[] = {"A.example", "b.example", "x.a.example"};
    static const int leads[] = {0, 1, 1};
    for (int i = 0; i < 3; i++) {
        uint8_t hello[512];
        size_t length = hello_make(names[i], hello);
        int client_fd = client(rig);
        send(client_fd, hello, 20, 0);
        rig_turns(rig, 3);
        send(client_fd, hello + 20, length - 20, 0);
        int server_fd = accepted(rig, listeners[leads[i]]);
        expect_bytes(rig, server_fd, hello, length);
        close(client_fd);
        close(server_fd);
    }
    uint8_t hello[512];
    size_t length = hello_make("other.test", hello);
    int client_fd = client(rig);
    send(client_fd, hello, length, 0);
    expect_reset(rig, client_fd);
    close(client_fd);
    client_fd = client(rig);
    send(client_fd, "no TLS", 6, 0);
    expect_reset(rig, client_fd);
    close(client_fd);
    close(listeners[0]);
    close(listeners[1]);
}

static void tls_ends_here_and_begins_again(void **state)
{
    struct relay_rig *rig = *state;
    int listener = server(rig, 0, 1);
    rig->plan.tls = (struct tls_server *)(void *)rig;
    int client_fd = client(rig);
    send(client_fd, "H", 1, 0);
    expect(rig, client_fd, "H");
    int server_fd = accepted(rig, listener); /* once the handshake is over */
    send(client_fd, "abc", 3, 0);
    expect(rig, server_fd, "ABC");
    close(client_fd);
    close(server_fd);
    rig_turns(rig, 3);

    rig->tls_to[0] = (struct tls_client *)(void *)rig;
    client_fd = client(rig);
    send(client_fd, "Habc", 4, 0); /* data right behind the handshake */
    server_fd = accepted(rig, listener);
    expect(rig, server_fd, "H");
    send(server_fd, "H", 1, 0);
    expect(rig, server_fd, "abc"); /* turned over twice */
    send(server_fd, "xyz", 3, 0);
    expect(rig, client_fd, "Hxyz");
    close(client_fd);
    close(server_fd);
    close(listener);
}

static void who_does_not_answer_is_given_up(void **state)
{
    struct relay_rig *rig = *state;
    struct sockaddr_in address;
    int full = tcp_listen(&address);
    listen(full, 0);
    int fillers[8];
    for (int i = 0; i < 8; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(fillers[i], (struct sockaddr *)&address, sizeof address);
    }
    rig->services[0].gateway.connect_ms = 60;
    rig_instance(rig, 0, 1, BOARD_UP, port_of(&address));
    int fd = client(rig);
    rig_turns(rig, 3);
    assert_int_equal(rig_endpoint(rig, 0, 1)->connections_now, 1);
    int listener = server(rig, 0, 2);
    int server_fd = accepted(rig, listener);
    assert_int_equal(rig_endpoint(rig, 0, 1)->failures_connect, 1);
    send(server_fd, "hi", 2, 0);
    expect(rig, fd, "hi");
    close(fd);
    close(server_fd);
    close(listener);
    for (int i = 0; i < 8; i++)
        close(fillers[i]);
    close(full);
}

static void a_cap_refuses(void **state)
{
    struct relay_rig *rig = *state;
    char byte;
    int listener = server(rig, 0, 1);
    rig->worker.connections_max = 1;
    int first = client(rig);
    int second = client(rig);
    rig_turns(rig, 2);
    assert_int_equal(recv(second, &byte, 1, MSG_DONTWAIT), 0);
    assert_int_equal(rig_listener(rig)->refused, 1);
    int server_fd = accepted(rig, listener);
    send(server_fd, "hi", 2, 0);
    expect(rig, first, "hi");
    close(first);
    close(second);
    close(server_fd);
    close(listener);
}

static void many_come_and_go(void **state)
{
    struct relay_rig *rig = *state;
    int listener = server(rig, 0, 1);
    for (int round = 0; round < 20; round++) {
        int fds[30][2];
        for (int i = 0; i < 30; i++) {
            fds[i][0] = client(rig);
            fds[i][1] = accepted(rig, listener);
            send(fds[i][0], "x", 1, 0);
        }
        for (int i = 0; i < 30; i++) {
            expect(rig, fds[i][1], "x");
            if (i % 3)
                close(fds[i][i & 1]);
            else
                reset_close(fds[i][i & 1]);
        }
        rig_turns(rig, 2);
        for (int i = 0; i < 30; i++)
            close(fds[i][!(i & 1)]);
    }
    rig_turns(rig, 3);
    assert_int_equal(rig->worker.connections, 0);
    assert_int_equal(rig_endpoint(rig, 0, 1)->requests, 600);
    assert_int_equal(rig_endpoint(rig, 0, 1)->requests_now, 0);
    close(listener);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, relay_rig_begin, relay_rig_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(a_connection_is_relayed_and_counted),
        EACH(who_refuses_is_passed_over),
        EACH(what_was_said_first_comes_once),
        EACH(without_anybody_the_client_is_reset),
        EACH(who_is_alone_and_restarts_is_tried_again),
        EACH(it_waits_for_who_is_coming),
        EACH(nobody_waits_for_ever),
        EACH(who_waits_may_be_the_last_of_its_generation),
        EACH(a_proxy_header_is_demanded_and_passed_on),
        EACH(without_a_header_the_sockets_addresses_are_told),
        EACH(a_name_leads_to_its_service),
        EACH(tls_ends_here_and_begins_again),
        EACH(who_does_not_answer_is_given_up),
        EACH(a_cap_refuses),
        EACH(many_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
