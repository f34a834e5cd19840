/* `auth basic`: a worker, its helpers, a client and an instance. */
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
#include "gateway/guard/password_hash.h"
#include "gateway/guard/passwords.h"
#include "gateway/http/h1_rig.h"

#define OK_2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
/* Of "secret". */
#define BCRYPT  "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW"
#define SLOW    "$2b$09$abcdefghijklmnopqrstuuHGaj8X0gyV0nNYEM.J5pTQDq3AfkM3W"
#define SLOWEST "$2b$12$abcdefghijklmnopqrstuuT1Iwu6o8Wx7BoOyIMHfgVJq6JO/IJhW"
#define ANN     "Authorization: Basic YW5uOnNlY3JldA==\r\n" /* ann:secret */
#define BOB     "Authorization: Basic Ym9iOnNlY3JldA==\r\n" /* bob:secret */
#define EVE     "Authorization: Basic ZXZlOmd1ZXNz\r\n"     /* eve:guess */
#define NOBODY  "Authorization: Basic bm9ib2R5OnNlY3JldA==\r\n"
#define GET(it) "GET / HTTP/1.1\r\nHost: a\r\n" it "\r\n"

static const struct guard_user users[] = {{"ann", BCRYPT}, {"bob", BCRYPT}, {"eve", BCRYPT}};
static const struct guard_basic basic = {.realm = "the staff", .users = users, .user_count = 3};
static const struct guard guards[] = {{.kind = GUARD_BASIC, .text = "auth basic", .basic = &basic}};
static const struct header_rule rules[] = {
    {.action = HEADER_SET, .name = "X-User", .value = "${user}"}};

static void start(struct rig *rig)
{
    rig->route.guards = guards;
    rig->route.guard_count = 1;
    rig->route.headers_change = rules;
    rig->route.headers_change_count = 1;
    rig_start(rig, 1);
}

static void assert_has(const struct rig *rig, const char *text)
{
    if (!strstr(rig->text, text))
        fail_msg("no “%s” in: %s", text, rig->text);
}

static void challenged(struct rig *rig, int client, const char *request)
{
    rig_say(rig, client, request);
    rig_hear(rig, client, "request: ");
    assert_has(rig, "HTTP/1.1 401 Unauthorized\r\n");
    assert_has(rig, "WWW-Authenticate: Basic realm=\"the staff\", charset=\"UTF-8\"\r\n");
    if (strstr(rig->text, "secret") || strstr(rig->text, "guess"))
        fail_msg("a secret is told: %s", rig->text);
}

static void who_says_nothing_is_asked(void **state)
{
    struct rig *rig = *state;
    start(rig);
    int client = rig_client(rig);
    challenged(rig, client, GET(""));
    challenged(rig, client, GET("Authorization: Bearer abc\r\n"));
    challenged(rig, client, GET("Authorization: Basic !!!\r\n"));
    challenged(rig, client, GET(ANN ANN));
    assert_int_equal(rig->plan_tally->guarded[GUARD_BASIC], 4);
    close(client);
}

static void the_right_password_opens(void **state)
{
    struct rig *rig = *state;
    start(rig);
    int client = rig_client(rig);
    rig_say(rig, client, GET(ANN "X-User: root\r\n"));
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    assert_has(rig, "X-User: ann\r\n");
    if (strstr(rig->text, "root"))
        fail_msg("a client says who it is: %s", rig->text);
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    /* It is known now: no helper is asked, so it is through in the same turn. */
    rig_say(rig, client, GET(ANN));
    char head[512];
    assert_true(recv(origin, head, sizeof head, MSG_DONTWAIT) > 0);
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    close(client);
    close(origin);
}

static void wrong_ones_and_strangers_are_refused(void **state)
{
    struct rig *rig = *state;
    start(rig);
    int client = rig_client(rig);
    challenged(rig, client, GET(EVE));
    challenged(rig, client, GET(NOBODY));
    challenged(rig, client, GET(NOBODY));
    assert_false(rig_origin_waits(rig, 1));
    close(client);
}

