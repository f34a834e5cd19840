#include "supervise/readiness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct readiness_message parsed(const char *text, char *copy)
{
    struct readiness_message message;
    size_t length = strlen(text);
    memcpy(copy, text, length + 1);
    readiness_parse(copy, length, &message);
    return message;
}

static void known_lines_are_understood_and_others_passed_over(void **state)
{
    (void)state;
    char copy[256];
    struct readiness_message message =
        parsed("WATCHDOG=1\nREADY=1\nSTATUS=serving 3\nMAINPID=4711\n", copy);
    assert_true(message.ready);
    assert_false(message.stopping);
    assert_string_equal(message.status, "serving 3");
    assert_int_equal(message.main_pid, 4711);
    assert_true(parsed("STOPPING=1", copy).stopping);
    assert_false(parsed("READY=0", copy).ready);
    assert_false(parsed("NOTREADY=1", copy).ready);
    assert_false(parsed("READY", copy).ready);
    assert_int_equal(parsed("MAINPID=12x", copy).main_pid, 0);
    assert_int_equal(parsed("MAINPID=-1", copy).main_pid, 0);
    assert_int_equal(parsed("MAINPID=99999999999999999999", copy).main_pid, 0);
    assert_false(parsed("", copy).ready);
}

static int calls;

static void count(void *owner, const struct readiness_message *message)
{
    (void)owner;
    calls += message->ready;
}

static void a_datagram_arrives_and_an_overlong_one_does_not(void **state)
{
    (void)state;
    char path[] = "/tmp/readiness-XXXXXX";
    int file = mkstemp(path);
    close(file);
    struct loop *loop = loop_new();
    struct readiness *readiness = NULL;
    assert_int_equal(readiness_open(loop, path, geteuid(), getegid(), count, NULL, &readiness), 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    char big[READINESS_MESSAGE_BYTES_MAX + 100];
    memset(big, '\n', sizeof big);
    memcpy(big, "READY=1", 7);
    sendto(fd, big, sizeof big, 0, (struct sockaddr *)&address, sizeof address);
    loop_turn(loop, 100);
    assert_int_equal(calls, 0);
    sendto(fd, "READY=1", 7, 0, (struct sockaddr *)&address, sizeof address);
    loop_turn(loop, 100);
    assert_int_equal(calls, 1);
    /* What waits can be taken at once, without a turn of the loop. */
    for (int at = 0; at < 3; at++)
        sendto(fd, at == 1 ? big : "READY=1", at == 1 ? sizeof big : 7, 0,
               (struct sockaddr *)&address, sizeof address);
    readiness_take_all(readiness);
    assert_int_equal(calls, 3);
    readiness_take_all(readiness);
    assert_int_equal(calls, 3);
    readiness_take_all(NULL);
    close(fd);
    readiness_close(readiness);
    assert_int_equal(access(path, F_OK), -1);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_lines_are_understood_and_others_passed_over),
        cmocka_unit_test(a_datagram_arrives_and_an_overlong_one_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
