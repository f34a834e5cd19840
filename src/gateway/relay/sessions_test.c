#include "gateway/relay/sessions.h"

#include <arpa/inet.h>
#include <netinet/udp.h>

#include "base/table.h"
#include <stdio.h>

#include "gateway/relay/relay_rig.h"
#include "gateway/relay/relay_worker.h"
#include "gateway/relay/will.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

static struct sessions *sessions;
static int listener = -1;
static struct sockaddr_in listens_at;

static int udp_socket(const char *host, struct sockaddr_in *ret_address)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    assert_int_equal(inet_pton(AF_INET, host, &address.sin_addr), 1);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    getsockname(fd, (struct sockaddr *)&address, &length);
    if (ret_address)
        *ret_address = address;
    return fd;
}

/* The listener, on all addresses. */
static void start(struct relay_rig *rig)
{
    rig->listener.protocol = PROTOCOL_UDP;
    listener = udp_socket("0.0.0.0", &listens_at);
    listens_at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sessions = sessions_new(&rig->worker, &rig->plan, listener);
    assert_non_null(sessions);
}

static int begin(void **state)
{
    int result = relay_rig_begin(state);
    struct relay_rig *rig = *state;
    rig->listener.idle_ms = 60000;
    return result;
}

static int end(void **state)
{
    struct relay_rig *rig = *state;
    sessions_free(sessions);
    sessions = NULL;
    close(listener);
    for (uint32_t number = 1; number <= 3; number++) {
        assert_int_equal(rig_endpoint(rig, 0, number)->connections_now, 0);
        assert_int_equal(rig_endpoint(rig, 0, number)->requests_now, 0);
    }
    assert_int_equal(rig_listener(rig)->connections_now, 0);
    assert_int_equal(rig_service(rig, 0)->requests_now, 0);
    return relay_rig_end(state);
}

static int server(struct relay_rig *rig, uint32_t number)
{
    struct sockaddr_in address;
    int fd = udp_socket("127.0.0.1", &address);
    rig_instance(rig, 0, number, BOARD_UP, ntohs(address.sin_port));
    return fd;
}

static int client(const char *host)
{
    int fd = udp_socket(host, NULL);
    assert_int_equal(connect(fd, (struct sockaddr *)&listens_at, sizeof listens_at), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), 0), strlen(text));
}

/* The text that comes to a server; answers go to *ret_from. */
static void hear(struct relay_rig *rig, int fd, const char *text, struct sockaddr_in *ret_from)
{
    char bytes[256] = "";
    socklen_t length = sizeof *ret_from;
    ssize_t count = -1;
    for (int i = 0; i < 50 && count < 0; i++) {
        rig_turns(rig, 1);
        count = recvfrom(fd, bytes, sizeof bytes - 1, 0, (struct sockaddr *)ret_from,
                         ret_from ? &length : NULL);
    }
    assert_int_equal(count, strlen(text));
    assert_string_equal(bytes, text);
}

static void hear_nothing(struct relay_rig *rig, int fd)
{
    char byte;
    rig_turns(rig, 3);
    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
}

static void answer(int fd, const struct sockaddr_in *to, const char *text)
{
    assert_int_equal(sendto(fd, text, strlen(text), 0, (const struct sockaddr *)to, sizeof *to),
                     strlen(text));
}

