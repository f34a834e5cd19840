/* The page is read by a parser of Prometheus' text format, which checks what a scraper would. */
#include "gateway/metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/scoped.h"
#include "base/table.h"

enum { THREADS = 2, SLOTS = 8, REMOTES = 3, WAIT_TURNS = 200 };

static struct board *board;
static struct tally *tally;
static int board_fd, bell, tally_fd;
static struct loop *loop;

static int setup(void **state)
{
    (void)state;
    const struct tally_sizes sizes = {
        .threads = THREADS, .slots_max = SLOTS, .remotes_max = REMOTES, .rows = {4, 3, 4}};
    loop = loop_new();
    return !loop || board_new(4, SLOTS, &board, &board_fd, &bell) ||
           tally_new(&sizes, &tally, &tally_fd);
}

static int teardown(void **state)
{
    (void)state;
    board_close(board);
    tally_close(tally);
    fd_drop(&board_fd);
    fd_drop(&bell);
    fd_drop(&tally_fd);
    loop_free(loop);
    return 0;
}

static void service_put(uint32_t number, const char *name, uint32_t slot, enum board_state state)
{
    struct board_service *service = board_service(board, number);
    board_write_begin(service);
    snprintf(service->name, sizeof service->name, "%s", name);
    service->first = slot;
    service->wanted = 1;
    if (slot != BOARD_NONE) {
        struct board_instance *instance = board_instance(board, slot);
        instance->service = number;
        instance->number = 1;
        instance->next = BOARD_NONE;
        instance->state = state;
    }
    board_write_end(service);
}

/* ---- a parser of the format ----------------------------------------------------------------- */

struct family {
    char name[128];
    char type[16];
    double last_bucket; /* of the series in hand */
    double last_le;
};

static struct table *series; /* whole `name{labels}` → value as text */
static struct family family;
static char *copies[4096];
static size_t copy_count;

static bool name_good(const char *text, size_t length, bool label)
{
    for (size_t i = 0; i < length; i++) {
        bool digit = text[i] >= '0' && text[i] <= '9';
        bool letter = (text[i] | 0x20) >= 'a' && (text[i] | 0x20) <= 'z';
        if (!letter && text[i] != '_' && !(text[i] == ':' && !label) && !(digit && i))
            return false;
    }
    return length > 0;
}

/* From behind `{` to behind `}`; copies the value of `le`. */
static const char *labels_read(const char *at, char le[32])
{
    while (*at != '}') {
        size_t name = strcspn(at, "=");
        assert_true(name_good(at, name, true));
        bool is_le = name == 2 && !strncmp(at, "le", 2);
        at += name + 1;
        assert_int_equal(*at++, '"');
        const char *begin = at;
        for (; *at != '"'; at++) {
            assert_true((unsigned char)*at >= ' ');
            if (*at == '\\') {
                at++;
                assert_true(*at == '\\' || *at == '"' || *at == 'n');
            }
        }
        if (is_le)
            snprintf(le, 32, "%.*s", (int)(at - begin), begin);
        at++;
        if (*at == ',')
            at++;
    }
    return at + 1;
}

static bool suffix_is(const char *name, size_t length, const char *suffix)
{
    size_t family_bytes = strlen(family.name);
    return !strncmp(name, family.name, family_bytes) && length == family_bytes + strlen(suffix) &&
           !strncmp(name + family_bytes, suffix, strlen(suffix));
}

static void bucket_check(const char *le, double value)
{
    double bound = !strcmp(le, "+Inf") ? 1e300 : strtod(le, NULL);
    if (bound <= family.last_le) /* another series begins */
        family.last_bucket = 0;
    assert_true(value >= family.last_bucket);
    family.last_bucket = value;
    family.last_le = bound;
}

