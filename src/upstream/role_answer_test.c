#include "upstream/role_answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* "primary 7", "ill WHY" or "more". */
static const char *said(enum check_verdict verdict, const struct role_answer *answer,
                        const char *why)
{
    static char text[CHECK_WHY_BYTES + 8];
    if (verdict == CHECK_MORE)
        return "more";
    if (verdict == CHECK_ILL)
        snprintf(text, sizeof text, "ill %s", why);
    else
        snprintf(text, sizeof text, "%s %u", endpoint_role_name(answer->role), answer->term);
    return text;
}

static const char *word(const char *text)
{
    struct role_answer answer;
    bool good = role_answer_word(text, strlen(text), &answer);
    return said(good ? CHECK_WELL : CHECK_ILL, &answer, "");
}

static const char *redis(const char *text, bool end)
{
    struct role_answer answer;
    char why[CHECK_WHY_BYTES];
    enum check_verdict verdict = role_answer_redis(text, strlen(text), end, &answer, why);
    return said(verdict, &answer, why);
}

static const char *postgres(const char *bytes, size_t length, bool end)
{
    struct role_answer answer;
    char why[CHECK_WHY_BYTES];
    enum check_verdict verdict = role_answer_postgres(bytes, length, end, &answer, why);
    return said(verdict, &answer, why);
}
#define POSTGRES(bytes) postgres(bytes, sizeof(bytes) - 1, true)

