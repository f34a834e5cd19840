#include "conf/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct fixture {
    struct sources sources;
    char folder[64];
    char path[128];
    char problem[SOURCE_PROBLEM_BYTES];
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    snprintf(fixture->folder, sizeof fixture->folder, "/tmp/source_test.XXXXXX");
    if (!mkdtemp(fixture->folder))
        return -1;
    snprintf(fixture->path, sizeof fixture->path, "%s/file", fixture->folder);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    sources_done(&fixture->sources);
    unlink(fixture->path);
    rmdir(fixture->folder);
    free(fixture);
    return 0;
}

static void write_file(const struct fixture *fixture, const void *bytes, size_t length)
{
    int fd = open(fixture->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, length), length);
    close(fd);
}

static void a_file_is_read_whole(void **state)
{
    struct fixture *fixture = *state;
    write_file(fixture, "run x;\n\xff\xfe", 9);
    struct source *source = sources_read(&fixture->sources, fixture->path, fixture->problem);
    assert_non_null(source);
    assert_int_equal(source->length, 9);
    assert_memory_equal(source->text, "run x;\n\xff\xfe\0", 10);
    assert_string_equal(source->path, fixture->path);
    assert_string_equal(source->directory, fixture->folder);
    assert_true(source->inode != 0);
}

static void what_is_no_text_file_is_named(void **state)
{
    struct fixture *fixture = *state;
    assert_null(sources_read(&fixture->sources, fixture->path, fixture->problem));
    assert_string_equal(fixture->problem, "cannot be read: No such file or directory");
    assert_null(sources_read(&fixture->sources, fixture->folder, fixture->problem));
    assert_string_equal(fixture->problem, "is a directory, not a file");
    assert_null(sources_read(&fixture->sources, "/dev/null", fixture->problem));
    assert_string_equal(fixture->problem, "is a device, not a file");
    write_file(fixture, "ELF\0abc", 7);
    assert_null(sources_read(&fixture->sources, fixture->path, fixture->problem));
    assert_string_equal(fixture->problem, "is not a text: byte 4 is 0");
}

static void a_pipe_blocks_nobody(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(mkfifo(fixture->path, 0600), 0);
    assert_null(sources_read(&fixture->sources, fixture->path, fixture->problem));
    assert_string_equal(fixture->problem, "is a pipe, not a file");
}

static void a_huge_file_is_refused_unread(void **state)
{
    struct fixture *fixture = *state;
    write_file(fixture, "", 0);
    assert_int_equal(truncate(fixture->path, 100 * 1000 * 1000), 0);
    assert_null(sources_read(&fixture->sources, fixture->path, fixture->problem));
    assert_string_equal(fixture->problem,
                        "is too large: 100000000 bytes, and at most 16777216 are read");
}

static void the_bound_holds_for_all_files_together(void **state)
{
    struct fixture *fixture = *state;
    char *text = malloc(SOURCE_BYTES_MAX);
    memset(text, ' ', SOURCE_BYTES_MAX);
    assert_non_null(
        sources_copy(&fixture->sources, text, SOURCE_BYTES_MAX - 10, "a", NULL, fixture->problem));
    assert_null(sources_copy(&fixture->sources, text, 11, "b", NULL, fixture->problem));
    assert_string_equal(
        fixture->problem,
        "is too large: 11 bytes on top of the other files, and at most 16777216 are read");
    assert_non_null(sources_copy(&fixture->sources, text, 10, "b", NULL, fixture->problem));
    free(text);
}

static void a_text_is_copied(void **state)
{
    struct fixture *fixture = *state;
    char text[] = "run";
    struct source *source =
        sources_copy(&fixture->sources, text, 3, "name", "/folder", fixture->problem);
    text[0] = 'x';
    assert_string_equal(source->text, "run");
    assert_string_equal(source->directory, "/folder");
    assert_int_equal(source->inode, 0);
    assert_null(sources_copy(&fixture->sources, "a\0b", 3, "name", NULL, fixture->problem));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_is_read_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_text_file_is_named, setup, teardown),
        cmocka_unit_test_setup_teardown(a_pipe_blocks_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(a_huge_file_is_refused_unread, setup, teardown),
        cmocka_unit_test_setup_teardown(the_bound_holds_for_all_files_together, setup, teardown),
        cmocka_unit_test_setup_teardown(a_text_is_copied, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
