/* `auth request`: the service that is asked and the one that serves are the test's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/guard/guard.h"
#include "gateway/http/h1_rig.h"

#define OK_2  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define GET   "GET /shop?a=b HTTP/1.1\r\nHost: a\r\n\r\n"
#define EMPTY "Content-Length: 0\r\n\r\n"

static const char *const copies[] = {"X-User", "X-Groups", NULL};
static struct route own_route;
static struct guard_request request;
static struct guard guard;
static const struct header_rule rules[] = {
    {.action = HEADER_SET, .name = "X-Seen", .value = "${user}"}};

/* With one instance, which is both services. */
static void start(struct rig *rig, uint32_t instances)
{
    own_route = rig->route;
    own_route.name = "auth";
    request.route = &own_route;
    request.path = "/auth";
    request.copy = copies;
    request.user = "X-User";
    request.key = "${header.Cookie}";
    guard =
        (struct guard){.kind = GUARD_REQUEST, .text = "auth request -> api", .request = &request};
    rig->route.guards = &guard;
    rig->route.guard_count = 1;
    rig->route.headers_change = rules;
    rig->route.headers_change_count = 1;
    rig_start(rig, instances);
}

static int clean(void **state)
{
    request = (struct guard_request){0};
    return rig_end(state);
}

static void assert_has(const struct rig *rig, const char *text)
{
    if (!strcasestr(rig->text, text))
        fail_msg("no “%s” in: %s", text, rig->text);
}

static void assert_lacks(const struct rig *rig, const char *text)
{
    if (strcasestr(rig->text, text))
        fail_msg("“%s” in: %s", text, rig->text);
}

/* The question, on a connection that is there or comes. */
static void asked(struct rig *rig, int *origin)
{
    if (*origin < 0)
        *origin = rig_origin(rig, 1);
    rig_hear(rig, *origin, "\r\n\r\n");
    assert_has(rig, "GET /auth HTTP/1.1\r\n");
}

static void who_may_passes(void **state)
{
    struct rig *rig = *state;
    start(rig, 1);
    int client = rig_client(rig), origin = -1;
    rig_say(rig, client,
            "POST /shop?a=b HTTP/1.1\r\nHost: a\r\nCookie: s=1\r\nX-User: root\r\nX_User: root\r\n"
            "X-Groups: wheel\r\nRange: bytes=0-1\r\nX-Original-URI: /other\r\nIf-None-Match: "
            "\"x\"\r\nX-Other: kept\r\nContent-Length: 5\r\n\r\nhello");
    asked(rig, &origin);
    assert_has(rig, "Cookie: s=1\r\n");
    assert_has(rig, "X-Original-URI: /shop?a=b\r\n");
    assert_has(rig, "X-Original-Method: POST\r\n");
    assert_lacks(rig, "/other");
    assert_lacks(rig, "Range:");
    assert_lacks(rig, "If-None-Match:");
    assert_lacks(rig, "Content-Length: 5");
    rig_say(rig, origin, "HTTP/1.1 204 No Content\r\nX-User: ann\r\nX-Secret: no\r\n\r\n");
    rig_hear(rig, origin, "hello");
    assert_has(rig, "POST /shop?a=b HTTP/1.1\r\n");
    assert_has(rig, "X-User: ann\r\n");
    assert_has(rig, "X-Seen: ann\r\n");
    assert_has(rig, "X-Other: kept\r\n");
    assert_lacks(rig, "root");
    assert_lacks(rig, "X-Groups");
    assert_lacks(rig, "X-Secret");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    assert_int_equal(rig->plan_tally->requests, 1);
    close(client);
    close(origin);
}

static void answered(struct rig *rig, const char *answer, const char *status)
{
    char line[32];
    int client = rig_client(rig), origin = -1;
    snprintf(line, sizeof line, "HTTP/1.1 %s ", status);
    rig_say(rig, client, GET);
    asked(rig, &origin);
    rig_say(rig, origin, answer);
    rig_hear(rig, client, "\r\n\r\n");
    assert_has(rig, line);
    assert_lacks(rig, "X-Secret");
    close(client);
    close(origin);
    rig_turns(rig);
}

static void who_may_not_is_told(void **state)
{
    struct rig *rig = *state;
    rig->service.gateway.retry_tries = 0;
    start(rig, 1);
    answered(rig,
             "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=x\r\nX-Secret: "
             "no\r\n" EMPTY,
             "401");
    assert_has(rig, "WWW-Authenticate: Bearer realm=x\r\n");
    answered(rig, "HTTP/1.1 403 Forbidden\r\nSet-Cookie: s=\r\n" EMPTY, "403");
    assert_has(rig, "Set-Cookie: s=\r\n");
    assert_int_equal(rig->plan_tally->guarded[GUARD_REQUEST], 2);
    answered(rig, "HTTP/1.1 302 Found\r\nLocation: /login\r\n" EMPTY, "502");
    answered(rig, "HTTP/1.1 500 Oh\r\n" EMPTY, "502");
    answered(rig, "HTTP/1.1 503 Oh\r\n" EMPTY, "503");
    answered(rig, "garbage\r\n\r\n", "502");
}