/* The handler behind is told of a body that came while it waited, and of one that has not come. */
static void bodies_wait(void **state)
{
    struct rig *rig = *state;
    start(rig);
    int client = rig_client(rig);
    rig_say(rig, client,
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n" BOB
            "\r\n");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "100-continue\r\n\r\n");
    rig_say(rig, origin, "HTTP/1.1 100 Continue\r\n\r\n");
    rig_hear(rig, client, "100 Continue\r\n\r\n");
    rig_say(rig, client, "hello");
    rig_hear(rig, origin, "hello");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    close(client);
    close(origin);
}

#define POST_CHUNKED(user)                                                                         \
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nAuthorization: Basic " user       \
    "\r\n\r\n"

static const char names_of_day[][4] = {"one", "two", "six"};

/* Each name once, so that the helpers are asked each time. */
static const struct guard_user day_users[] = {
    {names_of_day[0], BCRYPT}, {names_of_day[2], BCRYPT}, {names_of_day[1], BCRYPT}};
static const struct guard_basic day = {.realm = "day", .users = day_users, .user_count = 3};
static const struct guard day_guards[] = {
    {.kind = GUARD_BASIC, .text = "auth basic", .basic = &day}};

static void chunked_bodies_wait(void **state)
{
    struct rig *rig = *state;
    start(rig);
    rig->route.guards = day_guards;
    int client = rig_client(rig);
    rig_say(rig, client, POST_CHUNKED("b25lOnNlY3JldA==") "3\r\nabc\r\n0\r\n\r\n");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "3\r\nabc\r\n0\r\n\r\n");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    rig_say(rig, client, POST_CHUNKED("dHdvOnNlY3JldA==") "0\r\n\r\n"); /* an empty one */
    rig_hear(rig, origin, "\r\n\r\n");
    assert_has(rig, "POST / HTTP/1.1\r\n");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    rig_say(rig, client, GET("Authorization: Basic c2l4OnNlY3JldA==\r\n"));
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say(rig, origin, OK_2);
    rig_hear(rig, client, "ok");
    close(client);
    close(origin);
}

/* ---- the helpers themselves ------------------------------------------------------------------ */

static unsigned answers, right_answers;

static void count_answer(void *owner, bool right)
{
    (void)owner;
    answers++;
    right_answers += right;
}

static struct password_question question(const char *user, const char *password)
{
    return (struct password_question){
        .user = user, .password = password, .hash = SLOW, .answer = count_answer};
}

static void wait_answers(struct rig *rig, unsigned count)
{
    for (int i = 0; i < 10000 && answers < count; i++)
        loop_turn(rig->worker.loop, 1);
    assert_int_equal(answers, count);
}

static void many_ask_the_same_at_once(void **state)
{
    struct rig *rig = *state;
    struct password_wait *waits[PASSWORDS_WAITING_MAX], *none;
    const struct password_question same = question("many", "secret");
    rig_start(rig, 0);
    answers = right_answers = 0;
    for (int i = 0; i < PASSWORDS_WAITING_MAX; i++)
        assert_int_equal(passwords_ask(&rig->worker, &same, &waits[i]), PASSWORD_WAITS);
    assert_int_equal(passwords_ask(&rig->worker, &same, &none), PASSWORD_BUSY);
    passwords_cancel(waits[7]);
    wait_answers(rig, PASSWORDS_WAITING_MAX - 1);
    assert_int_equal(right_answers, answers);
    assert_int_equal(passwords_ask(&rig->worker, &same, &none), PASSWORD_RIGHT);
    /* What is known is of this name, this password and this hash. */
    const struct password_question other = question("man", "ysecret");
    assert_int_equal(passwords_ask(&rig->worker, &other, &none), PASSWORD_WAITS);
    wait_answers(rig, PASSWORDS_WAITING_MAX);
    assert_int_equal(right_answers, PASSWORDS_WAITING_MAX - 1);
    assert_int_equal(passwords_ask(&rig->worker, &other, &none), PASSWORD_WRONG);
}

