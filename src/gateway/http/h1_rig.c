#include "gateway/http/h1_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/table.h"
#include "gateway/http/h1_server.h"
#include "gateway/http/match.h"
#include "gateway/relay/relay.h"

enum { BOARD_ROW = 3, BOARD_SLOT = 100, QUIET_TURNS = 20, PATIENCE = 2000 };

static uint64_t now_ms = 5000000;

uint64_t __wrap_clock_monotonic_ms(void);
uint64_t __wrap_clock_monotonic_ms(void)
{
    return now_ms;
}

/* For tests that are linked so that this clock stands, too. */
uint64_t __wrap_clock_monotonic_ns(void);
uint64_t __wrap_clock_monotonic_ns(void)
{
    return now_ms * 1000000;
}

static const struct tally_sizes sizes = {
    .threads = 1, .slots_max = 256, .remotes_max = 16, .rows = {16, 16, 64}};
static const char *const all_hosts[] = {"*", NULL};

static void narrow(int fd)
{
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){8192}, sizeof(int));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){8192}, sizeof(int));
}

static int listening(const struct rig *rig, uint16_t *ret_port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (rig->narrow)
        narrow(fd);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000001)};
    socklen_t length = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static void settings_usual(struct rig *rig)
{
    rig->service = (struct service){.name = "api", .realm = "", .listens = true};
    rig->service.gateway = (struct service_gateway){.idle_max = 64,
                                                    .connect_ms = 3000,
                                                    .send_ms = 30000,
                                                    .response_ms = 60000,
                                                    .read_ms = 60000,
                                                    .idle_ms = 60000,
                                                    .tunnel_ms = 3600000,
                                                    .retry_tries = 2,
                                                    .retry_budget_percent = 100,
                                                    .retry_methods = RETRY_IDEMPOTENT,
                                                    .hold_max = 10,
                                                    .hold_ms = 30000};
    rig->target = (struct route_target){.service = 0, .weight = 100};
    rig->route = (struct route){.path = "/",
                                .kind = ROUTE_PROXY,
                                .targets = &rig->target,
                                .target_count = 1,
                                .name = "* /"};
    rig->host = (struct site_host){.names = all_hosts, .routes = &rig->route, .route_count = 1};
    rig->site = (struct site){.hosts = &rig->host,
                              .host_count = 1,
                              .http2 = true,
                              .header_ms = 10000,
                              .body_ms = 30000,
                              .send_ms = 30000,
                              .idle_ms = 75000,
                              .tunnel_ms = 3600000,
                              .header_bytes_max = 32768,
                              .header_count_max = 128};
}

int rig_begin(void **state)
{
    struct rig *rig = calloc(1, sizeof *rig);
    int board_fd, bell, tally_fd;
    assert_int_equal(board_new(16, 256, &rig->board, &board_fd, &bell), 0);
    assert_int_equal(tally_new(&sizes, &rig->tally, &tally_fd), 0);
    close(board_fd);
    close(bell);
    close(tally_fd);
    rig->text = malloc(RIG_TEXT_BYTES + 1);
    for (int i = 0; i < RIG_INSTANCES_MAX; i++)
        rig->instances[i] = -1;
    rig->stash = stash_new();
    const struct worker_setup setup = {.connections_max = 1000,
                                       .board = rig->board,
                                       .tally = rig->tally,
                                       .stash = rig->stash,
                                       .logger_fd = -1,
                                       .wake_fd = -1};
    assert_int_equal(worker_init(&rig->worker, &setup), 0);
    assert_int_equal(relay_worker_init(&rig->worker), 0);
    assert_int_equal(http_worker_init(&rig->worker), 0);
    random_seed(&rig->worker.random, 7);
    settings_usual(rig);
    *state = rig;
    return 0;
}

static void generation_free(struct generation *generation)
{
    match_free(generation->plans->match);
    free((void *)(uintptr_t)generation->plans->route_rows);
    table_free(generation->services);
}

