/* What the proxy handler does when instances do not do what they should. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/http/h1_rig.h"
#include "gateway/http/h1_server.h"

#define GET  "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
#define OK_2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static void assert_has(const struct rig *rig, const char *text)
{
    if (!strstr(rig->text, text))
        fail_msg("no “%s” in: %s", text, rig->text);
}

static void assert_lacks(const struct rig *rig, const char *text)
{
    if (strcasestr(rig->text, text))
        fail_msg("“%s” in: %s", text, rig->text);
}

/* RST. */
static void reset(int fd)
{
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
    close(fd);
}

static void answered(struct rig *rig, int client, const char *status)
{
    char line[32];
    snprintf(line, sizeof line, "HTTP/1.1 %s ", status);
    rig_hear(rig, client, "\r\n\r\n");
    assert_has(rig, line);
}

/* The instance's end of a connection that has carried a request and is kept. */
static int kept_origin(struct rig *rig, int client)
{
    rig_say(rig, client, GET);
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    return origin;
}

/* ---- trailers ------------------------------------------------------------------------------- */

static void trailers_that_are_announced_pass(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            "3\r\nabc\r\n0\r\nX-Sum: 6\r\nHost: evil\r\n\r\n");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    rig_say(rig, client, /* nobody expects these */
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
            "3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n");
    rig_hear(rig, origin, "3\r\nabc\r\n0\r\n\r\n");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    /* The body's end comes behind what was passed on already. */
    rig_say(rig, client,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
            "3\r\nabc\r\n");
    rig_hear(rig, origin, "abc\r\n");
    rig_say(rig, client, "0\r\nX-Sum: 7\r\n\r\n");
    rig_hear(rig, origin, "0\r\nX-Sum: 7\r\n\r\n");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    close(client);
    close(origin);
}

/* ---- connecting ----------------------------------------------------------------------------- */

static void who_refuses_is_passed_over(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 2);
    rig_refuse(rig, 1);
    for (int i = 0; i < 6; i++) { /* also what may not be sent twice */
        int client = rig_client(rig);
        rig_say(rig, client, i % 2 ? POST : GET);
        int origin = rig_origin(rig, 2);
        rig_hear(rig, origin, i % 2 ? "hello" : "\r\n\r\n");
        rig_say(rig, origin, OK_2);
        rig_hear(rig, client, "ok");
        close(client);
        close(origin);
    }
}

static void nobody_accepts_503(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 2);
    rig_refuse(rig, 1);
    rig_refuse(rig, 2);
    int client = rig_client(rig);
    rig_say(rig, client, GET);
    rig_quiet(rig, client); /* who refused has died, it seems, and may be back in a moment */
    rig_pass(rig, 300);
    answered(rig, client, "503");
    assert_has(rig, "failed: upstream");
    close(client);
}

static void requests_wait_for_an_instance_that_comes(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    rig_down(rig, 1);
    int client = rig_client(rig), late = rig_client(rig);
    rig_say(rig, client, POST);
    rig_say(rig, late, GET);
    rig_quiet(rig, client);
    rig_up(rig);
    int origin = rig_origin(rig, 1), second = rig_origin(rig, 1);
    rig_hear(rig, origin, "hello");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    rig_hear(rig, second, "GET");
    close(client);
    close(late);
    close(origin);
    close(second);
}

static void waiting_has_an_end(void **state)
{
    struct rig *rig = *state;
    rig->service.gateway.hold_ms = 5000;
    rig_start(rig, 1);
    rig_down(rig, 1);
    int client = rig_client(rig), gone = rig_client(rig);
    rig_say(rig, client, GET);
    rig_say(rig, gone, GET);
    rig_turns(rig);
    assert_int_equal(atomic_load(&rig->plan_tally->requests_now), 2);
    reset(gone);
    rig_turns(rig);
    assert_int_equal(atomic_load(&rig->plan_tally->requests_now), 1); /* noticed at once */
    rig_pass(rig, 6000);
    answered(rig, client, "503");
    rig_down(rig, 0);
    rig_say(rig, client, GET);
    answered(rig, client, "503");
    close(client);
}

