#include "upstream/bans.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t client(const char *text)
{
    union {
        struct sockaddr any;
        struct sockaddr_in four;
        struct sockaddr_in6 six;
    } address = {0};
    if (inet_pton(AF_INET, text, &address.four.sin_addr) == 1)
        address.any.sa_family = AF_INET;
    else if (inet_pton(AF_INET6, text, &address.six.sin6_addr) == 1)
        address.any.sa_family = AF_INET6;
    return ban_client(&address.any);
}

static struct bans *begun(int *ret_fd)
{
    struct bans *bans;
    assert_int_equal(bans_new(&bans, ret_fd), 0);
    return bans;
}

static bool add(struct bans *bans, uint64_t of, uint64_t until_ms, uint64_t now_ms)
{
    const struct ban ban = {.client = of, .until_ms = until_ms, .why = BAN_REQUESTS};
    return bans_add(bans, &ban, now_ms);
}

static void clients_have_texts(void **state)
{
    (void)state;
    static const struct {
        const char *address, *text;
    } cases[] = {
        {"192.0.2.1", "192.0.2.1"},
        {"255.255.255.255", "255.255.255.255"},
        {"::ffff:192.0.2.1", "192.0.2.1"},
        {"2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"},
        {"::1", "::/64"},
    };
    char text[BAN_TEXT_BYTES];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t of = client(cases[i].address);
        assert_string_equal(ban_client_text(of, text), cases[i].text);
        assert_true(ban_client_parse(cases[i].text) == of);
        assert_true(ban_client_parse(cases[i].address) == of);
    }
    assert_true(client("2001:db8::1") == client("2001:db8::ffff"));
    assert_true(client("2001:db8::1") != client("2001:db8:0:1::1"));
    static const char *const none[] = {"", "x", "192.0.2.1/64", "192.0.2", "2001:db8::/48", "/64"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_true(ban_client_parse(none[i]) == 0);
    assert_true(ban_client(&(struct sockaddr){.sa_family = AF_UNIX}) == 0);
}

static void a_ban_has_an_end(void **state)
{
    (void)state;
    int fd;
    struct bans *bans = begun(&fd);
    uint64_t one = client("192.0.2.1"), other = client("192.0.2.2");
    assert_int_equal(bans_left_ms(bans, one, BAN_USE_STREAMS, 1000), 0);
    assert_true(add(bans, one, 3000, 1000));
    assert_false(add(bans, one, 9000, 2000)); /* it is banned already */
    assert_int_equal(bans_left_ms(bans, one, BAN_USE_STREAMS, 2000), 1000);
    assert_int_equal(bans_left_ms(bans, other, BAN_USE_STREAMS, 2000), 0);
    assert_int_equal(bans_left_ms(bans, one, BAN_USE_STREAMS, 3000), 0);
    assert_true(add(bans, one, 5000, 3000));
    assert_int_equal(bans_left_ms(bans, one, BAN_USE_STREAMS, 3000), 2000);
    assert_int_equal(bans_made(bans), 2);
    bans_close(bans);
    close(fd);
}