static void redirects_are_passed_on_where_asked_for(void **state)
{
    struct rig *rig = *state;
    request.redirects = true;
    start(rig, 1);
    answered(rig, "HTTP/1.1 302 Found\r\nLocation: /login\r\nX-Secret: no\r\n" EMPTY, "302");
    assert_has(rig, "Location: /login\r\n");
    answered(rig, "HTTP/1.1 304 Not Modified\r\n\r\n", "502");
}

static void nobody_is_there(void **state)
{
    struct rig *rig = *state;
    rig->service.gateway.hold_max = 0;
    start(rig, 0);
    int client = rig_client(rig);
    rig_say(rig, client, GET);
    rig_hear(rig, client, "\r\n\r\n");
    assert_has(rig, "HTTP/1.1 503 ");
    close(client);
}

static void served(struct rig *rig, int client, int origin)
{
    rig_hear(rig, origin, "\r\n\r\n");
    assert_has(rig, "GET /shop?a=b HTTP/1.1\r\n");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
}

static void answers_are_remembered_for_a_while(void **state)
{
    struct rig *rig = *state;
    request.cache_ms = 5000;
    request.identity = 7;
    start(rig, 1);
    int client = rig_client(rig), origin = -1;
    rig_say(rig, client, "GET /shop?a=b HTTP/1.1\r\nHost: a\r\nCookie: s=1\r\n\r\n");
    asked(rig, &origin);
    rig_say(rig, origin, "HTTP/1.1 200 OK\r\nX-User: ann\r\nX-Groups: a, b\r\n" EMPTY);
    served(rig, client, origin);
    for (int i = 0; i < 2; i++) {
        rig_say(rig, client, "GET /shop?a=b HTTP/1.1\r\nHost: a\r\nCookie: s=1\r\n\r\n");
        served(rig, client, origin);
    }
    rig_say(rig, client, "GET /shop?a=b HTTP/1.1\r\nHost: a\r\nCookie: s=1\r\n\r\n");
    rig_hear(rig, origin, "\r\n\r\n");
    assert_has(rig, "X-User: ann\r\n");
    assert_has(rig, "X-Groups: a, b\r\n");
    assert_has(rig, "X-Seen: ann\r\n");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    rig_say(rig, client, "GET /shop?a=b HTTP/1.1\r\nHost: a\r\nCookie: s=2\r\n\r\n");
    asked(rig, &origin);
    rig_say(rig, origin, "HTTP/1.1 403 No\r\n" EMPTY);
    rig_hear(rig, client, "request: ");
    rig_say(rig, client, "GET /shop?a=b HTTP/1.1\r\nHost: a\r\nCookie: s=2\r\n\r\n");
    rig_hear(rig, client, "request: ");
    assert_has(rig, "HTTP/1.1 403 ");
    rig_pass(rig, 5001);
    rig_say(rig, client, "GET /shop?a=b HTTP/1.1\r\nHost: a\r\nCookie: s=1\r\n\r\n");
    asked(rig, &origin);
    rig_say(rig, origin, "HTTP/1.1 200 OK\r\nSet-Cookie: new=1\r\n" EMPTY);
    served(rig, client, origin);
    close(client);
    close(origin);
}

static void a_client_may_leave_meanwhile(void **state)
{
    struct rig *rig = *state;
    start(rig, 1);
    int client = rig_client(rig), origin = -1;
    rig_say(rig, client, GET);
    asked(rig, &origin);
    setsockopt(client, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
               sizeof(struct linger));
    close(client);
    rig_turns(rig);
    rig_hear_end(rig, origin);
    close(origin);
}

/* The head says it all: what follows without end is not waited for. */
static void long_answers_are_cut(void **state)
{
    struct rig *rig = *state;
    start(rig, 1);
    int client = rig_client(rig), origin = -1;
    char *many = malloc(300001);
    memset(many, 'x', 300000);
    many[300000] = 0;
    rig_say(rig, client, GET);
    asked(rig, &origin);
    rig_say(rig, origin, "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n");
    rig_say(rig, origin, many);
    free(many);
    int other = rig_origin(rig, 1);
    served(rig, client, other);
    close(client);
    close(origin);
    close(other);
}

int main(void)
{
#define RIGGED(test) cmocka_unit_test_setup_teardown(test, rig_begin, clean)
    const struct CMUnitTest tests[] = {
        RIGGED(who_may_passes),
        RIGGED(who_may_not_is_told),
        RIGGED(redirects_are_passed_on_where_asked_for),
        RIGGED(nobody_is_there),
        RIGGED(answers_are_remembered_for_a_while),
        RIGGED(a_client_may_leave_meanwhile),
        RIGGED(long_answers_are_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