static void what_is_known_is_forgotten(void **state)
{
    struct rig *rig = *state;
    struct password_wait *wait;
    const struct password_question right = question("time", "secret");
    const struct password_question wrong = question("time", "guess");
    rig_start(rig, 0);
    answers = 0;
    assert_int_equal(passwords_ask(&rig->worker, &right, &wait), PASSWORD_WAITS);
    assert_int_equal(passwords_ask(&rig->worker, &wrong, &wait), PASSWORD_WAITS);
    wait_answers(rig, 2);
    rig_pass(rig, PASSWORDS_BAD_MS + 1);
    assert_int_equal(passwords_ask(&rig->worker, &right, &wait), PASSWORD_RIGHT);
    assert_int_equal(passwords_ask(&rig->worker, &wrong, &wait), PASSWORD_WAITS);
    wait_answers(rig, 3);
    rig_pass(rig, PASSWORDS_GOOD_MS);
    assert_int_equal(passwords_ask(&rig->worker, &right, &wait), PASSWORD_WAITS);
    wait_answers(rig, 4);
}

static void a_client_may_leave_meanwhile(void **state)
{
    struct rig *rig = *state;
    static const struct guard_user one[] = {{"lea", SLOWEST}};
    static const struct guard_basic of_one = {.realm = "x", .users = one, .user_count = 1};
    static const struct guard guard = {.kind = GUARD_BASIC, .text = "auth basic", .basic = &of_one};
    start(rig);
    rig->route.guards = &guard;
    int client = rig_client(rig);
    setsockopt(client, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
               sizeof(struct linger));
    const char *request = GET("Authorization: Basic bGVhOnNlY3JldA==\r\n");
    assert_int_equal(send(client, request, strlen(request), 0), strlen(request));
    loop_turn(rig->worker.loop, 0);
    close(client);
    rig_turns(rig);
    struct password_wait *wait;
    answers = 0;
    struct password_question same = question("lea", "secret"); /* answered together */
    same.hash = SLOWEST;
    assert_int_equal(passwords_ask(&rig->worker, &same, &wait), PASSWORD_WAITS);
    wait_answers(rig, 1);
    rig_turns(rig);
    assert_false(rig_origin_waits(rig, 1));
}

/* Its last questions are nobody's; the rig's end would find what is left. */
static void a_worker_may_end_meanwhile(void **state)
{
    struct rig *rig = *state;
    struct password_wait *wait;
    rig_start(rig, 0);
    answers = 0;
    const struct password_question asked = question("ends", "secret");
    assert_int_equal(passwords_ask(&rig->worker, &asked, &wait), PASSWORD_WAITS);
}

/* As crypt(3) of libxcrypt and openssl-passwd(1) make them. */
static void hashes_of_all_kinds(void **state)
{
    (void)state;
    static const char *const of_secret[] = {
        BCRYPT,
        "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq."
        "H91p5hVO1",
        "$5$rounds=1000$saltsalt$eKLZU9t9OoPWrqOQsoTIKG0aYkZ5rGOoOQhiIvoSWX2",
        "$y$j75$abcdefghijkl$v9quvWD9Rf3PZ/Cv69TjY7bBGQJAPdLyZCEDwg21mWD",
        "$apr1$r31abcde$SZEN.U5sWGGNcv9YsUrqI.",
    };
    for (size_t i = 0; i < sizeof of_secret / sizeof of_secret[0]; i++) {
        assert_true(password_hash_matches("secret", of_secret[i]));
        assert_false(password_hash_matches("secreT", of_secret[i]));
        assert_false(password_hash_matches("", of_secret[i]));
    }
    assert_true(password_hash_matches("", "$apr1$r31abcde$TQvwpj0ayQKth6GtVaf2T1"));
    assert_true(password_hash_matches("a longer password of more than sixteen bytes",
                                      "$apr1$r31abcde$KgjaFWn4zOJJbHr4wnHdB1"));
    assert_false(password_hash_matches("secret", "$apr1$r31abcde$"));
    assert_false(password_hash_matches("secret", "$apr1$"));
    assert_false(password_hash_matches("secret", "$y$broken"));
}

int main(void)
{
#define RIGGED(test) cmocka_unit_test_setup_teardown(test, rig_begin, rig_end)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_of_all_kinds),
        RIGGED(who_says_nothing_is_asked),
        RIGGED(the_right_password_opens),
        RIGGED(wrong_ones_and_strangers_are_refused),
        RIGGED(bodies_wait),
        RIGGED(chunked_bodies_wait),
        RIGGED(many_ask_the_same_at_once),
        RIGGED(what_is_known_is_forgotten),
        RIGGED(a_client_may_leave_meanwhile),
        RIGGED(a_worker_may_end_meanwhile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
