#include "topology/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct template_values values = {
    .cluster = "shop",
    .service = "s1.logic",
    .realm = "s1",
    .instance = 12,
    .port = 3000,
    .state = "/run/x$y",
    .address = "127.77.1.12",
    .home = "127.86.3.4",
    .directory = "/srv/shop",
};

static void expands_to(const char *text, const char *expected)
{
    char *got = template_expand(text, &values);
    assert_non_null(got);
    assert_string_equal(got, expected);
    free(got);
}

static void all_names_have_values(void **state)
{
    (void)state;
    expands_to("$instance/$cluster/$service/$port", "12/shop/s1.logic/3000");
    expands_to("${state}/${realm}/${address}/$home", "/run/x$y/s1/127.77.1.12/127.86.3.4");
    expands_to("$directory/a.conf", "/srv/shop/a.conf");
    for (const char *const *name = template_names; *name; name++) {
        char text[64];
        size_t length;
        snprintf(text, sizeof text, "${%s}", *name);
        assert_null(template_unknown(text, &length));
    }
}

static void dollars_that_mean_themselves_stay(void **state)
{
    (void)state;
    expands_to("", "");
    expands_to("plain", "plain");
    expands_to("$$", "$");
    expands_to("$$instance $$$instance", "$instance $12");
    expands_to("5$ $1 $( ${ ${} $", "5$ $1 $( ${ ${} $");
    expands_to("${instance}0 $instance0 $instances", "120 $instance0 $instances");
}

static void missing_values_are_empty(void **state)
{
    (void)state;
    static const struct template_values none = {0};
    char *got = template_expand("<$state$realm>", &none);
    assert_string_equal(got, "<>");
    free(got);
}

static void the_first_unknown_name_is_found(void **state)
{
    (void)state;
    size_t length = 0;
    const char *text = "$instance $$nope ${nope} $other";
    const char *unknown = template_unknown(text, &length);
    assert_ptr_equal(unknown, strstr(text, "{nope") + 1);
    assert_int_equal(length, 4);
    assert_null(template_unknown("$$nope 5$ $", &length));
}

static void a_result_has_a_maximum(void **state)
{
    (void)state;
    char *text = malloc(TEMPLATE_BYTES_MAX + 2);
    memset(text, 'x', TEMPLATE_BYTES_MAX + 1);
    text[TEMPLATE_BYTES_MAX + 1] = 0;
    assert_null(template_expand(text, &values));
    text[TEMPLATE_BYTES_MAX] = 0;
    char *got = template_expand(text, &values);
    assert_string_equal(got, text);
    free(got);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_names_have_values),
        cmocka_unit_test(dollars_that_mean_themselves_stay),
        cmocka_unit_test(missing_values_are_empty),
        cmocka_unit_test(the_first_unknown_name_is_found),
        cmocka_unit_test(a_result_has_a_maximum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
