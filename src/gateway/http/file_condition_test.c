#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/http/file_condition.h"

enum { MODIFIED = 784111777 }; /* Sun, 06 Nov 1994 08:49:37 GMT, RFC 9110's example */

static struct slice text(const char *bytes)
{
    return (struct slice){bytes, bytes ? (uint32_t)strlen(bytes) : 0};
}

static void dates_are_read_in_all_three_forms(void **state)
{
    (void)state;
    assert_int_equal(http_date_parse(text("Sun, 06 Nov 1994 08:49:37 GMT")), MODIFIED);
    assert_int_equal(http_date_parse(text("Sunday, 06-Nov-94 08:49:37 GMT")), MODIFIED);
    assert_int_equal(http_date_parse(text("Sun Nov  6 08:49:37 1994")), MODIFIED);
    assert_int_equal(http_date_parse(text("")), -1);
    assert_int_equal(http_date_parse(text("yesterday")), -1);
    assert_int_equal(http_date_parse(text("Sun, 06 Nov 1994 08:49:37 GMT or so")), -1);
    char out[HTTP_DATE_BYTES];
    http_date_print(MODIFIED, out);
    assert_string_equal(out, "Sun, 06 Nov 1994 08:49:37 GMT");
}

static enum verdict judge(const char *match, const char *none, const char *since,
                          const char *unmodified)
{
    const struct wishes wishes = {.if_match = text(match),
                                  .if_none_match = text(none),
                                  .if_modified_since = text(since),
                                  .if_unmodified_since = text(unmodified)};
    return wishes_judge(&wishes, SLICE("\"a,b\""), MODIFIED);
}

static void tags_decide_before_dates(void **state)
{
    (void)state;
    static const char same[] = "Sun, 06 Nov 1994 08:49:37 GMT";
    static const char earlier[] = "Sun, 06 Nov 1994 08:49:36 GMT";
    assert_int_equal(judge(NULL, NULL, NULL, NULL), VERDICT_SEND);
    assert_int_equal(judge(NULL, "\"a,b\"", NULL, NULL), VERDICT_NOT_MODIFIED);
    assert_int_equal(judge(NULL, "\"x\", W/\"a,b\"", NULL, NULL), VERDICT_NOT_MODIFIED);
    assert_int_equal(judge(NULL, "*", NULL, NULL), VERDICT_NOT_MODIFIED);
    assert_int_equal(judge(NULL, "\"a\"", same, NULL), VERDICT_SEND);
    assert_int_equal(judge(NULL, NULL, same, NULL), VERDICT_NOT_MODIFIED);
    assert_int_equal(judge(NULL, NULL, earlier, NULL), VERDICT_SEND);
    assert_int_equal(judge(NULL, NULL, "nonsense", NULL), VERDICT_SEND);
    assert_int_equal(judge("\"a,b\"", NULL, NULL, earlier), VERDICT_SEND);
    assert_int_equal(judge("\"x\"", NULL, NULL, NULL), VERDICT_FAILED);
    assert_int_equal(judge("W/\"a,b\"", NULL, NULL, NULL), VERDICT_FAILED);
    assert_int_equal(judge("*", NULL, NULL, NULL), VERDICT_SEND);
    assert_int_equal(judge(NULL, NULL, NULL, earlier), VERDICT_FAILED);
    assert_int_equal(judge(NULL, NULL, NULL, same), VERDICT_SEND);
}

static bool range_holds(const char *if_range)
{
    const struct wishes wishes = {.if_range = text(if_range)};
    return wishes_range_holds(&wishes, SLICE("\"a\""), MODIFIED);
}

static void a_part_fits_only_the_same_file(void **state)
{
    (void)state;
    assert_true(range_holds(NULL));
    assert_true(range_holds("\"a\""));
    assert_false(range_holds("W/\"a\""));
    assert_false(range_holds("\"b\""));
    assert_true(range_holds("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_false(range_holds("Sun, 06 Nov 1994 08:49:38 GMT"));
    assert_false(range_holds("nonsense"));
    assert_false(range_holds(""));
}

static void the_client_chooses_the_encoding(void **state)
{
    (void)state;
    enum { ALL = 7, GZIP = 1 << ENCODING_GZIP, ZSTD = 1 << ENCODING_ZSTD };
    static const struct {
        const char *accept;
        unsigned there;
        enum encoding chosen;
    } cases[] = {
        {NULL, ALL, ENCODING_COUNT},
        {"", ALL, ENCODING_COUNT},
        {"identity", ALL, ENCODING_COUNT},
        {"gzip, deflate, br", ALL, ENCODING_BROTLI},
        {"gzip, deflate, br", GZIP, ENCODING_GZIP},
        {"gzip", ZSTD, ENCODING_COUNT},
        {"br;q=0, *", ALL, ENCODING_ZSTD},
        {"*;q=0", ALL, ENCODING_COUNT},
        {"gzip;q=1.0, br;q=0.9", ALL, ENCODING_GZIP},
        {"GZIP ; q=0.001", GZIP, ENCODING_GZIP},
        {"gzip;q=0.000", GZIP, ENCODING_COUNT},
        {"x-gzip", GZIP, ENCODING_GZIP},
        {"gzip;level=9", GZIP, ENCODING_COUNT}, /* not a quality: rather not */
        {"gzipped", GZIP, ENCODING_COUNT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(encoding_choose(text(cases[i].accept), cases[i].there), cases[i].chosen);
}

static void fields_are_found_by_name(void **state)
{
    (void)state;
    struct field fields[] = {{.name = SLICE("Accept"), .value = SLICE("*/*")},
                             {.name = SLICE("range"), .value = SLICE("bytes=0-1")},
                             {.name = SLICE("IF-NONE-MATCH"), .value = SLICE("\"x\"")}};
    const struct head head = {.fields = fields, .field_count = 3};
    struct wishes wishes;
    wishes_read(&head, &wishes);
    assert_true(slice_is(wishes.range, "bytes=0-1"));
    assert_true(slice_is(wishes.if_none_match, "\"x\""));
    assert_null(wishes.if_match.bytes);
    assert_null(wishes.accept_encoding.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_are_read_in_all_three_forms),
        cmocka_unit_test(tags_decide_before_dates),
        cmocka_unit_test(a_part_fits_only_the_same_file),
        cmocka_unit_test(the_client_chooses_the_encoding),
        cmocka_unit_test(fields_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