static void each_client_has_a_session_of_its_own(void **state)
{
    struct relay_rig *rig = *state;
    start(rig);
    int server_fd = server(rig, 1);
    int clients[2] = {client("127.0.0.1"), client("127.0.0.1")};
    struct sockaddr_in from[2];
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 2; i++) {
            struct sockaddr_in at;
            say(clients[i], i ? "one" : "zero");
            hear(rig, server_fd, i ? "one" : "zero", &at);
            if (round)
                assert_int_equal(at.sin_port, from[i].sin_port);
            from[i] = at;
        }
        assert_int_not_equal(from[0].sin_port, from[1].sin_port);
        answer(server_fd, &from[1], "to one");
        answer(server_fd, &from[0], "to zero");
        hear(rig, clients[0], "to zero", NULL);
        hear(rig, clients[1], "to one", NULL);
    }
    assert_int_equal(rig_listener(rig)->connections_now, 2);
    assert_int_equal(rig_listener(rig)->connections, 2);
    assert_int_equal(rig_listener(rig)->bytes_in, 21);
    assert_int_equal(rig_endpoint(rig, 0, 1)->bytes_out, 39);
    assert_int_equal(rig_endpoint(rig, 0, 1)->requests_now, 2);
    close(clients[0]);
    close(clients[1]);
    close(server_fd);
}

static void answers_leave_from_the_address_asked(void **state)
{
    struct relay_rig *rig = *state;
    start(rig);
    int server_fd = server(rig, 1);
    int fd = udp_socket("127.0.0.1", NULL); /* not connected: it would take no other answer */
    struct sockaddr_in other = listens_at;
    struct sockaddr_in from;
    inet_pton(AF_INET, "127.5.6.7", &other.sin_addr);
    answer(fd, &other, "ask");
    hear(rig, server_fd, "ask", &from);
    answer(server_fd, &from, "answer");
    hear(rig, fd, "answer", &from);
    assert_int_equal(from.sin_addr.s_addr, other.sin_addr.s_addr);
    assert_int_equal(from.sin_port, other.sin_port);
    close(fd);
    close(server_fd);
}

static void it_works_on_ipv6_and_ipv4_at_once(void **state)
{
    struct relay_rig *rig = *state;
    rig->listener.protocol = PROTOCOL_UDP;
    struct sockaddr_in6 all = {.sin6_family = AF_INET6};
    socklen_t length = sizeof all;
    listener = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&all, sizeof all))
        skip();
    getsockname(listener, (struct sockaddr *)&all, &length);
    sessions = sessions_new(&rig->worker, &rig->plan, listener);
    int server_fd = server(rig, 1);
    struct sockaddr_in from;

    int four = udp_socket("127.0.0.1", NULL);
    listens_at.sin_port = all.sin6_port;
    inet_pton(AF_INET, "127.9.9.9", &listens_at.sin_addr);
    answer(four, &listens_at, "four");
    hear(rig, server_fd, "four", &from);
    answer(server_fd, &from, "back");
    hear(rig, four, "back", &from);
    assert_int_equal(from.sin_addr.s_addr, listens_at.sin_addr.s_addr);

    int six = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    all.sin6_addr = in6addr_loopback;
    if (connect(six, (struct sockaddr *)&all, sizeof all) == 0) {
        say(six, "six");
        hear(rig, server_fd, "six", &from);
        answer(server_fd, &from, "back");
        hear(rig, six, "back", NULL);
    }
    close(six);
    close(four);
    close(server_fd);
}

