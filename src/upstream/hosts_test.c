#include "upstream/hosts.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char text[] = "127.0.0.1\tlocalhost\n"
                           "::1 localhost ip6-localhost\n"
                           "# 10.0.0.9 commented\n"
                           "  10.0.0.1  one.example one  # aliases\r\n"
                           "\n"
                           "10.0.0.2\n"
                           "not-an-address two\n"
                           "fe80::1 ONE\n"
                           "10.0.0.3 one last-line";

/* "10.0.0.1 fe80::1": what the name has. */
static const char *found(const struct hosts *hosts, const char *name, size_t max)
{
    static char line[512];
    struct sockaddr_storage addresses[8];
    size_t count = hosts_find(hosts, name, addresses, max);
    line[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        char address[INET6_ADDRSTRLEN];
        const struct sockaddr_in *v4 = (const void *)&addresses[i];
        const struct sockaddr_in6 *v6 = (const void *)&addresses[i];
        if (v4->sin_family == AF_INET)
            inet_ntop(AF_INET, &v4->sin_addr, address, sizeof address);
        else
            inet_ntop(AF_INET6, &v6->sin6_addr, address, sizeof address);
        snprintf(line + strlen(line), sizeof line - strlen(line), "%s%s", i ? " " : "", address);
    }
    return line;
}

static void names_and_aliases_are_found_in_any_case(void **state)
{
    (void)state;
    struct hosts *hosts = hosts_parse(text, sizeof text - 1);
    assert_non_null(hosts);
    assert_string_equal(found(hosts, "one.example", 8), "10.0.0.1");
    assert_string_equal(found(hosts, "One", 8), "10.0.0.1 fe80::1 10.0.0.3");
    assert_string_equal(found(hosts, "one", 2), "10.0.0.1 fe80::1");
    assert_string_equal(found(hosts, "last-line", 8), "10.0.0.3");
    assert_string_equal(found(hosts, "ip6-localhost", 8), "::1");
    assert_string_equal(found(hosts, "localhost", 8), "127.0.0.1");
    assert_string_equal(found(hosts, "commented", 8), "");
    assert_string_equal(found(hosts, "aliases", 8), "");
    assert_string_equal(found(hosts, "two", 8), "");
    assert_string_equal(found(hosts, "on", 8), "");
    hosts_free(hosts);
}

static void no_file_has_no_names(void **state)
{
    (void)state;
    struct hosts *hosts = hosts_read("/nonexistent/hosts");
    assert_non_null(hosts);
    assert_string_equal(found(hosts, "one", 8), "");
    assert_string_equal(found(hosts, "localhost", 8), "127.0.0.1");
    hosts_free(hosts);
}

static void a_file_of_any_size_is_read_up_to_its_bounds(void **state)
{
    (void)state;
    char path[] = "/tmp/hosts-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    FILE *file = fdopen(fd, "w");
    for (int i = 0; i < HOSTS_NAMES_MAX + 10; i++)
        fprintf(file, "10.%d.%d.%d h%d\n", i >> 16, i >> 8 & 255, i & 255, i);
    fclose(file);
    struct hosts *hosts = hosts_read(path);
    unlink(path);
    assert_non_null(hosts);
    assert_string_equal(found(hosts, "h0", 8), "10.0.0.0");
    assert_string_equal(found(hosts, "h199999", 8), "10.3.13.63");
    assert_string_equal(found(hosts, "h200000", 8), "");
    hosts_free(hosts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_aliases_are_found_in_any_case),
        cmocka_unit_test(no_file_has_no_names),
        cmocka_unit_test(a_file_of_any_size_is_read_up_to_its_bounds),
    };
    return cmocka_run_group_tests_name("hosts", tests, NULL, NULL);
}
