#include "control/server.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/table.h"
#include "control/client.h"
#include "control/events.h"
#include "control/text.h"
#include "supervise/supervisor.h"

/* A cluster without services needs no process, and answers all the same. */
struct fixture {
    char folder[64];
    struct loop *loop;
    struct topology topology;
    struct supervisor supervisor;
    struct events *events;
    struct control_server *server;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    char path[96];
    strcpy(fixture->folder, "/tmp/control-XXXXXX");
    if (!mkdtemp(fixture->folder))
        return -1;
    snprintf(path, sizeof path, "%s/control", fixture->folder);
    fixture->loop = loop_new();
    fixture->topology = (struct topology){.name = "shop", .file = "/a/\xff.conf"};
    fixture->supervisor = (struct supervisor){
        .loop = fixture->loop,
        .topology = &fixture->topology,
        .names = table_new(),
        .options = {.log_directory = "/var/log/shop"},
    };
    *state = fixture;
    int none = -1;
    fixture->events = events_new();
    return control_server_new(fixture->loop, &fixture->supervisor, fixture->events, path, &none,
                              &fixture->server);
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    control_server_free(fixture->server);
    deferred_stop(fixture->loop, &fixture->supervisor.change);
    loop_free(fixture->loop);
    events_free(fixture->events);
    table_free(fixture->supervisor.names);
    int removed = rmdir(fixture->folder); /* the socket is gone */
    free(fixture);
    return removed;
}

static void turns(struct fixture *fixture, int count)
{
    while (count--)
        assert_int_equal(loop_turn(fixture->loop, 0), 0);
}

static int connected(struct fixture *fixture)
{
    int fd = control_connect(fixture->folder);
    assert_true(fd >= 0);
    turns(fixture, 2);
    return fd;
}