static void many_clients_many_datagrams(void **state)
{
    struct relay_rig *rig = *state;
    enum { CLIENTS = 200, EACH_ONE = 5 };
    start(rig);
    int servers[2] = {server(rig, 1), server(rig, 2)};
    static int clients[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = client("127.0.0.1");
    for (int i = 0; i < EACH_ONE * CLIENTS; i++) {
        char text[32];
        snprintf(text, sizeof text, "%d", i);
        say(clients[i % CLIENTS], text);
        if (i % 100 == 99)
            rig_turns(rig, 1);
        for (int which = 0; which < 2; which++) { /* an echo */
            char bytes[64];
            struct sockaddr_in from;
            socklen_t length = sizeof from;
            ssize_t count;
            while ((count = recvfrom(servers[which], bytes, sizeof bytes, 0,
                                     (struct sockaddr *)&from, &length)) > 0)
                sendto(servers[which], bytes, (size_t)count, 0, (struct sockaddr *)&from, length);
        }
    }
    rig_turns(rig, 3);
    for (int i = 0; i < CLIENTS; i++) {
        for (int j = 0; j < EACH_ONE; j++) {
            char text[32];
            char bytes[32] = "";
            snprintf(text, sizeof text, "%d", i + j * CLIENTS);
            assert_true(recv(clients[i], bytes, sizeof bytes, 0) > 0);
            assert_string_equal(bytes, text);
        }
        close(clients[i]);
    }
    assert_int_equal(rig_listener(rig)->connections, CLIENTS);
    assert_int_equal(rig_endpoint(rig, 0, 1)->requests, CLIENTS / 2);
    close(servers[0]);
    close(servers[1]);
}

/* Sent as one by a client (GSO), received as one here (GRO), and passed on as one, both ways. */
static void datagrams_of_one_size_travel_together(void **state)
{
    struct relay_rig *rig = *state;
    enum { SIZE = 1000, COUNT = 20, LAST = 300 };
    start(rig);
    int server_fd = server(rig, 1);
    int fd = client("127.0.0.1");
    static char bytes[SIZE * COUNT + LAST];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = text_at(i);
    assert_int_equal(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &(int){SIZE}, sizeof(int)), 0);
    assert_int_equal(send(fd, bytes, sizeof bytes, 0), sizeof bytes);
    rig_turns(rig, 2);
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    static char got[sizeof bytes];
    for (int i = 0; i <= COUNT; i++)
        assert_int_equal(
            recvfrom(server_fd, got + i * SIZE, SIZE * 2, 0, (struct sockaddr *)&from, &length),
            i < COUNT ? SIZE : LAST);
    assert_memory_equal(got, bytes, sizeof bytes);
    setsockopt(server_fd, IPPROTO_UDP, UDP_SEGMENT, &(int){SIZE}, sizeof(int));
    assert_int_equal(
        sendto(server_fd, bytes, sizeof bytes, 0, (struct sockaddr *)&from, sizeof from),
        sizeof bytes);
    rig_turns(rig, 2);
    memset(got, 0, sizeof got);
    for (int i = 0; i <= COUNT; i++)
        assert_int_equal(recv(fd, got + i * SIZE, SIZE * 2, 0), i < COUNT ? SIZE : LAST);
    assert_memory_equal(got, bytes, sizeof bytes);
    close(fd);
    close(server_fd);
}

/* Sent one by one; those that are read together may be passed on as one, and nobody sees it. */
static void datagrams_stay_apart_and_in_order(void **state)
{
    struct relay_rig *rig = *state;
    static const size_t sizes[] = {100, 100, 100, 40, 100, 0, 100, 1300, 1300, 7, 7, 9, 9};
    enum { COUNT = sizeof sizes / sizeof sizes[0] };
    start(rig);
    int server_fd = server(rig, 1);
    int clients[2] = {client("127.0.0.1"), client("127.0.0.1")};
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    char bytes[2000];
    char got[2000];
    for (int way = 0; way < 2; way++) {
        for (int i = 0; i < COUNT; i++) {
            memset(bytes, i, sizeof bytes);
            if (way)
                sendto(server_fd, bytes, sizes[i], 0, (struct sockaddr *)&from, sizeof from);
            else
                send(clients[0], bytes, sizes[i], 0);
            if (i == 2 && !way)
                send(clients[1], "?", 1, 0);
        }
        rig_turns(rig, 3);
        for (int i = 0; i < COUNT; i++) {
            struct sockaddr_in at;
            length = sizeof at;
            ssize_t count = recvfrom(way ? clients[0] : server_fd, got, sizeof got, 0,
                                     (struct sockaddr *)&at, &length);
            if (count == 1 && got[0] == '?') { /* the other client's, at its own place */
                i--;
                continue;
            }
            memset(bytes, i, sizeof bytes);
            assert_int_equal(count, sizes[i]);
            assert_memory_equal(got, bytes, sizes[i]);
            if (!way)
                from = at;
        }
    }
    close(clients[0]);
    close(clients[1]);
    close(server_fd);
}

