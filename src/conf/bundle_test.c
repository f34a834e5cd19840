#include "conf/bundle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

static void add(struct bundle *bundle, enum bundle_kind kind, const char *name, const char *text)
{
    assert_int_equal(bundle_add(bundle, kind, name, text, strlen(text)), 0);
}

static void expect(const struct bundle *bundle, enum bundle_kind kind, const char *name,
                   const char *text)
{
    size_t length = 99;
    const char *found = bundle_find(bundle, kind, name, &length);
    assert_non_null(found);
    assert_int_equal(length, strlen(text));
    assert_string_equal(found, text);
}

static struct bundle *filled(void)
{
    struct bundle *bundle = bundle_new();
    add(bundle, BUNDLE_SOURCE, "a.conf", "service");
    add(bundle, BUNDLE_SOURCE, "b.conf", "");
    add(bundle, BUNDLE_FILE, "a.conf", "pem");
    add(bundle, BUNDLE_SOURCE, "a.conf", "another");
    add(bundle, BUNDLE_ENVIRONMENT, "", "x");
    return bundle;
}

static void expect_filled(const struct bundle *bundle)
{
    const char *name;
    size_t length;
    expect(bundle, BUNDLE_SOURCE, "a.conf", "service"); /* the first one stays */
    expect(bundle, BUNDLE_SOURCE, "b.conf", "");
    expect(bundle, BUNDLE_FILE, "a.conf", "pem");
    expect(bundle, BUNDLE_ENVIRONMENT, "", "x");
    assert_null(bundle_find(bundle, BUNDLE_FILE, "b.conf", &length));
    assert_null(bundle_find(bundle, BUNDLE_ROOT, "a.conf", NULL));
    assert_string_equal(bundle_nth(bundle, BUNDLE_SOURCE, 1, &name, &length), "");
    assert_string_equal(name, "b.conf");
    assert_int_equal(length, 0);
    assert_null(bundle_nth(bundle, BUNDLE_SOURCE, 2, &name, &length));
}

static void what_is_added_is_found(void **state)
{
    (void)state;
    struct bundle *bundle = filled();
    expect_filled(bundle);
    bundle_free(bundle);
    bundle_free(NULL);
}

static void another_process_finds_the_same(void **state)
{
    (void)state;
    struct bundle *bundle = filled(), *opened = NULL;
    int fd = bundle_seal(bundle);
    bundle_free(bundle);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), -1);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(bundle_open(fd, &opened), 0);
    close(fd);
    expect_filled(opened);
    bundle_free(opened);
}

static void what_is_too_large_is_refused(void **state)
{
    (void)state;
    struct bundle *bundle = bundle_new();
    char *large = calloc(1, BUNDLE_BYTES_MAX + 1);
    assert_int_equal(bundle_add(bundle, BUNDLE_FILE, "f", large, BUNDLE_FILE_BYTES_MAX + 1),
                     -EFBIG);
    assert_int_equal(bundle_add(bundle, BUNDLE_FILE, "f", large, BUNDLE_FILE_BYTES_MAX), 0);
    assert_int_equal(bundle_add(bundle, BUNDLE_SOURCE, "s", large, BUNDLE_BYTES_MAX), -EFBIG);
    assert_int_equal(bundle_add(bundle, BUNDLE_SOURCE, "s", large, BUNDLE_BYTES_MAX + 1), -EFBIG);
    assert_null(bundle_find(bundle, BUNDLE_SOURCE, "s", NULL));
    bundle_free(bundle);
    free(large);
}

static void a_bundle_of_many_is_whole(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    struct bundle *bundle = bundle_new(), *opened = NULL;
    char name[32];
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "file-%d", i);
        add(bundle, BUNDLE_FILE, name, name);
    }
    int fd = bundle_seal(bundle);
    bundle_free(bundle);
    assert_int_equal(bundle_open(fd, &opened), 0);
    close(fd);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "file-%d", i);
        expect(opened, BUNDLE_FILE, name, name);
    }
    bundle_free(opened);
}

/* A memfd with these bytes; `seals` may be 0. */
static int memory(const void *bytes, size_t length, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(write(fd, bytes, length), length);
    assert_true(!seals || fcntl(fd, F_ADD_SEALS, seals) == 0);
    return fd;
}

enum { ALL_SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

static int open_error(const void *bytes, size_t length, int seals)
{
    struct bundle *bundle = NULL;
    int fd = memory(bytes, length, seals);
    int error = bundle_open(fd, &bundle);
    assert_int_equal(bundle == NULL, error != 0);
    bundle_free(bundle);
    close(fd);
    return error;
}

/* Each byte of a good bundle turned over: refused, or whole in itself; never a crash. */
static void what_is_not_a_bundle_is_refused(void **state)
{
    (void)state;
    struct bundle *bundle = filled();
    int fd = bundle_seal(bundle);
    bundle_free(bundle);
    off_t size = lseek(fd, 0, SEEK_END);
    unsigned char *bytes = malloc((size_t)size);
    assert_int_equal(pread(fd, bytes, (size_t)size, 0), size);
    close(fd);
    assert_int_equal(open_error(bytes, (size_t)size, ALL_SEALS), 0);
    assert_int_equal(open_error(bytes, (size_t)size, 0), -EPROTO);
    assert_int_equal(open_error(bytes, (size_t)size, ALL_SEALS & ~F_SEAL_SHRINK), -EPROTO);
    assert_int_equal(open_error(bytes, (size_t)size - 1, ALL_SEALS), -EPROTO);
    assert_int_equal(open_error("", 0, ALL_SEALS), -EPROTO);
    size_t refused = 0;
    for (off_t i = 0; i < size; i++) {
        bytes[i] ^= 0xff;
        refused += open_error(bytes, (size_t)size, ALL_SEALS) != 0;
        bytes[i] ^= 0xff;
    }
    assert_true(refused > 24); /* the head at least */
    bytes[size - 1] ^= 0xff;   /* what ends the last text */
    assert_int_equal(open_error(bytes, (size_t)size, ALL_SEALS), -EPROTO);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_added_is_found),
        cmocka_unit_test(another_process_finds_the_same),
        cmocka_unit_test(what_is_too_large_is_refused),
        cmocka_unit_test(a_bundle_of_many_is_whole),
        cmocka_unit_test(what_is_not_a_bundle_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