static void sample_read(const char *line)
{
    char le[32] = "";
    size_t name = strcspn(line, "{ ");
    assert_true(name_good(line, name, false));
    const char *at = line + name;
    if (*at == '{')
        at = labels_read(at + 1, le);
    assert_int_equal(*at, ' ');
    char *key = strndup(line, (size_t)(at - line)), *end;
    double value = strtod(at + 1, &end);
    assert_true(end > at + 1 && !*end && value >= 0);
    copies[copy_count++] = key;
    if (table_add(series, key, (void *)(uintptr_t)at, NULL))
        fail_msg("twice: %s", key);
    bool histogram = !strcmp(family.type, "histogram");
    if (histogram && suffix_is(line, name, "_bucket"))
        bucket_check(le, value);
    else if (histogram && suffix_is(line, name, "_count"))
        assert_true(value == family.last_bucket && family.last_le == 1e300);
    else if (!(histogram && suffix_is(line, name, "_sum")) && !suffix_is(line, name, ""))
        fail_msg("not of the family %s: %s", family.name, line);
    if (!strcmp(family.type, "counter"))
        assert_string_equal(family.name + strlen(family.name) - 6, "_total");
}

static void comment_read(const char *line)
{
    char what[8], name[128], rest[200];
    assert_int_equal(sscanf(line, "# %7s %127s %199[^\n]", what, name, rest), 3);
    if (!strcmp(what, "HELP")) {
        char key[160];
        snprintf(key, sizeof key, "# %s", name);
        copies[copy_count] = strdup(key);
        if (table_add(series, copies[copy_count++], key, NULL))
            fail_msg("a family in two parts: %s", name);
        family = (struct family){0};
        strcpy(family.name, name);
        return;
    }
    assert_string_equal(what, "TYPE");
    assert_string_equal(name, family.name);
    assert_true(!strcmp(rest, "counter") || !strcmp(rest, "gauge") || !strcmp(rest, "histogram"));
    strcpy(family.type, rest);
}

static void page_read(char *text)
{
    series = table_new();
    copy_count = 0;
    assert_int_equal(text[strlen(text) - 1], '\n');
    for (char *line; (line = strsep(&text, "\n")) && text;) {
        if (*line == '#')
            comment_read(line);
        else
            sample_read(line);
    }
}

static void page_done(void)
{
    while (copy_count)
        free(copies[--copy_count]);
    table_free(series);
}

static void value_is(const char *key, const char *value)
{
    const char *at = table_get(series, key);
    if (!at)
        fail_msg("there is no %s", key);
    if (strcmp(at + 1, value) != 0)
        fail_msg("%s is%s", key, at);
}

/* ---- the page ------------------------------------------------------------------------------- */

static char *printed(const struct generation *generation)
{
    static struct buffer page;
    buffer_done(&page);
    buffer_init(&page, METRICS_BYTES_MAX);
    const struct metrics_sources sources = {board, tally, NULL};
    metrics_print(&sources, generation, &page);
    assert_false(page.overflowed);
    return page.data;
}

static void an_empty_cluster_has_a_page(void **state)
{
    (void)state;
    char *page = printed(NULL);
    page_read(page);
    value_is("enginx_gateway_threads", "2");
    value_is("enginx_build_info{version=\"" ENGINX_VERSION "\"}", "1");
    assert_null(table_get(series, "enginx_generation"));
    page_done();
}