static void a_large_datagram_and_an_empty_one_pass(void **state)
{
    struct relay_rig *rig = *state;
    start(rig);
    int server_fd = server(rig, 1);
    int fd = client("127.0.0.1");
    static char bytes[60000];
    memset(bytes, 'x', sizeof bytes);
    send(fd, bytes, sizeof bytes, 0);
    send(fd, bytes, 0, 0);
    rig_turns(rig, 2);
    assert_int_equal(recv(server_fd, bytes, sizeof bytes, 0), sizeof bytes);
    assert_int_equal(recv(server_fd, bytes, sizeof bytes, 0), 0);
    close(fd);
    close(server_fd);
}

static void sessions_of_one_source_go_to_one_endpoint(void **state)
{
    struct relay_rig *rig = *state;
    rig->listener.sticky = STICKY_SOURCE;
    start(rig);
    int servers[2] = {server(rig, 1), server(rig, 2)};
    int clients[8];
    for (int i = 0; i < 8; i++) {
        clients[i] = client(i % 2 ? "127.0.0.2" : "127.0.0.3");
        say(clients[i], "x");
        rig_turns(rig, 2);
    }
    assert_int_equal(rig_endpoint(rig, 0, 1)->requests, 4);
    assert_int_equal(rig_endpoint(rig, 0, 2)->requests, 4);
    struct sockaddr_in from;
    hear(rig, servers[0], "x", &from);
    answer(servers[0], &from, "one only");
    rig_turns(rig, 2);
    int heard = 0;
    for (int i = 0; i < 8; i++) {
        char byte;
        heard += recv(clients[i], &byte, 1, 0) == 1; /* though they share their endpoint */
        close(clients[i]);
    }
    assert_int_equal(heard, 1);
    close(servers[0]);
    close(servers[1]);
}

static void a_token_is_known_from_another_address(void **state)
{
    struct relay_rig *rig = *state;
    rig->listener.sticky = STICKY_TOKEN;
    rig->listener.token_at = 1;
    rig->listener.token_bytes = 3;
    start(rig);
    int servers[2] = {server(rig, 1), server(rig, 2)};
    int clients[2] = {client("127.0.0.2"), client("127.0.0.3")};
    struct sockaddr_in from;
    struct sockaddr_in again;
    say(clients[0], "1abc");
    rig_turns(rig, 2);
    int which = rig_endpoint(rig, 0, 1)->requests ? 0 : 1;
    hear(rig, servers[which], "1abc", &from);
    say(clients[1], "2abc!"); /* it has moved */
    hear(rig, servers[which], "2abc!", &again);
    assert_int_equal(from.sin_port, again.sin_port);
    answer(servers[which], &again, "here");
    hear(rig, clients[1], "here", NULL);
    say(clients[0], "1abd"); /* another one */
    hear(rig, servers[!which], "1abd", &from);
    say(clients[0], "1ab"); /* too short for a token: by its address */
    rig_turns(rig, 2);
    assert_int_equal(rig_listener(rig)->connections, 3);
    for (int i = 0; i < 2; i++) {
        close(clients[i]);
        close(servers[i]);
    }
}

/* Two sockets of one address, as two workers have them: clients of one token, or of one address,
 * come to one of them, whatever their ports. */