static void a_client_that_resets_ends_the_endpoints_work(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int gone = rig_client(rig);
    rig_say(rig, gone, GET);
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_pass(rig, 1500); /* only a request that lasts is worth watching its client */
    reset(gone);
    assert_true(rig_hear_end(rig, origin));
    assert_int_equal(atomic_load(&rig->plan_tally->requests_now), 0);
    close(origin);
    /* One who only says that it sends no more is answered. */
    int client = rig_client(rig);
    rig_say(rig, client, GET);
    origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_pass(rig, 1500);
    shutdown(client, SHUT_WR);
    rig_turns(rig);
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    close(client);
    close(origin);
}

/* ---- kept connections ----------------------------------------------------------------------- */

static void a_kept_connection_that_ended_is_not_used(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig);
    int origin = kept_origin(rig, client);
    close(origin);
    rig_turns(rig);
    rig_say(rig, client, POST);
    origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "hello");
    close(client);
    close(origin);
}

static void a_request_that_met_the_end_is_sent_again(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig);
    for (int with_reset = 0; with_reset < 2; with_reset++) {
        int origin = kept_origin(rig, client);
        rig_say(rig, client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
        rig_hear(rig, origin, "hello");
        if (with_reset)
            reset(origin);
        else
            close(origin);
        origin = rig_origin(rig, 1);
        rig_hear(rig, origin, "hello");
        assert_has(rig, "Content-Length: 5\r\n");
        rig_say(rig, origin, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        rig_hear(rig, client, "ok");
        close(origin);
    }
    int origin = kept_origin(rig, client);
    rig_say(rig, client, POST);
    rig_hear(rig, origin, "hello");
    close(origin);
    answered(rig, client, "502"); /* it may have been carried out */
    close(client);
}

static void chatter_of_an_idle_connection_ends_it(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig);
    int origin = kept_origin(rig, client);
    rig_say(rig, origin, OK_2);
    rig_hear_end(rig, origin);
    close(origin);
    origin = kept_origin(rig, client);
    rig_say(rig, client, GET);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin, OK_2 OK_2); /* more than was asked for */
    rig_hear(rig, client, "ok");
    rig_hear_end(rig, origin);
    rig_quiet(rig, client);
    close(client);
    close(origin);
}

static void the_origins_keep_alive_time_is_kept(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, GET);
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin, "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok");
    rig_hear(rig, client, "ok");
    rig_pass(rig, 3000);
    rig_quiet(rig, origin);
    rig_pass(rig, 1500);
    assert_true(rig_hear_end(rig, origin));
    close(client);
    close(origin);
}

/* ---- origins that fail ---------------------------------------------------------------------- */

static void an_origin_that_never_answers_504(void **state)
{
    struct rig *rig = *state;
    rig->service.gateway.response_ms = 2000;
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, GET);
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_pass(rig, 1500);
    rig_quiet(rig, client);
    rig_pass(rig, 600);
    answered(rig, client, "504");
    rig_hear_end(rig, origin);
    close(client);
    close(origin);
}

static void garbage_is_502(void **state)
{
    struct rig *rig = *state;
    static const char *const answers[] = {
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    };
    rig->service.gateway.retry_tries = 0;
    rig->service.gateway.eject_failures = 0;
    rig_start(rig, 1);
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        int client = rig_client(rig);
        rig_say(rig, client, GET);
        int origin = rig_origin(rig, 1);
        rig_hear(rig, origin, "\r\n\r\n");
        rig_say(rig, origin, answers[i]);
        answered(rig, client, "502");
        assert_lacks(rig, "OpenSSH");
        rig_hear_end(rig, origin);
        close(client);
        close(origin);
    }
}

static void who_dies_in_its_head_is_tried_elsewhere(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 2);
    int client = rig_client(rig);
    rig_say(rig, client, GET);
    uint32_t first = rig_origin_waits(rig, 1) ? 1 : 2;
    int origin = rig_origin(rig, first);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin, "HTTP/1.1 200 OK\r\nContent-Le");
    close(origin);
    origin = rig_origin(rig, 3 - first);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    rig_say(rig, client, POST);
    int again = rig_origin_waits(rig, first) ? rig_origin(rig, first) : origin;
    rig_hear(rig, again, "hello");
    close(again);
    answered(rig, client, "502");
    close(client);
    if (again != origin)
        close(origin);
}