static void board_fill(struct rig *rig, uint32_t count)
{
    struct board_service *row = board_service(rig->board, BOARD_ROW);
    board_write_begin(row);
    snprintf(row->name, sizeof row->name, "api");
    row->wanted = count;
    row->first = count ? BOARD_SLOT : BOARD_NONE;
    for (uint32_t i = 0; i < count; i++) {
        uint16_t port;
        rig->instances[i] = listening(rig, &port);
        *board_instance(rig->board, BOARD_SLOT + i) = (struct board_instance){
            .state = BOARD_UP,
            .service = BOARD_ROW,
            .number = i + 1,
            .epoch = 1,
            .address = 0x7f000001,
            .weight = 1,
            .next = i + 1 < count ? BOARD_SLOT + i + 1 : BOARD_NONE,
            .ports = {port},
            .up_ms = 1,
        };
    }
    board_write_end(row);
}

void rig_start(struct rig *rig, uint32_t instances)
{
    char why[128];
    board_fill(rig, instances);
    rig->topology = (struct topology){.services = &rig->service,
                                      .service_count = 1,
                                      .listeners = &rig->listener,
                                      .listener_count = 1};
    rig->accepts = listening(rig, &rig->listener.port);
    rig->listener.kind = LISTENER_HTTP;
    rig->listener.site = &rig->site;
    rig->listener.text = "tcp:8080";
    rig->plan.listener = &rig->listener;
    assert_int_equal(match_new(&rig->site, &rig->plan.match, why, sizeof why), 0);
    uint32_t routes = match_route_count(rig->plan.match);
    uint32_t *rows = calloc(routes + 1, sizeof *rows);
    rig->plan.route_rows = rows;
    rig->generation = (struct generation){.refs = 1,
                                          .topology = &rig->topology,
                                          .services = table_new(),
                                          .plans = &rig->plan,
                                          .plan_count = 1,
                                          .free = generation_free};
    table_add(rig->generation.services, "api", &rig->service, NULL);
    rig->plan_tally = tally_traffic(rig->tally, 0, TALLY_LISTENER, rig->plan.row);
    assert_int_equal(worker_switch(&rig->worker, &rig->generation), 0);
}

int rig_end(void **state)
{
    struct rig *rig = *state;
    http_worker_done(&rig->worker);
    /* Nothing may be left under way. */
    struct tally_traffic sum;
    tally_traffic_sum(rig->tally, TALLY_LISTENER, rig->plan.row, &sum);
    assert_int_equal(sum.requests_now, 0);
    assert_int_equal(sum.connections_now, 0);
    assert_int_equal(tally_requests_now(rig->tally, BOARD_SLOT), 0);
    relay_worker_done(&rig->worker);
    worker_done(&rig->worker);
    stash_free(rig->stash);
    assert_int_equal(tally_connections_now(rig->tally, BOARD_SLOT), 0);
    board_close(rig->board);
    tally_close(rig->tally);
    close(rig->accepts);
    for (int i = 0; i < RIG_INSTANCES_MAX; i++)
        if (rig->instances[i] >= 0)
            close(rig->instances[i]);
    free(rig->text);
    free(rig);
    return 0;
}

void rig_refuse(struct rig *rig, uint32_t number)
{
    close(rig->instances[number - 1]);
    rig->instances[number - 1] = -1;
}

static void states_set(struct rig *rig, enum board_state state, uint32_t coming)
{
    struct board_service *row = board_service(rig->board, BOARD_ROW);
    board_write_begin(row);
    row->coming = coming;
    for (uint32_t slot = row->first; slot != BOARD_NONE;
         slot = board_instance(rig->board, slot)->next)
        atomic_store(&board_instance(rig->board, slot)->state, (uint32_t)state);
    board_write_end(row);
    worker_news(&rig->worker);
}

void rig_down(struct rig *rig, uint32_t coming)
{
    states_set(rig, BOARD_DOWN, coming);
}