/* A datagram's sender may be made up: nobody gets somebody else banned from connections. */
static void datagrams_ban_from_datagrams_alone(void **state)
{
    (void)state;
    int fd;
    struct bans *bans = begun(&fd);
    uint64_t one = client("192.0.2.1");
    const struct ban ban = {.client = one, .until_ms = 9000, .why = BAN_SESSIONS};
    assert_true(bans_add(bans, &ban, 1000));
    assert_false(bans_add(bans, &ban, 1000));
    assert_int_equal(bans_left_ms(bans, one, BAN_USE_DATAGRAMS, 1000), 8000);
    assert_int_equal(bans_left_ms(bans, one, BAN_USE_STREAMS, 1000), 0);
    assert_true(add(bans, one, 3000, 1000));
    assert_int_equal(bans_left_ms(bans, one, BAN_USE_STREAMS, 1000), 2000);
    assert_int_equal(bans_left_ms(bans, one, BAN_USE_DATAGRAMS, 1000), 8000);
    assert_int_equal(bans_left_ms(bans, one, BAN_USE_STREAMS, 3000), 0);
    assert_true(bans_lift(bans, one, 1000));
    assert_int_equal(bans_left_ms(bans, one, BAN_USE_STREAMS, 1000), 0);
    assert_int_equal(bans_left_ms(bans, one, BAN_USE_DATAGRAMS, 1000), 0);
    /* Who is banned from connections has no datagrams either. */
    assert_true(add(bans, one, 3000, 1000));
    assert_false(bans_add(bans, &ban, 1000));
    assert_int_equal(bans_left_ms(bans, one, BAN_USE_DATAGRAMS, 1000), 2000);
    bans_close(bans);
    close(fd);
}

static void other_processes_see_and_lift_it(void **state)
{
    (void)state;
    int fd;
    struct bans *bans = begun(&fd), *theirs;
    uint64_t one = client("192.0.2.1"), other = client("2001:db8::1");
    struct ban list[4];
    add(bans, one, 3000, 1000);
    add(bans, other, 4000, 1000);
    bans_close(bans); /* it died */
    assert_int_equal(bans_open(fd, &theirs), 0);
    assert_int_equal(bans_left_ms(theirs, one, BAN_USE_STREAMS, 2000), 1000);
    assert_int_equal(bans_list(theirs, list, 4, 2000), 2);
    assert_int_equal(list[0].why, BAN_REQUESTS);
    assert_int_equal(bans_list(theirs, list, 1, 2000), 2);
    assert_true(bans_lift(theirs, one, 2000));
    assert_false(bans_lift(theirs, one, 2000));
    assert_int_equal(bans_left_ms(theirs, one, BAN_USE_STREAMS, 2000), 0);
    assert_int_equal(bans_left_ms(theirs, other, BAN_USE_STREAMS, 2000), 2000);
    assert_int_equal(bans_list(theirs, NULL, 0, 2000), 1);
    bans_close(theirs);
    close(fd);
}

static void many_more_than_there_is_room_for(void **state)
{
    (void)state;
    enum { MANY = 4 * BAN_WAYS * BAN_SETS };
    int fd;
    struct stat status;
    struct bans *bans = begun(&fd);
    assert_int_equal(fstat(fd, &status), 0);
    assert_true(status.st_blocks * 512 <= 2 * 4096); /* nobody was banned yet */
    uint64_t long_one = client("192.0.2.1");
    add(bans, long_one, 1000000, 1000);
    for (uint64_t i = 0; i < MANY; i++)
        add(bans, client("10.0.0.0") + i, 2000 + i % 1000, 1000);
    size_t count = bans_list(bans, NULL, 0, 1000);
    assert_true(count <= BAN_WAYS * BAN_SETS);
    assert_true(count > BAN_WAYS * BAN_SETS * 9 / 10);
    /* Who is to be banned for long is not forgotten for those who are not. */
    assert_int_equal(bans_left_ms(bans, long_one, BAN_USE_STREAMS, 1000), 999000);
    assert_int_equal(fstat(fd, &status), 0);
    assert_true(status.st_blocks * 512 <= 3 << 20);
    bans_close(bans);
    close(fd);
}

static void something_else_is_none(void **state)
{
    (void)state;
    struct bans *bans;
    FILE *file = tmpfile();
    assert_true(bans_open(fileno(file), &bans) < 0);
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clients_have_texts),
        cmocka_unit_test(a_ban_has_an_end),
        cmocka_unit_test(datagrams_ban_from_datagrams_alone),
        cmocka_unit_test(other_processes_see_and_lift_it),
        cmocka_unit_test(many_more_than_there_is_room_for),
        cmocka_unit_test(something_else_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