static void who_dies_in_its_body_is_cut_off_visibly(void **state)
{
    struct rig *rig = *state;
    static const struct {
        const char *request, *answer, *more;
        bool in_order; /* or by a reset, since nothing else tells the client */
    } rows[] = {
        {GET, "Content-Length: 20\r\n\r\nhello", "", true},
        {GET, "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "", true},
        {GET, "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "XX", true},
        {GET, "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "9\r\n", true},
        {"GET / HTTP/1.0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "", false},
    };
    rig_start(rig, 1);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int client = rig_client(rig);
        rig_say(rig, client, rows[i].request);
        int origin = rig_origin(rig, 1);
        rig_hear(rig, origin, "\r\n\r\n");
        rig_say(rig, origin, "HTTP/1.1 200 OK\r\n");
        rig_say(rig, origin, rows[i].answer);
        rig_hear(rig, client, "hello");
        rig_say(rig, origin, rows[i].more);
        close(origin);
        assert_int_equal(rig_hear_end(rig, client), rows[i].in_order);
        assert_lacks(rig, "0\r\n\r\n");
        close(client);
    }
}

static void a_client_that_leaves_frees_the_origin(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, GET);
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nhello");
    rig_hear(rig, client, "hello");
    reset(client);
    rig_turns(rig);
    rig_say(rig, origin, "world");
    rig_hear_end(rig, origin);
    close(origin);
}

static void events_flow_at_once(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, GET);
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin,
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            "Transfer-Encoding: chunked\r\n\r\n");
    rig_hear(rig, client, "\r\n\r\n");
    for (int i = 0; i < 5; i++) {
        rig_say(rig, origin, "8\r\ndata: x\n\r\n");
        rig_hear(rig, client, "8\r\ndata: x\n\r\n");
        rig_pass(rig, 30000);
    }
    close(client);
    close(origin);
}

/* ---- clients that are slow ------------------------------------------------------------------ */

