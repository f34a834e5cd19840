#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/core/networks.h"

static struct network network(const char *text, uint8_t length)
{
    struct network network = {.length = length};
    if (inet_pton(AF_INET6, text, network.address) != 1)
        fail();
    return network;
}

static struct sockaddr_storage peer(const char *text)
{
    struct sockaddr_storage peer = {0};
    struct sockaddr_in *four = (struct sockaddr_in *)&peer;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&peer;
    if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
        peer.ss_family = AF_INET;
        return peer;
    }
    peer.ss_family = AF_INET6;
    if (inet_pton(AF_INET6, text, &six->sin6_addr) != 1)
        fail();
    return peer;
}

static void networks_bounds(void **state)
{
    (void)state;
    struct network ten = network("::ffff:10.16.0.0", 96 + 12);
    struct sockaddr_storage first = peer("10.16.0.0"), last = peer("10.31.255.255"),
                            before = peer("10.15.255.255"), after = peer("10.32.0.0"),
                            mapped = peer("::ffff:10.20.0.1"), six = peer("2001:db8::1");
    assert_true(networks_contain(&ten, 1, (struct sockaddr *)&first));
    assert_true(networks_contain(&ten, 1, (struct sockaddr *)&last));
    assert_true(networks_contain(&ten, 1, (struct sockaddr *)&mapped));
    assert_false(networks_contain(&ten, 1, (struct sockaddr *)&before));
    assert_false(networks_contain(&ten, 1, (struct sockaddr *)&after));
    assert_false(networks_contain(&ten, 1, (struct sockaddr *)&six));
}

static void networks_all_and_none(void **state)
{
    (void)state;
    struct network all[2] = {network("2001:db8::", 32), network("::", 0)};
    struct sockaddr_storage four = peer("192.0.2.1"), local = {.ss_family = AF_UNIX};
    assert_true(networks_contain(all, 2, (struct sockaddr *)&four));
    assert_false(networks_contain(all, 1, (struct sockaddr *)&four));
    assert_false(networks_contain(all, 0, (struct sockaddr *)&four));
    assert_false(networks_contain(all, 2, (struct sockaddr *)&local));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_bounds),
        cmocka_unit_test(networks_all_and_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