static void clients_meet_one_worker(void **state, enum udp_sticky sticky)
{
    struct relay_rig *rig = *state;
    int servers[2] = {server(rig, 1), server(rig, 2)};
    rig->listener.sticky = sticky;
    rig->listener.token_bytes = 4;
    rig->plan.fd_count = 2;
    int fds[2];
    struct sessions *both[2];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    for (int i = 0; i < 2; i++) {
        fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        setsockopt(fds[i], SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int));
        assert_int_equal(bind(fds[i], (struct sockaddr *)&address, sizeof address), 0);
        getsockname(fds[i], (struct sockaddr *)&address, &length);
    }
    for (int i = 0; i < 2; i++)
        both[i] = sessions_new(&rig->worker, &rig->plan, fds[i]);
    listens_at = address;
    for (int i = 0; i < 24; i++) {
        int fd = client("127.0.0.1");
        say(fd, "same");
        rig_turns(rig, 1);
        close(fd);
    }
    rig_turns(rig, 2);
    if (sticky == STICKY_TOKEN)
        assert_int_equal(rig_listener(rig)->connections, 1);
    const uint64_t first = rig_endpoint(rig, 0, 1)->requests;
    const uint64_t second = rig_endpoint(rig, 0, 2)->requests;
    assert_true(first == 0 || second == 0);
    for (int i = 0; i < 2; i++) {
        sessions_free(both[i]);
        close(fds[i]);
        close(servers[i]);
    }
    listener = -1;
}

static void a_token_meets_one_worker(void **state)
{
    clients_meet_one_worker(state, STICKY_TOKEN);
}

static void a_source_meets_one_worker(void **state)
{
    clients_meet_one_worker(state, STICKY_SOURCE);
}

static void a_quiet_session_ends(void **state)
{
    struct relay_rig *rig = *state;
    rig->listener.idle_ms = 200;
    start(rig);
    int server_fd = server(rig, 1);
    int clients[2] = {client("127.0.0.1"), client("127.0.0.1")};
    say(clients[0], "x");
    for (int i = 0; i < 10; i++) {
        say(clients[1], "x");
        usleep(30000);
        rig_turns(rig, 1);
    }
    assert_int_equal(rig_listener(rig)->connections, 2);
    assert_int_equal(rig_listener(rig)->connections_now, 1);
    for (int i = 0; i < 100 && rig_listener(rig)->connections_now; i++)
        rig_turns(rig, 1);
    assert_int_equal(rig_listener(rig)->connections_now, 0);
    close(clients[0]);
    close(clients[1]);
    close(server_fd);
}

static void who_is_gone_is_replaced_and_who_drains_is_not(void **state)
{
    struct relay_rig *rig = *state;
    start(rig);
    struct sockaddr_in address;
    struct sockaddr_in from;
    int server_fd = udp_socket("127.0.0.1", &address);
    rig_instance(rig, 0, 1, BOARD_UP, ntohs(address.sin_port));
    int fd = client("127.0.0.1");
    say(fd, "one");
    hear(rig, server_fd, "one", &from);
    int other_fd = server(rig, 2);
    rig_instance(rig, 0, 1, BOARD_DRAINING, ntohs(address.sin_port));
    say(fd, "two");
    hear(rig, server_fd, "two", &from);
    rig_instance(rig, 0, 1, BOARD_DOWN, ntohs(address.sin_port));
    say(fd, "three");
    hear(rig, other_fd, "three", &from);
    answer(other_fd, &from, "yes");
    hear(rig, fd, "yes", NULL);
    assert_int_equal(rig_listener(rig)->connections_now, 1);
    close(fd);
    close(server_fd);
    close(other_fd);
}

static void who_refuses_has_failed(void **state)
{
    struct relay_rig *rig = *state;
    start(rig);
    struct sockaddr_in address;
    int server_fd = udp_socket("127.0.0.1", &address);
    close(server_fd);
    rig_instance(rig, 0, 1, BOARD_UP, ntohs(address.sin_port));
    int fd = client("127.0.0.1");
    say(fd, "lost"); /* ICMP tells */
    rig_turns(rig, 3);
    assert_int_equal(rig_endpoint(rig, 0, 1)->failures_connect, 1);
    assert_int_equal(rig_listener(rig)->connections_now, 0);
    int other_fd = server(rig, 2);
    rig_instance(rig, 0, 1, BOARD_DOWN, ntohs(address.sin_port));
    say(fd, "found");
    hear(rig, other_fd, "found", NULL);
    close(fd);
    close(other_fd);
}