static void slow_clients_are_let_go(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int idle = rig_client(rig), head = rig_client(rig), body = rig_client(rig);
    int kept = rig_client(rig);
    int origin = kept_origin(rig, kept);
    rig_say(rig, head, "GET / HTTP/1.1\r\nHo");
    rig_say(rig, body, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nhello");
    rig_hear(rig, origin, "hello");
    rig_pass(rig, 9000);
    rig_quiet(rig, head);
    rig_pass(rig, 2000);
    assert_true(rig_hear_end(rig, head));
    assert_has(rig, "HTTP/1.1 408 ");
    assert_true(rig_hear_end(rig, idle));
    rig_pass(rig, 20000);
    assert_true(rig_hear_end(rig, body));
    assert_has(rig, "HTTP/1.1 408 ");
    rig_quiet(rig, kept);
    rig_pass(rig, 50000);
    assert_true(rig_hear_end(rig, kept));
    close(idle);
    close(head);
    close(body);
    close(kept);
    close(origin);
}

static void bodies_below_the_least_rate_are_cut(void **state)
{
    struct rig *rig = *state;
    rig->site.rate_bytes_min = 100;
    rig_start(rig, 1);
    int fast = rig_client(rig), slow = rig_client(rig);
    static const char head[] = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n";
    rig_say(rig, fast, head);
    rig_say(rig, slow, head);
    int one = rig_origin(rig, 1), two = rig_origin(rig, 1);
    char block[1024];
    memset(block, 'x', sizeof block);
    for (int second = 0; second < 12; second++) {
        rig_say_bytes(rig, fast, block, 200);
        rig_say_bytes(rig, slow, block, 10);
        rig_pass(rig, 1000);
    }
    assert_true(rig_hear_end(rig, slow));
    assert_has(rig, "HTTP/1.1 408 ");
    rig_quiet(rig, fast);
    close(fast);
    close(slow);
    close(one);
    close(two);
}

static void a_client_that_reads_nothing_is_let_go(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, GET);
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4000000\r\n");
    char *block = calloc(1, 1 << 20);
    for (int i = 0; i < 40; i++) {
        send(origin, block, 1 << 20, MSG_NOSIGNAL | MSG_DONTWAIT);
        rig_turns(rig);
    }
    rig_pass(rig, 29000);
    assert_false(rig_origin_waits(rig, 1));
    rig_pass(rig, 2000);
    for (ssize_t count = 1; count > 0;) /* the origin's connection is gone */
        count = send(origin, block, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    rig_turns(rig);
    assert_int_equal(send(origin, block, 1, MSG_NOSIGNAL | MSG_DONTWAIT), -1);
    free(block);
    close(client);
    close(origin);
}

/* ---- upgrades ------------------------------------------------------------------------------- */

static void an_upgrade_becomes_a_tunnel(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client,
            "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\nearly");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    assert_has(rig, "Connection: upgrade\r\nUpgrade: websocket\r\n");
    assert_has(rig, "Sec-WebSocket-Key: k\r\n");
    rig_say(rig, origin,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Accept: v\r\n\r\nfirst");
    rig_hear(rig, client, "first");
    assert_has(rig, "HTTP/1.1 101 Switching Protocols\r\n");
    assert_has(rig, "Upgrade: websocket\r\n");
    assert_has(rig, "Connection: upgrade\r\n");
    assert_has(rig, "Sec-WebSocket-Accept: v\r\n");
    rig_hear(rig, origin, "early");
    rig_say(rig, client, "ping");
    rig_hear(rig, origin, "ping");
    rig_pass(rig, 200000); /* no timeout of requests is its */
    rig_say(rig, origin, "pong");
    rig_hear(rig, client, "pong");
    const struct tally_endpoint *tally = tally_endpoint(rig->tally, 0, 100);
    assert_int_equal(tally->connections_now, 1);
    close(client);
    rig_hear_end(rig, origin);
    close(origin);
    rig_turns(rig);
    assert_int_equal(tally->connections_now, 0);
}

static void an_upgrade_that_is_declined_is_a_response(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client,
            "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    rig_say(rig, client, GET);
    rig_hear(rig, origin, "GET / ");
    close(client);
    close(origin);
}

/* ---- others --------------------------------------------------------------------------------- */

static void draining_ends_connections_in_order(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int idle = rig_client(rig), busy = rig_client(rig);
    int origin = kept_origin(rig, idle);
    rig_say(rig, busy, GET);
    rig_hear(rig, origin, "\r\n\r\n");
    http_worker_drain(&rig->worker);
    rig_quiet(rig, idle); /* its client may be about to send */
    rig_say(rig, origin, OK_2);
    assert_true(rig_hear_end(rig, busy));
    assert_has(rig, "Connection: close\r\n");
    assert_has(rig, "ok");
    rig_say(rig, idle, GET);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin, OK_2);
    assert_true(rig_hear_end(rig, idle));
    assert_has(rig, "Connection: close\r\n");
    assert_has(rig, "ok");
    close(idle);
    close(busy);
    close(origin);
}