static void everything_counted_is_shown(void **state)
{
    (void)state;
    service_put(0, "api", 3, BOARD_UP);
    service_put(2, "old", 4, BOARD_DRAINING);
    board_instance(board, 3)->role = ROLE_PRIMARY;
    const struct generation generation = {.number = 7};
    uint32_t listener = tally_row_take(tally, TALLY_LISTENER, "tcp:80");
    uint32_t route = tally_row_take(tally, TALLY_ROUTE, "tcp:80 shop.example /api/");
    tally_row_take(tally, TALLY_ROUTE, "tcp:80 shop.example /unused/");
    for (unsigned thread = 0; thread < THREADS; thread++) {
        struct tally_traffic *traffic[] = {tally_traffic(tally, thread, TALLY_SERVICE, 0),
                                           tally_traffic(tally, thread, TALLY_LISTENER, listener),
                                           tally_traffic(tally, thread, TALLY_ROUTE, route)};
        for (int i = 0; i < 3; i++) {
            tally_add(&traffic[i]->requests, 2);
            tally_add(&traffic[i]->status[2], 2);
            tally_add(&traffic[i]->bytes_out, 100);
            tally_add(&traffic[i]->retries, 1);
            tally_add(&traffic[i]->held_now, 3);
            tally_latency(traffic[i], 150);
            tally_latency(traffic[i], 3000000000);
        }
        struct tally_endpoint *endpoint = tally_endpoint(tally, thread, 3);
        tally_add(&endpoint->connections_now, 4);
        tally_add(&endpoint->failures_connect, 1);
        tally_add(&endpoint->ejected, 1);
        tally_add(&endpoint->status[5], 6);
        tally_add(&endpoint->latency_us, 1500001);
    }
    uint32_t remote = tally_remote_take(tally, "10.0.0.7:8080");
    tally_add(&tally_endpoint(tally, 1, remote)->bytes_in, 9);
    page_read(printed(&generation));
    value_is("enginx_generation", "7");
    value_is("enginx_service_requests_total{service=\"api\",class=\"2xx\"}", "4");
    value_is("enginx_service_requests_total{service=\"api\",class=\"none\"}", "0");
    value_is("enginx_service_instances_wanted{service=\"old\"}", "1");
    value_is("enginx_service_retries_total{service=\"api\"}", "2");
    value_is("enginx_service_held{service=\"api\"}", "6");
    value_is("enginx_listener_requests_total{listener=\"tcp:80\",class=\"2xx\"}", "4");
    value_is("enginx_route_sent_bytes_total{listener=\"tcp:80\",route=\"shop.example /api/\"}",
             "200");
    assert_null(table_get(
        series,
        "enginx_route_sent_bytes_total{listener=\"tcp:80\",route=\"shop.example /unused/\"}"));
    value_is("enginx_route_request_seconds_bucket{listener=\"tcp:80\",route=\"shop.example "
             "/api/\",le=\"0.000100\"}",
             "0");
    value_is("enginx_route_request_seconds_bucket{listener=\"tcp:80\",route=\"shop.example "
             "/api/\",le=\"0.000200\"}",
             "2");
    value_is("enginx_route_request_seconds_bucket{listener=\"tcp:80\",route=\"shop.example "
             "/api/\",le=\"+Inf\"}",
             "4");
    value_is("enginx_route_request_seconds_count{listener=\"tcp:80\",route=\"shop.example /api/\"}",
             "4");
    value_is("enginx_route_request_seconds_sum{listener=\"tcp:80\",route=\"shop.example /api/\"}",
             "6000.000300");
    assert_null(table_get(series, "enginx_service_request_seconds_count{service=\"old\"}"));
    value_is("enginx_endpoint_up{service=\"api\",endpoint=\"api.1\"}", "1");
    value_is("enginx_endpoint_up{service=\"old\",endpoint=\"old.1\"}", "0");
    value_is("enginx_endpoint_role{service=\"api\",endpoint=\"api.1\",role=\"primary\"}", "1");
    value_is("enginx_endpoint_connections{service=\"api\",endpoint=\"api.1\"}", "8");
    value_is("enginx_endpoint_connect_failures_total{service=\"api\",endpoint=\"api.1\"}", "2");
    value_is("enginx_endpoint_ejected_total{service=\"api\",endpoint=\"api.1\"}", "2");
    value_is("enginx_endpoint_responses_total{service=\"api\",endpoint=\"api.1\",class=\"5xx\"}",
             "12");
    value_is("enginx_endpoint_response_seconds_total{service=\"api\",endpoint=\"api.1\"}",
             "3.000002");
    value_is("enginx_endpoint_received_bytes_total{endpoint=\"10.0.0.7:8080\"}", "9");
    page_done();
}

