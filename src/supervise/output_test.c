#include "supervise/output.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct loop *loop;
static struct console *console;
static struct logger *no_logger;
static char folder[] = "/tmp/output-XXXXXX";
static char path[64];
static int screen[2];

static int begin(void **state)
{
    (void)state;
    loop = loop_new();
    if (!mkdtemp(folder) || pipe2(screen, O_CLOEXEC) < 0)
        return -1;
    fcntl(screen[0], F_SETFL, O_NONBLOCK);
    snprintf(path, sizeof path, "%s/api.1", folder);
    console = console_new(loop, screen[1], false);
    return 0;
}

static int end(void **state)
{
    (void)state;
    console_free(console);
    close(screen[0]);
    close(screen[1]);
    loop_free(loop);
    unlink(path);
    return rmdir(folder);
}

static struct output *opened(void)
{
    struct output_setup setup = {.loop = loop,
                                 .path = path,
                                 .source = "api.1",
                                 .hue = 0,
                                 .logger = &no_logger,
                                 .console = &console};
    struct output *output = NULL;
    assert_int_equal(output_open(&setup, geteuid(), getegid(), &output), 0);
    return output;
}

static void lines_come_whole_however_they_were_cut(void **state)
{
    (void)state;
    struct output *output = opened();
    int program = output_program_fd(output);
    assert_true(program >= 0);
    assert_int_equal(fcntl(program, F_GETFL) & O_NONBLOCK, 0);
    assert_int_equal(write(program, "hel", 3), 3);
    loop_turn(loop, 100);
    assert_int_equal(write(program, "lo\nwor", 6), 6);
    loop_turn(loop, 100);
    char shown[4096];
    ssize_t length = read(screen[0], shown, sizeof shown - 1);
    assert_true(length > 0);
    shown[length] = 0;
    assert_non_null(strstr(shown, "api.1      | hello\n"));
    assert_null(strstr(shown, "wor"));
    output_drain(output);
    length = read(screen[0], shown, sizeof shown - 1);
    assert_true(length > 0);
    shown[length] = 0;
    assert_non_null(strstr(shown, "| wor\n"));
    size_t tail_length;
    const char *tail = output_tail(output, &tail_length);
    assert_int_equal(tail_length, 9);
    assert_memory_equal(tail, "hello\nwor", 9);
    close(program);
    output_close(output, true);
    assert_int_equal(access(path, F_OK), -1);
}

static void the_tail_keeps_the_last_whole_lines(void **state)
{
    (void)state;
    struct output *output = opened();
    int program = output_program_fd(output);
    for (int i = 0; i < 1000; i++)
        assert_true(dprintf(program, "line %d\n", i) > 0);
    output_drain(output);
    size_t length;
    const char *tail = output_tail(output, &length);
    assert_in_range(length, OUTPUT_TAIL_BYTES - 16, OUTPUT_TAIL_BYTES);
    assert_memory_equal(tail, "line ", 5);
    assert_memory_equal(tail + length - 9, "line 999\n", 9);
    close(program);
    output_close(output, true);
}

/* Nobody reads the screen: the program must not notice. */
static void a_stopped_screen_does_not_stop_the_program(void **state)
{
    (void)state;
    struct output *output = opened();
    int program = output_program_fd(output);
    char line[1024];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\n';
    for (int i = 0; i < 4096;
         i++) { /* 4 MiB, more than the screen's pipe and the console's buffer */
        assert_int_equal(write(program, line, sizeof line), sizeof line);
        output_drain(output);
    }
    close(program);
    output_close(output, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_come_whole_however_they_were_cut),
        cmocka_unit_test(the_tail_keeps_the_last_whole_lines),
        cmocka_unit_test(a_stopped_screen_does_not_stop_the_program),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
