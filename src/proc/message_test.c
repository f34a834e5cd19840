#include "proc/message.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static int pair[2];
static char packet[MESSAGE_PACKET_BYTES_MAX];

static int pair_open(void **state)
{
    (void)state;
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair);
}

static int pair_close(void **state)
{
    (void)state;
    close(pair[0]);
    return close(pair[1]);
}

static int receive(enum message_party receiver, struct message *message)
{
    return message_receive(pair[1], PARTY_SUPERVISOR, receiver, packet, sizeof packet, message);
}

static void a_descriptor_arrives_with_its_name(void **state)
{
    (void)state;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct message sent, message;
    assert_int_equal(message_init(&sent, MESSAGE_PUT, "listener:api:3000"), 0);
    sent.fd = fd;
    assert_int_equal(message_send(pair[0], PARTY_SUPERVISOR, &sent), 0);
    assert_int_equal(receive(PARTY_KEEPER, &message), 0);
    assert_int_equal(message.kind, MESSAGE_PUT);
    assert_string_equal(message.name, "listener:api:3000");
    struct stat ours, theirs;
    fstat(fd, &ours);
    assert_int_equal(fstat(message.fd, &theirs), 0);
    assert_true(ours.st_rdev == theirs.st_rdev);
    assert_true(fcntl(message.fd, F_GETFD) & FD_CLOEXEC);
    close(fd);
    close(message.fd);
    assert_int_equal(receive(PARTY_KEEPER, &message), -EAGAIN);
}

static void a_chunk_of_the_largest_size_arrives_whole(void **state)
{
    (void)state;
    static char bytes[MESSAGE_BYTES_MAX];
    memset(bytes, 'x', sizeof bytes);
    bytes[sizeof bytes - 1] = 0; /* bytes may be any */
    struct message sent, message;
    char name[MESSAGE_NAME_BYTES];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    assert_int_equal(message_init(&sent, MESSAGE_CHUNK, name), 0);
    sent.bytes = bytes;
    sent.length = sizeof bytes;
    assert_int_equal(message_send(pair[0], PARTY_SUPERVISOR, &sent), 0);
    assert_int_equal(receive(PARTY_LOGGER, &message), 0);
    assert_int_equal(message.length, sizeof bytes);
    assert_memory_equal(message.bytes, bytes, sizeof bytes);
    assert_string_equal(message.name, name);
    assert_int_equal(
        message_init(
            &sent, MESSAGE_CHUNK,
            "a name that is so long that it is refused "
            "...................................................................................."
            "...................................................................................."),
        -ENAMETOOLONG);
}

/* The head as it goes over the wire. */
struct wire {
    uint16_t kind, name_bytes;
    uint32_t reserved;
    uint64_t number;
    char body[16];
};

static void refused(struct wire wire, size_t length, enum message_party receiver)
{
    struct message message;
    assert_int_equal(send(pair[0], &wire, length, 0), length);
    assert_int_equal(receive(receiver, &message), -EPROTO);
}

static void what_breaks_the_table_is_refused(void **state)
{
    (void)state;
    refused((struct wire){.kind = MESSAGE_HELLO}, 7, PARTY_KEEPER); /* half a head */
    refused((struct wire){.kind = 0}, 16, PARTY_KEEPER);            /* unknown */
    refused((struct wire){.kind = MESSAGE_KINDS}, 16, PARTY_KEEPER);
    refused((struct wire){.kind = 65535}, 16, PARTY_KEEPER);
    refused((struct wire){.kind = MESSAGE_HELLO}, 16, PARTY_LOGGER);         /* not for it */
    refused((struct wire){.kind = MESSAGE_FOUND_ALL}, 16, PARTY_SUPERVISOR); /* not from it */
    refused((struct wire){.kind = MESSAGE_HELLO}, 17, PARTY_KEEPER);         /* a body */
    refused((struct wire){.kind = MESSAGE_HELLO, .name_bytes = 1}, 17, PARTY_KEEPER);
    refused((struct wire){.kind = MESSAGE_DROP}, 16, PARTY_KEEPER); /* no name */
    refused((struct wire){.kind = MESSAGE_DROP, .name_bytes = 4}, 18, PARTY_KEEPER);
    refused((struct wire){.kind = MESSAGE_DROP, .name_bytes = 2, .body = "a"}, 18, PARTY_KEEPER);
    refused((struct wire){.kind = MESSAGE_PUT, .name_bytes = 1, .body = "a"}, 17, PARTY_KEEPER);
}

/* The lowest number that is free: equal before and after when nothing leaked. */
static int free_number(void)
{
    int fd = dup(0);
    close(fd);
    return fd;
}

static void superfluous_descriptors_are_closed(void **state)
{
    (void)state;
    int before = free_number();
    for (int count = 1; count <= 4; count++) {
        struct wire wire = {
            .kind = count == 1 ? MESSAGE_DROP : MESSAGE_PUT, .name_bytes = 1, .body = "a"};
        union {
            struct cmsghdr head;
            char bytes[CMSG_SPACE(4 * sizeof(int))];
        } control = {.head = {.cmsg_level = SOL_SOCKET,
                              .cmsg_type = SCM_RIGHTS,
                              .cmsg_len = CMSG_LEN((size_t)count * sizeof(int))}};
        int fds[4] = {0, 0, 0, 0};
        memcpy(CMSG_DATA(&control.head), fds, (size_t)count * sizeof(int));
        struct iovec part = {&wire, 17};
        struct msghdr out = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = CMSG_SPACE((size_t)count * sizeof(int))};
        assert_int_equal(sendmsg(pair[0], &out, 0), 17);
        struct message message;
        assert_int_equal(receive(PARTY_KEEPER, &message), -EPROTO);
    }
    assert_int_equal(free_number(), before);
}

static void the_end_is_told_after_what_was_sent(void **state)
{
    (void)state;
    struct message sent, message;
    message_init(&sent, MESSAGE_END, "");
    message_send(pair[0], PARTY_SUPERVISOR, &sent);
    /* Something unread at the other end turns its close into a reset. */
    assert_int_equal(send(pair[1], "x", 1, 0), 1);
    close(pair[0]);
    assert_int_equal(receive(PARTY_KEEPER, &message), 0);
    assert_int_equal(receive(PARTY_KEEPER, &message), -EPIPE);
    pair[0] = dup(0);
}

static void a_full_socket_does_not_block(void **state)
{
    (void)state;
    struct message sent;
    message_init(&sent, MESSAGE_DROP, "x");
    int error = 0;
    for (int i = 0; i < 1000000 && !error; i++)
        error = message_send(pair[0], PARTY_SUPERVISOR, &sent);
    assert_int_equal(error, -EAGAIN);
}

#define with_pair(test) cmocka_unit_test_setup_teardown(test, pair_open, pair_close)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_pair(a_descriptor_arrives_with_its_name),
        with_pair(a_chunk_of_the_largest_size_arrives_whole),
        with_pair(what_breaks_the_table_is_refused),
        with_pair(superfluous_descriptors_are_closed),
        with_pair(the_end_is_told_after_what_was_sent),
        with_pair(a_full_socket_does_not_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