static void without_anybody_it_is_dropped(void **state)
{
    struct relay_rig *rig = *state;
    start(rig);
    int fd = client("127.0.0.1");
    say(fd, "x");
    hear_nothing(rig, fd);
    assert_int_equal(rig_listener(rig)->refused, 1);
    close(fd);
}

static void at_the_cap_the_quietest_ends(void **state)
{
    struct relay_rig *rig = *state;
    rig->listener.idle_ms = 1000;
    start(rig);
    rig->worker.relay->session_max = 2;
    int server_fd = server(rig, 1);
    int clients[3] = {client("127.0.0.1"), client("127.0.0.1"), client("127.0.0.1")};
    struct sockaddr_in from[2];
    for (int i = 0; i < 2; i++) {
        say(clients[i], "x");
        hear(rig, server_fd, "x", &from[i]);
        usleep(80000);
    }
    say(clients[0], "y"); /* not the quietest any more */
    hear(rig, server_fd, "y", &from[0]);
    say(clients[2], "z");
    hear(rig, server_fd, "z", &from[1]);
    assert_int_equal(rig_listener(rig)->connections_now, 2);
    answer(server_fd, &from[0], "still");
    hear(rig, clients[0], "still", NULL);
    for (int i = 0; i < 3; i++)
        close(clients[i]);
    close(server_fd);
}

static void they_live_on_over_a_reload(void **state)
{
    struct relay_rig *rig = *state;
    start(rig);
    int server_fd = server(rig, 1);
    int fd = client("127.0.0.1");
    struct sockaddr_in from;
    say(fd, "x");
    hear(rig, server_fd, "x", &from);
    struct generation next = rig->generation;
    atomic_init(&next.refs, 2);
    next.number = 2;
    next.services = table_new();
    next.free = NULL;
    for (int i = 0; i < 2; i++)
        table_add(next.services, rig->services[i].name, &rig->services[i], NULL);
    assert_int_equal(worker_switch(&rig->worker, &next), 0);
    sessions_settle(sessions, rig->worker.current, &rig->plan);
    assert_int_equal(atomic_load(&rig->generation.refs), 1); /* nothing holds the old one */
    answer(server_fd, &from, "still");
    hear(rig, fd, "still", NULL);
    sessions_free(sessions);
    sessions = NULL;
    use_unref(rig->worker.current);
    rig->worker.current = NULL;
    table_free(next.services);
    close(fd);
    close(server_fd);
}

/* What is left arrives in order, and the successor goes on with it under the same sockets. */
static void inherit_all(struct sessions *heir, int fd)
{
    struct will will;
    int socket, error;
    while (!(error = will_receive(fd, &will, &socket))) {
        assert_string_equal(will.listener, "udp");
        sessions_inherit(heir, &will, socket);
    }
    assert_int_equal(error, -EAGAIN);
}

static void another_gateway_goes_on_with_them(void **state)
{
    struct relay_rig *rig = *state;
    rig->listener.text = "udp";
    start(rig);
    int server_fd = server(rig, 1), other_fd = server(rig, 2);
    int clients[2] = {client("127.0.0.1"), client("127.0.0.1")};
    struct sockaddr_in from[2], now;
    for (int i = 0; i < 2; i++)
        say(clients[i], "x");
    hear(rig, server_fd, "x", &from[0]);
    hear(rig, other_fd, "x", &from[1]);
    rig->worker.relay->heir_waits = true;
    struct sessions *heir = sessions_new(&rig->worker, &rig->plan, listener);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    sessions_leave(sessions, pair[0]);
    assert_int_equal(rig_listener(rig)->connections_now, 0);
    for (int i = 0; i < 2; i++)
        say(clients[i], "between");
    hear_nothing(rig, server_fd);
    inherit_all(heir, pair[1]);
    assert_int_equal(rig_listener(rig)->connections_now, 2);
    answer(server_fd, &from[0], "back");
    answer(other_fd, &from[1], "back");
    for (int i = 0; i < 2; i++)
        hear(rig, clients[i], "back", NULL);
    rig->worker.relay->heir_waits = false;
    assert_int_equal(sessions_read(heir), 0);
    hear(rig, server_fd, "between", &now);
    assert_int_equal(now.sin_port, from[0].sin_port);
    hear(rig, other_fd, "between", &now);
    assert_int_equal(now.sin_port, from[1].sin_port);
    sessions_free(heir);
    for (int i = 0; i < 2; i++) {
        close(pair[i]);
        close(clients[i]);
    }
    close(server_fd);
    close(other_fd);
}

