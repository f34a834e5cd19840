#include "gateway/core/ban_news.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct ban_told last;
static unsigned taken;

static void take(const struct ban_told *told)
{
    last = *told;
    taken++;
}

static bool rings(const struct ban_news *news)
{
    struct pollfd poll_fd = {.fd = ban_news_fd(news), .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 1;
}

static void put(struct ban_news *news, uint64_t client, uint64_t now_ms)
{
    const struct ban ban = {.client = client, .until_ms = now_ms + 60000, .why = BAN_REQUESTS};
    ban_news_put(news, &ban, "127.0.0.1:80", now_ms);
}

static void so_many_a_second_are_told(void **state)
{
    (void)state;
    struct ban_news *news = ban_news_new();
    assert_false(rings(news));
    put(news, 7, 5000);
    assert_true(rings(news));
    ban_news_take(news, take);
    assert_false(rings(news));
    assert_int_equal(taken, 1);
    assert_int_equal(last.ban.client, 7);
    assert_int_equal(last.seconds, 60);
    assert_int_equal(last.untold, 0);
    assert_string_equal(last.listener, "127.0.0.1:80");
    for (unsigned i = 0; i < 1000; i++) {
        put(news, i, 5000 + i % 1000);
        ban_news_take(news, take);
    }
    assert_int_equal(taken, BAN_NEWS_A_SECOND_MAX);
    put(news, 9, 4999); /* a thread whose clock is behind */
    assert_false(rings(news));
    put(news, 8, 6000);
    ban_news_take(news, take);
    assert_int_equal(taken, BAN_NEWS_A_SECOND_MAX + 1);
    assert_int_equal(last.ban.client, 8);
    assert_int_equal(last.untold, 1001 - BAN_NEWS_A_SECOND_MAX + 1);
    ban_news_free(news);
}

/* The main thread is busy: what it is told later is bounded, too. */
static void nobody_takes(void **state)
{
    (void)state;
    struct ban_news *news = ban_news_new();
    char listener[4096];
    memset(listener, 'x', sizeof listener - 1);
    listener[sizeof listener - 1] = 0;
    taken = 0;
    for (unsigned i = 0; i < 100; i++) {
        const struct ban ban = {.client = i, .until_ms = i * 1000 + 1000, .why = BAN_SESSIONS};
        ban_news_put(news, &ban, listener, i * 1000);
    }
    ban_news_take(news, take);
    assert_int_equal(taken, BAN_NEWS_A_SECOND_MAX);
    assert_int_equal(strlen(last.listener), BAN_NEWS_LISTENER_BYTES - 1);
    ban_news_take(news, take);
    assert_int_equal(taken, BAN_NEWS_A_SECOND_MAX);
    ban_news_free(news);
    ban_news_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(so_many_a_second_are_told),
        cmocka_unit_test(nobody_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
