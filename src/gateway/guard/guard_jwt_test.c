/* `auth jwt` with keys of a service, which is the test's, as is the one behind. */
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
#include "gateway/guard/jwks.h"
#include "gateway/http/h1_rig.h"

#define OK_2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
/* RFC 7515 A.3: it ended in 2011, so clocks may differ by a century here. */
#define TOKEN                                                                                      \
    "eyJhbGciOiJFUzI1NiJ9."                                                                        \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVl" \
    "fQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
#define SET                                                                                        \
    "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9u"    \
    "PHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}"
#define OTHER_SET                                                                                  \
    "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIa" \
    "aPcHURo\"}]}"
#define GET        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " TOKEN "\r\n\r\n"
#define GET_BROKEN "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer a.b.c\r\n\r\n"

static struct route own_route;
static struct guard_jwt jwt;
static struct guard guard;
static const struct header_rule rules[] = {
    {.action = HEADER_SET, .name = "X-Iss", .value = "${jwt.iss}"}};

static void start(struct rig *rig, uint32_t instances)
{
    own_route = rig->route;
    own_route.name = "auth";
    jwt = (struct guard_jwt){.keys = GUARD_KEYS_SERVICE,
                             .route = &own_route,
                             .path = "/jwks.json",
                             .realm = "shop",
                             .leeway_s = UINT32_MAX};
    guard = (struct guard){.kind = GUARD_JWT, .text = "auth jwt", .jwt = &jwt};
    rig->service.gateway.retry_tries = 0;
    rig->route.guards = &guard;
    rig->route.guard_count = 1;
    rig->route.headers_change = rules;
    rig->route.headers_change_count = 1;
    rig_start(rig, instances);
}

static void assert_has(const struct rig *rig, const char *text)
{
    if (!strstr(rig->text, text))
        fail_msg("no “%s” in: %s", text, rig->text);
}

static void asked(struct rig *rig, int *origin)
{
    if (*origin < 0)
        *origin = rig_origin(rig, 1);
    rig_hear(rig, *origin, "\r\n\r\n");
    assert_has(rig, "GET /jwks.json HTTP/1.1\r\nHost: api\r\n");
}

static void shows(struct rig *rig, int origin, const char *status, const char *set)
{
    char answer[1024];
    snprintf(answer, sizeof answer, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n%s", status,
             strlen(set), set);
    rig_say(rig, origin, answer);
}

static void served(struct rig *rig, int client, int origin)
{
    rig_hear(rig, origin, "\r\n\r\n");
    assert_has(rig, "GET / HTTP/1.1\r\n");
    assert_has(rig, "X-Iss: joe\r\n");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
}

static void refused(struct rig *rig, int client, const char *status, const char *challenge)
{
    char line[32];
    snprintf(line, sizeof line, "HTTP/1.1 %s ", status);
    rig_hear(rig, client, "request: ");
    assert_has(rig, line);
    if (challenge)
        assert_has(rig, challenge);
}

