#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/http/file_path.h"
#include "gateway/http/file_type.h"

static void named(const char *path, const char *name)
{
    char out[256];
    struct slice slice = {path, (uint32_t)strlen(path)};
    ssize_t length = file_path_make(slice, out, file_path_room(slice));
    assert_int_equal(length, strlen(name));
    assert_string_equal(out, name);
}

static void refused(const char *path, int error)
{
    char out[256];
    struct slice slice = {path, (uint32_t)strlen(path)};
    assert_int_equal(file_path_make(slice, out, file_path_room(slice)), error);
}

static void paths_become_names(void **state)
{
    (void)state;
    named("/", "");
    named("/a.css", "a.css");
    named("/a/b/", "a/b/");
    named("//a///b//", "a/b/");
    named("/a/./b/../c", "a/c");
    named("/%61%20b", "a b");
    named("/%C3%A4.txt", "\xc3\xa4.txt");
    named("/a%252e%252e", "a%2e%2e");
    named("/a%5Cb", "a\\b");
}

static void nothing_climbs(void **state)
{
    (void)state;
    refused("/..", -EINVAL);
    refused("/../etc/passwd", -EINVAL);
    refused("/a/../../b", -EINVAL);
    refused("/%2e%2e/b", -EINVAL);
    refused("/.%2E/b", -EINVAL);
    refused("/a/%2e%2e/%2e%2e/b", -EINVAL);
    refused("/..%2fb", -ENOENT);
    refused("/a%2f..%2f..%2fb", -ENOENT);
}

static void nothing_ends_a_name(void **state)
{
    (void)state;
    refused("/a%00.html", -EINVAL);
    refused("/a%0ab", -ENOENT);
    refused("/a%2Fb", -ENOENT);
    refused("/a%", -EINVAL);
    refused("/a%zz", -EINVAL);
    refused("a", -EINVAL);
    refused("", -EINVAL);
}

static void hidden_files_stay_hidden(void **state)
{
    (void)state;
    refused("/.env", -ENOENT);
    refused("/.git/config", -ENOENT);
    refused("/a/.htaccess", -ENOENT);
    refused("/%2eenv", -ENOENT);
    refused("/.well-known2/x", -ENOENT);
    refused("/.well-known/.x", -ENOENT);
    named("/.well-known/acme-challenge/x", ".well-known/acme-challenge/x");
    named("/a.b/.well-known/x", "a.b/.well-known/x");
}

static void typed(const char *name, const char *type, bool text)
{
    struct file_type found = file_type_of((struct slice){name, (uint32_t)strlen(name)});
    assert_true(slice_is(found.type, type));
    assert_int_equal(found.text, text);
}

static void names_tell_their_types(void **state)
{
    (void)state;
    /* Each row is found: the table is sorted. */
    static const char *const ends[] = {
        "7z",  "atom", "css", "ico",  "jsonld",      "m3u8", "m4a",   "md",  "mjs", "opus",
        "svg", "ts",   "ttf", "wasm", "webmanifest", "woff", "woff2", "xml", "zip"};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        char name[32] = "x.";
        strcat(name, ends[i]);
        struct file_type found = file_type_of((struct slice){name, (uint32_t)strlen(name)});
        assert_false(slice_is(found.type, "application/octet-stream"));
    }
    typed("a/index.HTML", "text/html; charset=utf-8", true);
    typed("a.tar.gz", "application/gzip", false);
    typed("a.css/b", "application/octet-stream", false);
    typed("README", "application/octet-stream", false);
    typed("a.", "application/octet-stream", false);
    typed("a.averyveryverylongend", "application/octet-stream", false);
    typed("", "application/octet-stream", false);
}

static void the_systems_list_adds_types(void **state)
{
    (void)state;
    typed("a.odt", "application/octet-stream", false);
    char path[] = "/tmp/enginx-types-XXXXXX";
    int fd = mkstemp(path);
    static const char list[] = "# comment\napplication/odt\t\todt ott\ntext/wrong css\n"
                               "text/x-y  yy # more\napplication/none\n";
    assert_int_equal(write(fd, list, sizeof list - 1), sizeof list - 1);
    close(fd);
    file_types_load(path);
    unlink(path);
    file_types_load("/nowhere");
    typed("a.odt", "application/odt", false);
    typed("a.ott", "application/odt", false);
    typed("a.yy", "text/x-y", true);
    typed("a.css", "text/css; charset=utf-8", true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_become_names),     cmocka_unit_test(nothing_climbs),
        cmocka_unit_test(nothing_ends_a_name),    cmocka_unit_test(hidden_files_stay_hidden),
        cmocka_unit_test(names_tell_their_types), cmocka_unit_test(the_systems_list_adds_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