static void what_had_no_row_of_its_own_is_others(void **state)
{
    (void)state;
    uint32_t row = 0;
    for (int i = 0; i < 6; i++) {
        char name[32];
        snprintf(name, sizeof name, "/%d", i);
        row = tally_row_take(tally, TALLY_ROUTE, name);
        snprintf(name, sizeof name, "10.0.0.%d:1", i);
        tally_add(&tally_endpoint(tally, 0, tally_remote_take(tally, name))->requests, 1);
    }
    tally_add(&tally_traffic(tally, 0, TALLY_ROUTE, row)->requests, 1);
    tally_add(&tally_traffic(tally, 0, TALLY_ROUTE, row)->status[0], 1);
    page_read(printed(NULL));
    value_is("enginx_route_requests_total{route=\"others\",class=\"none\"}", "1");
    value_is("enginx_endpoint_requests_total{endpoint=\"10.0.0.1:1\"}", "1");
    value_is("enginx_endpoint_requests_total{endpoint=\"others\"}", "4");
    page_done();
}

static void names_do_not_leave_their_label(void **state)
{
    (void)state;
    uint32_t row = tally_row_take(tally, TALLY_ROUTE, "tcp:80 a\"} 1\nb\\ \x01\xff caf\xc3\xa9");
    tally_add(&tally_traffic(tally, 0, TALLY_ROUTE, row)->requests, 1);
    page_read(printed(NULL));
    value_is("enginx_route_sent_bytes_total{listener=\"tcp:80\",route=\"a\\\"} 1\\nb\\\\  ? "
             "caf\xc3\xa9\"}",
             "0");
    page_done();
}

/* ---- the server ----------------------------------------------------------------------------- */

static struct metrics *metrics;
static int listening = -1;
static struct sockaddr_in address;

static int serve(void **state)
{
    if (setup(state))
        return -1;
    socklen_t length = sizeof address;
    listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (bind(listening, (struct sockaddr *)&address, sizeof address) || listen(listening, 64) ||
        getsockname(listening, (struct sockaddr *)&address, &length))
        return -1;
    const struct metrics_sources sources = {board, tally, NULL};
    metrics = metrics_new(loop, listening, &sources);
    return metrics ? 0 : -1;
}

static int served(void **state)
{
    metrics_free(metrics);
    fd_drop(&listening);
    return teardown(state);
}

static int client(const char *request)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    return fd;
}

/* All that comes until the end; "" when nothing comes. Closes. */
static const char *answer(int fd)
{
    static char text[1 << 20];
    size_t length = 0;
    for (int turns = 0; turns < WAIT_TURNS; turns++) {
        loop_turn(loop, 5);
        ssize_t got = recv(fd, text + length, sizeof text - 1 - length, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN))
            break;
        length += got > 0 ? (size_t)got : 0;
    }
    text[length] = 0;
    close(fd);
    return text;
}

static void begins(const char *text, const char *begin)
{
    if (strncmp(text, begin, strlen(begin)) != 0)
        fail_msg("%.60s, instead of %s", text, begin);
}