static void keys_are_fetched_once(void **state)
{
    struct rig *rig = *state;
    start(rig, 1);
    int first = rig_client(rig), second = rig_client(rig), origin = -1;
    rig_say(rig, first, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    refused(rig, first, "401", "WWW-Authenticate: Bearer realm=\"shop\"\r\n");
    rig_say(rig, first, GET);
    rig_say(rig, second, GET_BROKEN);
    asked(rig, &origin);
    assert_false(rig_origin_waits(rig, 1));
    shows(rig, origin, "200 OK", SET);
    refused(rig, second, "401",
            "WWW-Authenticate: Bearer realm=\"shop\", error=\"invalid_token\"\r\n");
    served(rig, first, origin);
    rig_say(rig, second, GET);
    served(rig, second, origin);
    close(first);
    close(second);
    close(origin);
}

static void without_keys_nobody_passes(void **state)
{
    struct rig *rig = *state;
    start(rig, 1);
    int client = rig_client(rig), origin = -1;
    static const char *const answers[] = {"{}", "no", ""};
    for (int i = 0; i < 3; i++) {
        rig_say(rig, client, GET);
        asked(rig, &origin);
        shows(rig, origin, "200 OK", answers[i]);
        refused(rig, client, "503", NULL);
        rig_say(rig, client, GET); /* not asked again at once */
        refused(rig, client, "503", NULL);
        rig_pass(rig, JWKS_RETRY_MS);
    }
    rig_say(rig, client, GET);
    asked(rig, &origin);
    shows(rig, origin, "404 Not Found", SET);
    refused(rig, client, "503", NULL);
    rig_pass(rig, JWKS_RETRY_MS);
    rig_say(rig, client, GET);
    asked(rig, &origin);
    shows(rig, origin, "200 OK", SET);
    served(rig, client, origin);
    close(client);
    close(origin);
}

static void the_last_ones_go_on(void **state)
{
    struct rig *rig = *state;
    start(rig, 1);
    int client = rig_client(rig), origin = -1, further = -1;
    rig_say(rig, client, GET);
    asked(rig, &origin);
    shows(rig, origin, "200 OK", SET);
    served(rig, client, origin);
    close(origin);
    origin = -1;
    close(client);
    rig_pass(rig, JWKS_FRESH_MS);
    client = rig_client(rig);
    rig_say(rig, client, GET); /* it does not wait for the newer set */
    asked(rig, &origin);
    further = rig_origin(rig, 1);
    served(rig, client, further);
    shows(rig, origin, "500 Oh", "");
    close(origin);
    rig_pass(rig, JWKS_RETRY_MS - 1); /* it is not asked again so soon */
    rig_say(rig, client, GET);
    served(rig, client, further);
    assert_false(rig_origin_waits(rig, 1));
    close(client);
    close(further);
}

/* Whoever shows a new key is asked for it, but not by each token that names none. */
static void a_newer_key_is_asked_for(void **state)
{
    struct rig *rig = *state;
    start(rig, 1);
    int client = rig_client(rig), origin = -1;
    rig_say(rig, client, GET);
    asked(rig, &origin);
    shows(rig, origin, "200 OK", OTHER_SET);
    refused(rig, client, "401", "error=\"invalid_token\"");
    rig_pass(rig, JWKS_RETRY_MS);
    rig_say(rig, client, GET);
    refused(rig, client, "401", "error=\"invalid_token\"");
    rig_pass(rig, JWKS_AGAIN_MS);
    rig_say(rig, client, GET);
    asked(rig, &origin);
    shows(rig, origin, "200 OK", SET);
    served(rig, client, origin);
    close(client);
    close(origin);
}

static void a_client_may_leave_meanwhile(void **state)
{
    struct rig *rig = *state;
    start(rig, 1);
    int client = rig_client(rig), other = rig_client(rig), origin = -1;
    rig_say(rig, client, GET);
    asked(rig, &origin);
    rig_say(rig, other, GET);
    setsockopt(client, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
               sizeof(struct linger));
    close(client);
    rig_turns(rig);
    shows(rig, origin, "200 OK", SET);
    served(rig, other, origin);
    close(other);
    close(origin);
}

/* The rig's end finds what a worker leaves that ends now. */
static void a_worker_may_end_meanwhile(void **state)
{
    struct rig *rig = *state;
    start(rig, 1);
    int client = rig_client(rig), origin = -1;
    rig_say(rig, client, GET);
    asked(rig, &origin);
    close(client);
    close(origin);
}

int main(void)
{
#define RIGGED(test) cmocka_unit_test_setup_teardown(test, rig_begin, rig_end)
    const struct CMUnitTest tests[] = {
        RIGGED(keys_are_fetched_once),        RIGGED(without_keys_nobody_passes),
        RIGGED(the_last_ones_go_on),          RIGGED(a_newer_key_is_asked_for),
        RIGGED(a_client_may_leave_meanwhile), RIGGED(a_worker_may_end_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