static void sticky_clients_stay(void **state)
{
    struct rig *rig = *state;
    rig->service.balance = BALANCE_STICKY;
    rig_start(rig, 3);
    for (uint32_t number = 1; number <= 3; number++) {
        int client = rig_client(rig);
        char request[128];
        snprintf(request, sizeof request,
                 "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=b; enginx=api.%u; c=d\r\n\r\n", number);
        for (int i = 0; i < 2; i++) {
            rig_say(rig, client, request);
            int origin = rig_origin(rig, number);
            rig_hear(rig, origin, "\r\n\r\n");
            rig_say(rig, origin,
                    "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
            rig_hear(rig, client, "ok");
            assert_lacks(rig, "Set-Cookie");
            close(origin);
        }
        close(client);
    }
    int client = rig_client(rig);
    rig_say(rig, client, GET);
    uint32_t number = rig_origin_waits(rig, 1) ? 1 : rig_origin_waits(rig, 2) ? 2 : 3;
    int origin = rig_origin(rig, number);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    char cookie[64];
    snprintf(cookie, sizeof cookie, "Set-Cookie: enginx=api.%u; Path=/; HttpOnly; SameSite=Lax\r\n",
             number);
    assert_has(rig, cookie);
    close(client);
    close(origin);
}

static void trace_and_max_forwards_end_here(void **state)
{
    struct rig *rig = *state;
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n");
    answered(rig, client, "405");
    assert_has(rig, "Allow: ");
    rig_say(rig, client, "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n");
    answered(rig, client, "204");
    rig_say(rig, client, "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    assert_has(rig, "OPTIONS * HTTP/1.1\r\n");
    assert_has(rig, "Max-Forwards: 2\r\n");
    close(client);
    close(origin);
}

static void each_connection_says_whom_it_is_for(void **state)
{
    struct rig *rig = *state;
    rig->service.gateway.proxy_protocol = 1;
    rig_start(rig, 1);
    for (int i = 0; i < 2; i++) {
        int client = rig_client(rig);
        for (int request = 0; request < 2; request++) {
            rig_say(rig, client, GET);
            int origin = rig_origin(rig, 1); /* never a kept one */
            rig_hear(rig, origin, "\r\n\r\n");
            char line[64];
            snprintf(line, sizeof line, "PROXY TCP4 127.0.0.1 127.0.0.1 ");
            assert_memory_equal(rig->text, line, strlen(line));
            assert_has(rig, "\r\nGET / HTTP/1.1\r\n");
            rig_say(rig, origin, OK_2);
            rig_hear(rig, client, "ok");
            rig_hear_end(rig, origin);
            close(origin);
        }
        close(client);
    }
}

static void rules_and_rewrites_apply(void **state)
{
    struct rig *rig = *state;
    static const struct header_rule rules[] = {
        {false, HEADER_SET, "X-Env", "test"},
        {false, HEADER_REMOVE, "X-Forwarded-For", NULL},
        {false, HEADER_SET, "Host", "inner.example"},
        {true, HEADER_SET, "X-Frame-Options", "DENY"},
        {true, HEADER_REMOVE, "Server", NULL},
    };
    static const struct rewrite rewrite = {.strip = "/api"};
    rig->route.headers_change = rules;
    rig->route.headers_change_count = sizeof rules / sizeof rules[0];
    rig->route.rewrites = &rewrite;
    rig->route.rewrite_count = 1;
    rig_start(rig, 1);
    int client = rig_client(rig);
    rig_say(rig, client, "GET /api/x?y HTTP/1.1\r\nHost: a\r\nX-Env: mine\r\n\r\n");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    assert_has(rig, "GET /x?y HTTP/1.1\r\nHost: inner.example\r\n");
    assert_has(rig, "X-Env: test\r\n");
    assert_lacks(rig, "mine");
    assert_lacks(rig, "X-Forwarded-For");
    rig_say(rig, origin, "HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 2\r\n\r\nok");
    rig_hear(rig, client, "ok");
    assert_has(rig, "X-Frame-Options: DENY\r\n");
    assert_lacks(rig, "Server:");
    close(client);
    close(origin);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_begin, rig_end)
    const struct CMUnitTest tests[] = {
        TEST(trailers_that_are_announced_pass),
        TEST(who_refuses_is_passed_over),
        TEST(nobody_accepts_503),
        TEST(requests_wait_for_an_instance_that_comes),
        TEST(waiting_has_an_end),
        TEST(a_client_that_resets_ends_the_endpoints_work),
        TEST(a_kept_connection_that_ended_is_not_used),
        TEST(a_request_that_met_the_end_is_sent_again),
        TEST(chatter_of_an_idle_connection_ends_it),
        TEST(the_origins_keep_alive_time_is_kept),
        TEST(an_origin_that_never_answers_504),
        TEST(garbage_is_502),
        TEST(who_dies_in_its_head_is_tried_elsewhere),
        TEST(who_dies_in_its_body_is_cut_off_visibly),
        TEST(a_client_that_leaves_frees_the_origin),
        TEST(events_flow_at_once),
        TEST(slow_clients_are_let_go),
        TEST(bodies_below_the_least_rate_are_cut),
        TEST(a_client_that_reads_nothing_is_let_go),
        TEST(an_upgrade_becomes_a_tunnel),
        TEST(an_upgrade_that_is_declined_is_a_response),
        TEST(draining_ends_connections_in_order),
        TEST(sticky_clients_stay),
        TEST(trace_and_max_forwards_end_here),
        TEST(each_connection_says_whom_it_is_for),
        TEST(rules_and_rewrites_apply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
