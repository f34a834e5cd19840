#include <errno.h>
#include <fcntl.h>
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

#include "gateway/http/file_cache.h"

static struct {
    char path[64];
    struct plan_directory directory;
    struct file_cache *cache;
    int opens;
    int error; /* what an open gives; 0: what there is */
    uint64_t now_ms;
} rig;

static int rig_open(void *owner, int directory_fd, const char *name, int *ret_fd)
{
    (void)owner;
    rig.opens++;
    if (rig.error)
        return rig.error;
    *ret_fd = openat(directory_fd, *name ? name : ".", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return *ret_fd < 0 ? -errno : 0;
}

static int setup(void **state)
{
    (void)state;
    memset(&rig, 0, sizeof rig);
    strcpy(rig.path, "/tmp/enginx-files-XXXXXX");
    assert_non_null(mkdtemp(rig.path));
    rig.directory.fd = open(rig.path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct stat status;
    assert_int_equal(fstat(rig.directory.fd, &status), 0);
    rig.directory.device = status.st_dev;
    rig.directory.inode = status.st_ino;
    rig.cache = file_cache_new(FILES_MAX, rig_open, NULL);
    rig.now_ms = 1000;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    file_cache_free(rig.cache);
    close(rig.directory.fd);
    snprintf(command, sizeof command, "rm -rf %s", rig.path);
    return system(command);
}

static void put(const char *name, const char *text)
{
    int fd = openat(rig.directory.fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static struct file *find(const char *name)
{
    struct file *file = file_find(rig.cache, &rig.directory,
                                  (struct slice){name, (uint32_t)strlen(name)}, rig.now_ms);
    assert_non_null(file);
    return file;
}

static void holds(const char *name, const char *text)
{
    struct file *file = find(name);
    assert_int_equal(file->state, FILE_REGULAR);
    assert_int_equal(file->size, strlen(text));
    assert_memory_equal(file->content, text, strlen(text));
    file_unref(file);
}

static void absent(const char *name, int error)
{
    struct file *file = find(name);
    assert_int_equal(file->state, FILE_ABSENT);
    assert_int_equal(file->error, error);
    file_unref(file);
}

static void what_is_known_is_believed_for_a_second(void **state)
{
    (void)state;
    put("a", "one");
    holds("a", "one");
    put("a", "three");
    rig.now_ms += FILE_FRESH_MS - 1;
    holds("a", "one");
    assert_int_equal(rig.opens, 1);
    rig.now_ms += 1;
    holds("a", "three");
    assert_int_equal(rig.opens, 2);
}

static void what_was_not_there_is_looked_for_again(void **state)
{
    (void)state;
    absent("a", -ENOENT);
    absent("a", -ENOENT);
    assert_int_equal(rig.opens, 1);
    put("a", "x");
    rig.now_ms += FILE_FRESH_MS;
    holds("a", "x");
    unlinkat(rig.directory.fd, "a", 0);
    rig.now_ms += FILE_FRESH_MS;
    absent("a", -ENOENT);
}

static void who_holds_a_file_goes_on_with_it(void **state)
{
    (void)state;
    put("a", "old");
    struct file *old = find("a");
    put("b", "new");
    assert_int_equal(renameat(rig.directory.fd, "b", rig.directory.fd, "a"), 0);
    rig.now_ms += FILE_FRESH_MS;
    holds("a", "new");
    assert_memory_equal(old->content, "old", 3);
    struct file *new = find("a");
    assert_string_not_equal(old->etag, new->etag);
    file_unref(new);
    file_unref(old);
}

static void errors_that_pass_are_not_kept(void **state)
{
    (void)state;
    put("a", "x");
    rig.error = -EMFILE;
    absent("a", -EMFILE);
    rig.error = -ETIMEDOUT;
    absent("a", -ETIMEDOUT);
    rig.error = 0;
    holds("a", "x");
    assert_int_equal(rig.opens, 3);
}

static void folders_and_others_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(mkdirat(rig.directory.fd, "f", 0755), 0);
    assert_int_equal(mkfifoat(rig.directory.fd, "p", 0644), 0);
    struct file *folder = find("f");
    assert_int_equal(folder->state, FILE_FOLDER);
    file_unref(folder);
    struct file *itself = find("");
    assert_int_equal(itself->state, FILE_FOLDER);
    file_unref(itself);
    absent("p", -ENOENT);
    absent("f/none", -ENOENT);
}

static unsigned variants(const char *name)
{
    struct file *file = find(name);
    unsigned found = file->variants;
    file_unref(file);
    rig.now_ms += FILE_FRESH_MS;
    return found;
}

static void newer_variants_are_found(void **state)
{
    (void)state;
    static const struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    put("a.css", "body");
    assert_int_equal(variants("a.css"), 0);
    put("a.css.gz", "gz");
    put("a.css.br", "br");
    assert_int_equal(variants("a.css"), 1 << ENCODING_GZIP | 1 << ENCODING_BROTLI);
    utimensat(rig.directory.fd, "a.css.br", long_ago, 0);
    assert_int_equal(variants("a.css"), 1 << ENCODING_GZIP);
    put("a.png", "png");
    put("a.png.gz", "gz");
    assert_int_equal(variants("a.png"), 0);
}

static size_t descriptors(void)
{
    size_t count = 0;
    for (int fd = 0; fd < 4096; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void it_never_holds_more_than_its_bound(void **state)
{
    (void)state;
    char name[16];
    static char large[FILE_CONTENT_BYTES + 2];
    memset(large, 'x', sizeof large - 1);
    size_t before = descriptors();
    for (int i = 0; i < 8; i++) {
        snprintf(name, sizeof name, "l%d", i);
        put(name, large);
        file_unref(find(name));
    }
    assert_int_equal(descriptors(), before + 8);
    for (int i = 0; i < FILES_MAX; i++) {
        snprintf(name, sizeof name, "n%d", i);
        absent(name, -ENOENT);
    }
    assert_int_equal(descriptors(), before); /* the longest unused went first */
    rig.opens = 0;
    absent("n1000", -ENOENT);
    assert_int_equal(rig.opens, 0);
    file_unref(find("l0"));
    assert_int_equal(rig.opens, 1);
}

int main(void)
{
#define CASE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(what_is_known_is_believed_for_a_second), CASE(what_was_not_there_is_looked_for_again),
        CASE(who_holds_a_file_goes_on_with_it),       CASE(errors_that_pass_are_not_kept),
        CASE(folders_and_others_are_told_apart),      CASE(newer_variants_are_found),
        CASE(it_never_holds_more_than_its_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
