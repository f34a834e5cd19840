#include "kernel/seccomp.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernel/process.h"

static const struct seccomp_wants nothing_more = {0};

static int child_status(pid_t child)
{
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static void it_can_be_had(void **state)
{
    (void)state;
    assert_int_equal(seccomp_probe(), 0);
}

static void rings_are_refused_and_filters_do_not_nest(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        if (seccomp_install(&nothing_more, false) < 0)
            _exit(1);
        char parameters[128] = {0};
        if (syscall(SYS_io_uring_setup, 4, parameters) != -1 || errno != ENOSYS)
            _exit(2);
        if (seccomp_install(&nothing_more, false) != -EBUSY)
            _exit(3);
        _exit(0);
    }
    assert_int_equal(child_status(child), 0);
}

/* The child sends its notification descriptor and binds twice to an abstract Unix address. */
static void binder(int channel, const struct sockaddr_un *address)
{
    int notify_fd = seccomp_install(&nothing_more, false);
    char bytes[CMSG_SPACE(sizeof notify_fd)] = {0}, byte = 0;
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = bytes, .msg_controllen = sizeof bytes};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof notify_fd);
    memcpy(CMSG_DATA(header), &notify_fd, sizeof notify_fd);
    if (notify_fd < 0 || sendmsg(channel, &message, 0) != 1)
        _exit(1);
    close(notify_fd);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(fd, (const struct sockaddr *)address, 20) != -1 || errno != EADDRNOTAVAIL)
        _exit(2);
    if (bind(fd, (const struct sockaddr *)address, 20) != 0)
        _exit(3);
    _exit(0);
}

static int receive(int channel)
{
    char bytes[CMSG_SPACE(sizeof(int))], byte;
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = bytes, .msg_controllen = sizeof bytes};
    assert_int_equal(recvmsg(channel, &message, MSG_CMSG_CLOEXEC), 1);
    int fd;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
    return fd;
}

static void request_wait(int notify_fd, struct seccomp_request *ret_request)
{
    int error;
    while ((error = seccomp_receive(notify_fd, ret_request)) == -EAGAIN)
        usleep(1000);
    assert_int_equal(error, 0);
}

static void calls_are_received_answered_and_continued(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "\0enginx-seccomp-test"};
    int channel[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel), 0);
    pid_t child = fork();
    if (child == 0)
        binder(channel[1], &address);
    int notify_fd = receive(channel[0]);
    seccomp_tune(notify_fd);
    struct seccomp_request request;
    request_wait(notify_fd, &request);
    assert_int_equal(request.call, SECCOMP_CALL_BIND);
    assert_int_equal(request.tid, child);
    struct sockaddr_storage got;
    socklen_t length;
    assert_int_equal(seccomp_address(notify_fd, &request, &got, &length), 0);
    assert_int_equal(length, 20);
    assert_memory_equal(&got, &address, 20);
    struct seccomp_request bad = request;
    bad.args[2] = sizeof got + 1;
    assert_int_equal(seccomp_address(notify_fd, &bad, &got, &length), -EINVAL);
    bad.args[2] = 1;
    assert_int_equal(seccomp_address(notify_fd, &bad, &got, &length), -EINVAL);
    assert_true(seccomp_still_waits(notify_fd, request.id));
    assert_int_equal(seccomp_answer(notify_fd, request.id, 0, EADDRNOTAVAIL), 0);
    assert_false(seccomp_still_waits(notify_fd, request.id));
    uint64_t first = request.id;
    request_wait(notify_fd, &request);
    assert_int_equal(seccomp_answer(notify_fd, first, 0, 0), -ENOENT);
    assert_int_equal(seccomp_continue(notify_fd, request.id), 0);
    assert_int_equal(child_status(child), 0);
    assert_int_equal(seccomp_receive(notify_fd, &request), -EPIPE);
    close(notify_fd);
    close(channel[0]);
    close(channel[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_can_be_had),
        cmocka_unit_test(rings_are_refused_and_filters_do_not_nest),
        cmocka_unit_test(calls_are_received_answered_and_continued),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