static void a_command_prints_a_word(void **state)
{
    (void)state;
    assert_string_equal(word("primary"), "primary 0");
    assert_string_equal(word(" replica\r\n"), "replica 0");
    assert_string_equal(word("primary 7\n"), "primary 7");
    assert_string_equal(word("primary\t4294967295"), "primary 4294967295");
    static const char *const bad[] = {
        "",
        "master",
        "primaryx",
        "Primary",
        "primary 4294967296",
        "primary -1",
        "primary 1 2",
        "primary x",
        "primary7",
        "deposed",
        "primary\nreplica",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_string_equal(word(bad[i]), "ill ");
    char wide[200];
    memset(wide, ' ', sizeof wide);
    memcpy(wide, "primary", 7);
    wide[198] = '1';
    wide[199] = 0;
    assert_string_equal(word(wide), "ill ");
}

static void redis_tells_by_its_first_word(void **state)
{
    (void)state;
    assert_string_equal(redis("*3\r\n$6\r\nmaster\r\n:3129659\r\n*0\r\n", false), "primary 0");
    assert_string_equal(redis("*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n", false), "replica 0");
    assert_string_equal(redis("*2\r\n$8\r\nsentinel\r\n", false), "ill it said \"sentinel\"");
    assert_string_equal(redis("-NOAUTH Authentication required.\r\n", false),
                        "ill it said \"NOAUTH Authentication required.\"");
    assert_string_equal(redis("-LOADING \"x\"\x01\r\n", false), "ill it said \"LOADING ?x??\"");
    assert_string_equal(redis("+PONG\r\n", false), "ill it does not speak as Redis does");
    assert_string_equal(redis("*3\r\n:1\r\n", false),
                        "ill its answer to ROLE does not begin with a word");
    assert_string_equal(redis("\r\n", false), "ill it does not speak as Redis does");
    assert_string_equal(redis("*3\r\n$6\r\nmas", false), "more");
    assert_string_equal(redis("*3\r\n$6\r\nmas", true), "ill it closed before it had answered");
    assert_string_equal(redis("", true), "ill it closed before it had answered");
}

#define HELLO                                                                                      \
    "R\0\0\0\x08\0\0\0\0"                                                                          \
    "S\0\0\0\x0e"                                                                                  \
    "in\0on\0...."                                                                                 \
    "K\0\0\0\x0c"                                                                                  \
    "12345678"                                                                                     \
    "Z\0\0\0\x05I"
#define COLUMNS "T\0\0\0\x06\0\0"
#define REPLICA "D\0\0\0\x0f\0\2\0\0\0\1t\xff\xff\xff\xff"
#define PRIMARY                                                                                    \
    "D\0\0\0\x27\0\2\0\0\0\1f\0\0\0\x18"                                                           \
    "0000000A0000000100000002"

static void postgres_tells_by_a_row(void **state)
{
    (void)state;
    assert_string_equal(POSTGRES(HELLO COLUMNS REPLICA "C\0\0\0\x04"), "replica 0");
    assert_string_equal(POSTGRES(HELLO COLUMNS PRIMARY), "primary 10");
    static const char whole[] = HELLO COLUMNS PRIMARY;
    for (size_t length = 0; length < sizeof whole - 1; length++)
        assert_string_equal(postgres(whole, length, false), "more");
    assert_string_equal(POSTGRES(HELLO), "ill it closed before it had answered");
}

static void postgres_says_why_not(void **state)
{
    (void)state;
    assert_string_equal(POSTGRES("R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0"),
                        "ill it asks for a password (pg_hba.conf must trust who asks)");
    assert_string_equal(
        POSTGRES("E\0\0\0\x37SFATAL\0C57P03\0Mthe database system is starting up\0\0"),
        "ill it said \"the database system is starting up\"");
    assert_string_equal(POSTGRES("E\0\0\0\x0cSFATAL\0\0"), "ill it refused, and did not say why");
    assert_string_equal(POSTGRES("E\0\0\0\x08Mabc"), "ill it refused, and did not say why");
    assert_string_equal(POSTGRES("HTTP/1.1 400 Bad Request\r\n"),
                        "ill it does not speak as PostgreSQL does");
    assert_string_equal(POSTGRES("R\0\0\0\x06\0\0"), "ill it does not speak as PostgreSQL does");
    assert_string_equal(POSTGRES("R\0\0\0\x03\0\0"), "ill it does not speak as PostgreSQL does");
    assert_string_equal(POSTGRES("D\0\0\0\x06\0\1"),
                        "ill its answer is not the row that was asked for");
    assert_string_equal(POSTGRES("D\0\0\0\x0f\0\2\0\0\0\1f\xff\xff\xff\xff"),
                        "ill the name of its WAL file is none");
    assert_string_equal(POSTGRES("D\0\0\0\x27\0\2\0\0\0\1f\0\0\0\x18"
                                 "0000000Z0000000100000002"),
                        "ill the name of its WAL file is none");
}

static void the_question_is_one_write(void **state)
{
    (void)state;
    char bytes[ROLE_QUESTION_BYTES_MAX];
    static const char longest[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJK";
    _Static_assert(sizeof longest == 64, "as a name of PostgreSQL is bounded");
    size_t length = role_question_postgres("monitor", "shop", bytes);
    static const char startup[] = "\0\0\0\x3c\0\3\0\0user\0monitor\0database\0shop\0"
                                  "application_name\0enginx\0";
    assert_memory_equal(bytes, startup, sizeof startup);
    assert_int_equal(bytes[sizeof startup], 'Q');
    assert_memory_equal(bytes + length - 5, "X\0\0\0\4", 5);
    assert_in_range(role_question_postgres(longest, longest, bytes), 1, ROLE_QUESTION_BYTES_MAX);
}

static void roles_serve_wishes(void **state)
{
    (void)state;
    assert_true(endpoint_role_serves(ROLE_NONE, ROLE_WISH_ANY));
    assert_false(endpoint_role_serves(ROLE_NONE, ROLE_WISH_REPLICA_OR_PRIMARY));
    assert_true(endpoint_role_serves(ROLE_PRIMARY, ROLE_WISH_REPLICA_OR_PRIMARY));
    assert_false(endpoint_role_serves(ROLE_PRIMARY, ROLE_WISH_REPLICA));
    assert_false(endpoint_role_serves(ROLE_DEPOSED, ROLE_WISH_PRIMARY));
    assert_true(endpoint_role_revokes(ROLE_REPLICA, ROLE_WISH_PRIMARY));
    assert_true(endpoint_role_revokes(ROLE_DEPOSED, ROLE_WISH_REPLICA));
    assert_false(endpoint_role_revokes(ROLE_NONE, ROLE_WISH_PRIMARY));
    assert_false(endpoint_role_revokes(ROLE_PRIMARY, ROLE_WISH_REPLICA));
    assert_false(endpoint_role_revokes(ROLE_DEPOSED, ROLE_WISH_ANY));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_prints_a_word),
        cmocka_unit_test(redis_tells_by_its_first_word),
        cmocka_unit_test(postgres_tells_by_a_row),
        cmocka_unit_test(postgres_says_why_not),
        cmocka_unit_test(the_question_is_one_write),
        cmocka_unit_test(roles_serve_wishes),
    };
    return cmocka_run_group_tests_name("role_answer", tests, NULL, NULL);
}