void rig_up(struct rig *rig)
{
    states_set(rig, BOARD_UP, 0);
}

/* ---- sockets -------------------------------------------------------------------------------- */

void rig_turns(struct rig *rig)
{
    for (int i = 0; i < QUIET_TURNS; i++)
        assert_int_equal(loop_turn(rig->worker.loop, 0), 0);
}

void rig_pass(struct rig *rig, uint64_t ms)
{
    rig_turns(rig);
    now_ms += ms;
    rig_turns(rig);
}

static int accept_soon(struct rig *rig, int listener)
{
    for (int i = 0; i < PATIENCE; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            return fd;
        assert_int_equal(loop_turn(rig->worker.loop, 1), 0);
    }
    fail_msg("nobody connects");
    return -1;
}

int rig_client(struct rig *rig)
{
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    getsockname(rig->accepts, (struct sockaddr *)&address, &length);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (rig->narrow)
        narrow(fd);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    int accepted = accept_soon(rig, rig->accepts);
    length = sizeof address;
    getpeername(accepted, (struct sockaddr *)&address, &length);
    h1_accept(&rig->worker, &rig->plan, accepted, (struct sockaddr *)&address, NULL);
    return fd;
}

int rig_origin(struct rig *rig, uint32_t number)
{
    return accept_soon(rig, rig->instances[number - 1]);
}

bool rig_origin_waits(struct rig *rig, uint32_t number)
{
    rig_turns(rig);
    struct pollfd poll_fd = {.fd = rig->instances[number - 1], .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 1;
}

void rig_say_bytes(struct rig *rig, int fd, const char *bytes, size_t length)
{
    for (int i = 0; length && i < PATIENCE; i++) {
        ssize_t sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return; /* the test will see it by what it hears */
        if (sent > 0) {
            bytes += sent;
            length -= (size_t)sent;
            i = 0;
        }
        loop_turn(rig->worker.loop, sent > 0 ? 0 : 1);
    }
    rig_turns(rig);
}

void rig_say(struct rig *rig, int fd, const char *text)
{
    rig_say_bytes(rig, fd, text, strlen(text));
}

/* 0: the end; -errno; -EAGAIN: nothing came for a while. */
static ssize_t hear_some(struct rig *rig, int fd)
{
    for (int i = 0; i < PATIENCE; i++) {
        ssize_t count = recv(fd, rig->text + rig->length, RIG_TEXT_BYTES - rig->length, 0);
        if (count >= 0 || errno != EAGAIN) {
            rig->length += count > 0 ? (size_t)count : 0;
            rig->text[rig->length] = 0;
            return count < 0 ? -errno : count;
        }
        loop_turn(rig->worker.loop, 1);
    }
    return -EAGAIN;
}

const char *rig_hear(struct rig *rig, int fd, const char *until)
{
    rig->length = 0;
    rig->text[0] = 0;
    do {
        ssize_t count = hear_some(rig, fd);
        if (count <= 0)
            fail_msg("%s instead of “%s” after: %s", count ? strerror((int)-count) : "the end",
                     until, rig->text);
    } while (!memmem(rig->text, rig->length, until, strlen(until)));
    return rig->text;
}

bool rig_hear_end(struct rig *rig, int fd)
{
    rig->length = 0;
    rig->text[0] = 0;
    ssize_t count;
    while ((count = hear_some(rig, fd)) > 0)
        if (rig->length == RIG_TEXT_BYTES)
            rig->length = 0;
    if (count == -EAGAIN)
        fail_msg("no end after: %s", rig->text);
    return count == 0;
}

void rig_quiet(struct rig *rig, int fd)
{
    char byte;
    rig_turns(rig);
    ssize_t count = recv(fd, &byte, 1, MSG_PEEK);
    if (count >= 0 || errno != EAGAIN)
        fail_msg("it is not quiet: %zd, %s", count, count < 0 ? strerror(errno) : "");
}