/* The line that answers; NULL: the connection was closed without one. */
static json_t *answer_of(struct fixture *fixture, int fd)
{
    static char text[65536];
    size_t length = 0;
    for (int i = 0; i < 100; i++) {
        turns(fixture, 1);
        ssize_t count = recv(fd, text + length, sizeof text - 1 - length, MSG_DONTWAIT);
        if (count == 0 || (count < 0 && errno != EAGAIN))
            break;
        length += count > 0 ? (size_t)count : 0;
    }
    text[length] = 0;
    return length ? json_loads(text, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
}

static json_t *asked(struct fixture *fixture, const char *request, size_t length)
{
    int fd = connected(fixture);
    assert_int_equal(send(fd, request, length, MSG_NOSIGNAL), length);
    json_t *answer = answer_of(fixture, fd);
    close(fd);
    turns(fixture, 2);
    return answer;
}

static void assert_error(json_t *answer, const char *text)
{
    assert_non_null(answer);
    assert_string_equal(json_string_value(json_object_get(answer, "error")), text);
    json_decref(answer);
}

#define ASK(text) asked(fixture, text, sizeof(text) - 1)

static void garbage_is_answered(void **state)
{
    struct fixture *fixture = *state;
    assert_error(ASK("nonsense\n"), "the request is not JSON");
    assert_error(ASK("\0\xff\xfe\n"), "the request is not JSON");
    assert_error(ASK("[1]\n"), "unknown command");
    assert_error(ASK("{\"command\":3}\n"), "unknown command");
    assert_error(ASK("{\"command\":\"fly\"}\n"), "unknown command");
    assert_error(ASK("{\"command\":\"scale\",\"service\":\"web\",\"count\":2}\n"),
                 "there is no such service");
}

static void a_line_without_end_is_bounded(void **state)
{
    struct fixture *fixture = *state;
    static char long_line[REQUEST_BYTES_MAX * 4];
    memset(long_line, 'x', sizeof long_line);
    assert_error(asked(fixture, long_line, sizeof long_line), "the request is too long");
}

static void whoever_sends_no_more_is_answered_all_the_same(void **state)
{
    struct fixture *fixture = *state;
    static const char request[] = "{\"command\":\"status\"}\n";
    int fd = connected(fixture);
    assert_int_equal(send(fd, request, sizeof request - 1, 0), sizeof request - 1);
    shutdown(fd, SHUT_WR);
    json_t *answer = answer_of(fixture, fd);
    assert_true(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
    close(fd);
    /* Who goes in the midst of a request is forgotten. */
    fd = connected(fixture);
    assert_int_equal(send(fd, "{\"comm", 6, 0), 6);
    shutdown(fd, SHUT_WR);
    assert_null(answer_of(fixture, fd));
    close(fd);
}

static void a_name_that_is_not_utf8_costs_no_answer(void **state)
{
    struct fixture *fixture = *state;
    json_t *answer = ASK("{\"command\":\"status\"}\n");
    const json_t *status = json_object_get(answer, "status");
    assert_string_equal(json_string_value(json_object_get(status, "file")), "/a/\xef\xbf\xbd.conf");
    assert_string_equal(json_string_value(json_object_get(status, "logs")), "/var/log/shop");
    json_decref(answer);
}

static void more_clients_than_may_are_refused_until_some_go(void **state)
{
    struct fixture *fixture = *state;
    int fds[CONTROL_CLIENTS_MAX + 1];
    for (int i = 0; i <= CONTROL_CLIENTS_MAX; i++)
        fds[i] = connected(fixture);
    char byte;
    assert_int_equal(recv(fds[CONTROL_CLIENTS_MAX], &byte, 1, MSG_DONTWAIT), 0);
    assert_int_equal(recv(fds[0], &byte, 1, MSG_DONTWAIT), -1);
    for (int i = 0; i <= CONTROL_CLIENTS_MAX; i++)
        close(fds[i]);
    turns(fixture, 4);
    assert_error(ASK("{}\n"), "unknown command");
}

static void one_is_answered_when_no_descriptors_are_left(void **state)
{
    struct fixture *fixture = *state;
    struct rlimit before, none;
    int fd = control_connect(fixture->folder); /* not accepted yet */
    assert_true(fd >= 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)fd + 1;
    for (int filler = 0; filler >= 0;) /* lower numbers may be free still */
        if ((filler = dup(fd)) > fd) {
            close(filler);
            break;
        }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(send(fd, "{}\n", 3, 0), 3);
    json_t *answer = answer_of(fixture, fd);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_error(answer, "unknown command");
    close(fd);
}

static void a_cluster_that_goes_down_takes_no_orders(void **state)
{
    struct fixture *fixture = *state;
    int first = connected(fixture);
    static const char down[] = "{\"command\":\"down\"}\n";
    assert_int_equal(send(first, down, sizeof down - 1, 0), sizeof down - 1);
    turns(fixture, 3);
    assert_true(fixture->supervisor.ending);
    int second = connected(fixture); /* only a signal makes it hurry */
    assert_int_equal(send(second, down, sizeof down - 1, 0), sizeof down - 1);
    turns(fixture, 3);
    assert_false(fixture->supervisor.killing);
    assert_error(ASK("{\"command\":\"restart\"}\n"), "the cluster is going down");
    assert_error(ASK("{\"command\":\"scale\",\"service\":\"x\",\"count\":1}\n"),
                 "the cluster is going down");
    control_server_free(fixture->server);
    fixture->server = NULL;
    char text[64];
    ssize_t length = recv(first, text, sizeof text - 1, MSG_DONTWAIT);
    assert_true(length > 0);
    text[length] = 0;
    assert_string_equal(text, "{\"ok\":true}\n");
    close(first);
    close(second);
}

/* `count` events of this text, as a log would give them. */
static void happen(struct fixture *fixture, const char *text, int count)
{
    char line[1024];
    int length = snprintf(line, sizeof line, "T info s e text=%s\n", text);
    for (int i = 0; i < count; i++) {
        events_add(fixture->events, line, (size_t)length);
        control_server_events(fixture->server);
    }
}

/* The next line that comes, as an object. */
static json_t *line_of(struct fixture *fixture, int fd)
{
    static char line[16384];
    size_t length = 0;
    for (int i = 0; i < 200 && length < sizeof line;) {
        ssize_t count = recv(fd, line + length, 1, MSG_DONTWAIT);
        if (count == 0)
            break;
        if (count < 0) {
            turns(fixture, 1);
            i++;
        } else if (line[length++] == '\n') {
            return json_loadb(line, length, 0, NULL);
        }
    }
    return NULL;
}

static int following(struct fixture *fixture)
{
    static const char request[] = "{\"command\":\"events\",\"last\":1,\"follow\":true}\n";
    int fd = connected(fixture);
    assert_int_equal(send(fd, request, sizeof request - 1, 0), sizeof request - 1);
    turns(fixture, 2);
    return fd;
}

static void assert_line(struct fixture *fixture, int fd, const char *key, int value)
{
    json_t *object = line_of(fixture, fd);
    assert_non_null(object);
    assert_int_equal(json_integer_value(json_object_get(object, key)), value);
    json_decref(object);
}

static void events_come_to_who_follows(void **state)
{
    struct fixture *fixture = *state;
    happen(fixture, "early", 2);
    int fd = following(fixture);
    assert_line(fixture, fd, "number", 2); /* the last of before */
    assert_null(line_of(fixture, fd));
    happen(fixture, "late", 1);
    assert_line(fixture, fd, "number", 3);
    control_server_changed(fixture->server); /* no progress is told */
    happen(fixture, "last", 1);
    control_server_free(fixture->server);
    fixture->server = NULL;
    char text[512];
    ssize_t length = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);
    assert_true(length > 0);
    text[length] = 0;
    assert_non_null(strstr(text, "\"last\""));
    assert_non_null(strstr(text, "{\"end\":\"the cluster went down\"}\n"));
    close(fd);
}

/* It holds nobody up, costs no more than it may, and is told what it has not been told. */
static void who_does_not_read_loses_events(void **state)
{
    struct fixture *fixture = *state;
    static char text[900];
    memset(text, 'x', sizeof text - 1);
    int slow = following(fixture);
    for (int i = 0; i < 8; i++) {
        happen(fixture, text, EVENTS_KEPT);
        turns(fixture, 2);
    }
    int total = 8 * EVENTS_KEPT, seen = 0, lost = 0;
    json_t *object;
    while (seen + lost < total && (object = line_of(fixture, slow))) {
        int here = (int)json_integer_value(json_object_get(object, "lost"));
        lost += here;
        seen += !here;
        if (!here)
            assert_int_equal(json_integer_value(json_object_get(object, "number")), seen + lost);
        json_decref(object);
    }
    assert_int_equal(seen + lost, total);
    assert_true(lost >= total / 2); /* the socket and the bound hold less */
    happen(fixture, "next", 1);
    assert_line(fixture, slow, "number", total + 1);
    close(slow);
    turns(fixture, 2);
}

static void only_so_many_follow(void **state)
{
    struct fixture *fixture = *state;
    int fds[EVENTS_SUBSCRIBERS_MAX];
    for (int i = 0; i < EVENTS_SUBSCRIBERS_MAX; i++)
        fds[i] = following(fixture);
    assert_error(ASK("{\"command\":\"events\",\"follow\":true}\n"),
                 "too many follow the events already");
    json_t *answer = ASK("{\"command\":\"events\"}\n"); /* to ask is free */
    assert_true(json_is_true(json_object_get(answer, "ok")));
    json_decref(answer);
    close(fds[0]);
    turns(fixture, 2);
    fds[0] = following(fixture);
    happen(fixture, "x", 1);
    assert_line(fixture, fds[0], "number", 1);
    for (int i = 0; i < EVENTS_SUBSCRIBERS_MAX; i++)
        close(fds[i]);
    turns(fixture, 2);
}

static void what_is_not_utf8_is_marked_byte_by_byte(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
    } rows[] = {
        {"plain", "plain"},
        {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"a\xc3", "a\xef\xbf\xbd"},               /* cut */
        {"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"}, /* overlong */
        {"\xff\xc3\xa4", "\xef\xbf\xbd\xc3\xa4"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        json_t *string = json_text(rows[i].from);
        assert_string_equal(json_string_value(string), rows[i].to);
        json_decref(string);
    }
    assert_true(json_is_null(json_text(NULL)));
}

int main(void)
{
#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH_SERVER(garbage_is_answered),
        WITH_SERVER(a_line_without_end_is_bounded),
        WITH_SERVER(whoever_sends_no_more_is_answered_all_the_same),
        WITH_SERVER(a_name_that_is_not_utf8_costs_no_answer),
        WITH_SERVER(more_clients_than_may_are_refused_until_some_go),
        WITH_SERVER(one_is_answered_when_no_descriptors_are_left),
        WITH_SERVER(a_cluster_that_goes_down_takes_no_orders),
        WITH_SERVER(events_come_to_who_follows),
        WITH_SERVER(who_does_not_read_loses_events),
        WITH_SERVER(only_so_many_follow),
        cmocka_unit_test(what_is_not_utf8_is_marked_byte_by_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