static void a_session_whose_endpoint_is_gone_is_not_inherited(void **state)
{
    struct relay_rig *rig = *state;
    rig->listener.text = "udp";
    start(rig);
    int server_fd = server(rig, 1), fd = client("127.0.0.1"), pair[2];
    struct sockaddr_in from;
    say(fd, "x");
    hear(rig, server_fd, "x", &from);
    rig->worker.relay->heir_waits = true;
    struct sessions *heir = sessions_new(&rig->worker, &rig->plan, listener);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    sessions_leave(sessions, pair[0]);
    rig_instance(rig, 0, 1, BOARD_DOWN, 0);
    inherit_all(heir, pair[1]);
    assert_int_equal(rig_listener(rig)->connections_now, 0);
    sessions_free(heir);
    close(pair[0]);
    close(pair[1]);
    close(fd);
    close(server_fd);
}

static void a_will_of_another_format_is_refused(void **state)
{
    (void)state;
    struct will will, heard;
    int pair[2], fd = -1;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    memset(&will, 0, sizeof will);
    will.format = WILL_FORMAT;
    assert_int_equal(will_send(pair[0], &will, pair[0]), 0);
    assert_int_equal(will_receive(pair[1], &heard, &fd), 0);
    close(fd);
    will.format++;
    assert_int_equal(will_send(pair[0], &will, pair[0]), 0);
    assert_int_equal(will_receive(pair[1], &heard, &fd), -EPROTO);
    will.format--;
    will.key.length = KEY_BYTES_MAX + 1;
    assert_int_equal(will_send(pair[0], &will, pair[0]), 0);
    assert_int_equal(will_receive(pair[1], &heard, &fd), -EPROTO);
    will.key.length = 0;
    memset(will.listener, 'x', sizeof will.listener);
    assert_int_equal(will_send(pair[0], &will, pair[0]), 0);
    assert_int_equal(will_receive(pair[1], &heard, &fd), -EPROTO);
    assert_int_equal(send(pair[0], "short", 5, 0), 5);
    assert_int_equal(will_receive(pair[1], &heard, &fd), -EPROTO);
    assert_int_equal(will_receive(pair[1], &heard, &fd), -EAGAIN);
    close(pair[0]);
    assert_int_equal(will_receive(pair[1], &heard, &fd), -EPIPE);
    close(pair[1]);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(each_client_has_a_session_of_its_own),
        EACH(answers_leave_from_the_address_asked),
        EACH(it_works_on_ipv6_and_ipv4_at_once),
        EACH(many_clients_many_datagrams),
        EACH(datagrams_of_one_size_travel_together),
        EACH(datagrams_stay_apart_and_in_order),
        EACH(a_large_datagram_and_an_empty_one_pass),
        EACH(sessions_of_one_source_go_to_one_endpoint),
        EACH(a_token_is_known_from_another_address),
        EACH(a_token_meets_one_worker),
        EACH(a_source_meets_one_worker),
        EACH(a_quiet_session_ends),
        EACH(who_is_gone_is_replaced_and_who_drains_is_not),
        EACH(who_refuses_has_failed),
        EACH(without_anybody_it_is_dropped),
        EACH(at_the_cap_the_quietest_ends),
        EACH(they_live_on_over_a_reload),
        EACH(another_gateway_goes_on_with_them),
        EACH(a_session_whose_endpoint_is_gone_is_not_inherited),
        cmocka_unit_test(a_will_of_another_format_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