static void a_scraper_gets_the_page(void **state)
{
    (void)state;
    metrics_settle(metrics, &(const struct generation){.number = 3});
    const char *text = answer(client("GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n"));
    begins(text, "HTTP/1.1 200 OK\r\n");
    assert_non_null(strstr(text, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    const char *body = strstr(text, "\r\n\r\n") + 4;
    size_t length = strtoul(strstr(text, "Content-Length: ") + 16, NULL, 10);
    assert_int_equal(strlen(body), length);
    page_read((char *)(uintptr_t)body);
    value_is("enginx_generation", "3");
    page_done();
    text = answer(client("HEAD /metrics HTTP/1.0\r\n\r\n"));
    begins(text, "HTTP/1.1 200 OK\r\n");
    assert_string_equal(strstr(text, "\r\n\r\n"), "\r\n\r\n");
    assert_null(strstr(text, "Content-Length: 0"));
}

static void a_request_in_pieces_is_read(void **state)
{
    (void)state;
    int fd = client("\r\nGET /met");
    for (int i = 0; i < 5; i++)
        loop_turn(loop, 5);
    send(fd, "rics HTTP/1.1\r\nHost: a\r\n\r\n", 26, MSG_NOSIGNAL);
    begins(answer(fd), "HTTP/1.1 200 OK\r\n");
}

static void other_requests_are_refused(void **state)
{
    (void)state;
    begins(answer(client("GET / HTTP/1.1\r\nHost: a\r\n\r\n")), "HTTP/1.1 404 ");
    const char *text =
        answer(client("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
    begins(text, "HTTP/1.1 405 ");
    assert_non_null(strstr(text, "\r\nAllow: GET, HEAD\r\n"));
    begins(answer(client("GET /metrics HTTP/1.1\r\n\r\n")), "HTTP/1.1 400 "); /* no Host */
    begins(answer(client("GET /metrics\r\n\r\n")), "HTTP/1.1 400 ");
    begins(answer(client("GET /metrics HTTP/1.1\nHost: a\n\n")), "HTTP/1.1 400 ");
    char many[METRICS_HEAD_BYTES_MAX + 1];
    memset(many, 'a', sizeof many);
    memcpy(many, "GET /", 5);
    many[sizeof many - 1] = 0;
    begins(answer(client(many)), "HTTP/1.1 431 ");
}

static void clients_beyond_the_bound_wait(void **state)
{
    (void)state;
    int idle[METRICS_CLIENTS_MAX];
    for (int i = 0; i < METRICS_CLIENTS_MAX; i++)
        idle[i] = client("GET");
    for (int i = 0; i < 10; i++)
        loop_turn(loop, 5);
    int fd = client("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    for (int i = 0; i < 10; i++)
        loop_turn(loop, 5);
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    assert_int_equal(errno, EAGAIN);
    close(idle[0]);
    begins(answer(fd), "HTTP/1.1 200 OK\r\n");
    for (int i = 1; i < METRICS_CLIENTS_MAX; i++)
        close(idle[i]);
}

static void a_slow_client_gets_all_of_it(void **state)
{
    (void)state;
    int small = 1; /* the kernel makes its minimum of it */
    setsockopt(listening, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    setsockopt(listening, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    for (uint32_t i = 0; i < 4; i++)
        service_put(i, (const char *[]){"a", "b", "c", "d"}[i], i, BOARD_UP);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
    send(fd, request, sizeof request - 1, MSG_NOSIGNAL);
    for (int i = 0; i < 20; i++)
        loop_turn(loop, 5);
    const char *text = answer(fd);
    begins(text, "HTTP/1.1 200 OK\r\n");
    size_t length = strtoul(strstr(text, "Content-Length: ") + 16, NULL, 10);
    assert_true(length > 10000);
    assert_int_equal(strlen(strstr(text, "\r\n\r\n") + 4), length);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_cluster_has_a_page, setup, teardown),
        cmocka_unit_test_setup_teardown(everything_counted_is_shown, setup, teardown),
        cmocka_unit_test_setup_teardown(what_had_no_row_of_its_own_is_others, setup, teardown),
        cmocka_unit_test_setup_teardown(names_do_not_leave_their_label, setup, teardown),
        cmocka_unit_test_setup_teardown(a_scraper_gets_the_page, serve, served),
        cmocka_unit_test_setup_teardown(a_request_in_pieces_is_read, serve, served),
        cmocka_unit_test_setup_teardown(other_requests_are_refused, serve, served),
        cmocka_unit_test_setup_teardown(clients_beyond_the_bound_wait, serve, served),
        cmocka_unit_test_setup_teardown(a_slow_client_gets_all_of_it, serve, served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
