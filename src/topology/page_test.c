/* The examples of the pages for users, which are given as arguments: each block between ```nginx
 * and
 * ``` is a configuration. */
#include "topology/parse_fixture.h"

static const char *page_path;

static char *page_read(void)
{
    enum { PAGE_BYTES_MAX = 1 << 20 };
    FILE *file = fopen(page_path, "re");
    assert_non_null(file);
    char *text = calloc(1, PAGE_BYTES_MAX);
    assert_true(fread(text, 1, PAGE_BYTES_MAX - 1, file) > 0);
    fclose(file);
    return text;
}

static void examples_are_right(void **state)
{
    static const char begin[] = "```nginx\n";
    (void)state;
    size_t count = 0;
    char *page = page_read();
    for (char *at = strstr(page, begin); at; at = strstr(at, begin)) {
        char *text = at + strlen(begin);
        char *end = strstr(text, "```");
        assert_non_null(end);
        *end = 0;
        topology_free(good(text));
        if (*said && !strstr(said, "0 errors, 0 warnings"))
            fail_msg("%s\n%s", text, said);
        at = end + 1;
        count++;
    }
    assert_true(count > 0);
    free(page);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(examples_are_right)};
    int failed = argc > 1 ? 0 : 1;
    for (int i = 1; i < argc; i++) {
        page_path = argv[i];
        failed += cmocka_run_group_tests(tests, NULL, NULL);
    }
    free(said);
    return failed;
}
