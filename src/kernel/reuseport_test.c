#include "kernel/reuseport.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/random.h"

enum { ARRIVAL_WITHIN_MS = 1000 };

/* ---- an interpreter for the part of classic BPF that we write -------------------------------- */

struct packet {
    uint8_t bytes[64]; /* from the network header on */
    uint32_t random;
    uint32_t interface;
};

static uint32_t packet_load(const struct packet *packet, unsigned size, int32_t offset)
{
    if (offset == SKF_AD_OFF + SKF_AD_RANDOM)
        return packet->random;
    if (offset == SKF_AD_OFF + SKF_AD_IFINDEX)
        return packet->interface;
    int32_t at = offset - SKF_NET_OFF;
    assert_in_range(at, 0, 60);
    const uint8_t *bytes = packet->bytes + at;
    if (size == BPF_B)
        return bytes[0];
    if (size == BPF_H)
        return (uint32_t)bytes[0] << 8 | bytes[1];
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static uint32_t calculate(uint16_t operation, uint32_t a, uint32_t b)
{
    switch (operation) {
    case BPF_ADD: return a + b;
    case BPF_SUB: return a - b;
    case BPF_MUL: return a * b;
    case BPF_XOR: return a ^ b;
    case BPF_RSH: return a >> b;
    case BPF_DIV: assert_int_not_equal(b, 0); return a / b;
    case BPF_MOD: assert_int_not_equal(b, 0); return a % b;
    default: fail_msg("operation %x", operation); return 0;
    }
}

static uint32_t program_run(const struct sock_filter *program, int length,
                            const struct packet *packet)
{
    uint32_t a = 0, x = 0, memory[BPF_MEMWORDS] = {0};
    for (int pc = 0; pc < length; pc++) {
        const struct sock_filter *at = &program[pc];
        uint32_t operand = BPF_SRC(at->code) == BPF_X ? x : at->k;
        switch (at->code) {
        case BPF_RET | BPF_K: return at->k;
        case BPF_RET | BPF_A: return a;
        case BPF_JMP | BPF_JA: pc += (int)at->k; continue;
        case BPF_JMP | BPF_JEQ | BPF_K: pc += a == at->k ? at->jt : at->jf; continue;
        case BPF_JMP | BPF_JGE | BPF_K: pc += a >= at->k ? at->jt : at->jf; continue;
        case BPF_MISC | BPF_TAX: x = a; continue;
        case BPF_ST: memory[at->k] = a; continue;
        case BPF_LDX | BPF_MEM: x = memory[at->k]; continue;
        case BPF_LDX | BPF_B | BPF_MSH:
            x = 4 * (packet_load(packet, BPF_B, (int32_t)at->k) & 15);
            continue;
        default: break;
        }
        if (BPF_CLASS(at->code) == BPF_LD && BPF_MODE(at->code) == BPF_ABS)
            a = packet_load(packet, BPF_SIZE(at->code), (int32_t)at->k);
        else if (BPF_CLASS(at->code) == BPF_LD && BPF_MODE(at->code) == BPF_IND)
            a = packet_load(packet, BPF_SIZE(at->code), (int32_t)(at->k + x));
        else if (BPF_CLASS(at->code) == BPF_ALU)
            a = calculate(BPF_OP(at->code), a, operand);
        else
            fail_msg("instruction %d: %x", pc, at->code);
    }
    fail_msg("the program runs past its end");
    return 0;
}

static struct packet packet_ip4(uint32_t source, uint32_t destination, uint16_t port)
{
    struct packet packet = {.bytes = {0x45}};
    uint32_t words[2] = {htonl(source), htonl(destination)};
    memcpy(packet.bytes + 12, words, sizeof words);
    uint16_t wire = htons(port);
    memcpy(packet.bytes + 20, &wire, sizeof wire);
    return packet;
}

static struct packet packet_ip6(uint32_t last, uint16_t port)
{
    struct packet packet = {.bytes = {0x60}};
    uint32_t word = htonl(last);
    memcpy(packet.bytes + 20, &word, sizeof word);
    uint16_t wire = htons(port);
    memcpy(packet.bytes + 40, &wire, sizeof wire);
    return packet;
}

/* ---- building ------------------------------------------------------------------------------- */

static struct sock_filter program[REUSEPORT_INSTRUCTIONS_MAX];

static int build(const struct reuseport_choice *choices, size_t count)
{
    int length = reuseport_build(choices, count, NULL, program, REUSEPORT_INSTRUCTIONS_MAX);
    assert_in_range(length, 1, REUSEPORT_INSTRUCTIONS_MAX);
    return length;
}

/* Every random number below `total` once: the shares are exact. */
static void shares(const struct reuseport_member *members, size_t count, uint32_t total,
                   uint32_t *ret_counts)
{
    struct reuseport_choice choice = {.members = members, .count = count};
    int length = build(&choice, 1);
    struct packet packet = packet_ip4(1, 2, 3);
    for (packet.random = 0; packet.random < total; packet.random++)
        ret_counts[program_run(program, length, &packet)]++;
}

static void random_follows_weights_exactly(void **state)
{
    (void)state;
    static const struct reuseport_member members[] = {
        {.index = 0, .weight = 5}, {.index = 1, .weight = 3}, {.index = 2, .weight = 0},
        {.index = 3, .weight = 3}, {.index = 4, .weight = 2}, {.index = 5, .weight = 2}};
    uint32_t counts[6] = {0};
    shares(members, 6, 15 * 10, counts);
    static const uint32_t expected[6] = {50, 30, 0, 30, 20, 20};
    assert_memory_equal(counts, expected, sizeof counts);
}

static void random_of_many_with_unlike_weights(void **state)
{
    (void)state;
    enum { COUNT = REUSEPORT_MEMBERS_MAX };
    static struct reuseport_member members[COUNT];
    static uint32_t counts[COUNT];
    uint32_t total = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        members[i] = (struct reuseport_member){.index = COUNT - 1 - i, .weight = 1 + i % 3};
        total += members[i].weight;
    }
    shares(members, COUNT, total, counts);
    for (uint32_t i = 0; i < COUNT; i++)
        assert_int_equal(counts[members[i].index], members[i].weight);
}

static void equal_weights_need_few_instructions(void **state)
{
    (void)state;
    static struct reuseport_member members[REUSEPORT_MEMBERS_MAX];
    for (uint32_t i = 0; i < REUSEPORT_MEMBERS_MAX; i++)
        members[i] = (struct reuseport_member){.index = i, .weight = 100};
    struct reuseport_choice choice = {.members = members, .count = REUSEPORT_MEMBERS_MAX};
    assert_in_range(build(&choice, 1), 1, 5);
}

static void addresses_choose_first(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    static struct reuseport_member members[COUNT];
    static struct reuseport_choice choices[COUNT + 2];
    for (uint32_t i = 0; i < COUNT; i++) {
        members[i] = (struct reuseport_member){.index = i, .weight = 1};
        choices[i] = (struct reuseport_choice){
            .address = 0x7f4d0000 + (i * 7919) % 1009, .members = &members[i], .count = 1};
    }
    /* The same address again: the first choice holds. */
    choices[COUNT] = (struct reuseport_choice){
        .address = choices[5].address, .members = &members[9], .count = 1};
    choices[COUNT + 1] = (struct reuseport_choice){.members = &members[7], .count = 2};
    int length = build(choices, COUNT + 2);
    for (uint32_t i = 0; i < COUNT; i++) {
        struct packet packet = packet_ip4(1, choices[i].address, 3);
        assert_int_equal(program_run(program, length, &packet), i);
    }
    struct packet other = packet_ip4(1, 0x7f000001, 3);
    assert_int_equal(program_run(program, length, &other), 7);
    other.random = 1;
    assert_int_equal(program_run(program, length, &other), 8);
    struct packet six = packet_ip6(5, 3);
    assert_int_equal(program_run(program, length, &six), 7);
}

/* Several addresses of one service: its members once in the program. */
static void choices_share_their_members(void **state)
{
    (void)state;
    struct reuseport_member members[8];
    for (uint32_t i = 0; i < 8; i++)
        members[i] = (struct reuseport_member){.index = i, .weight = 1, .name = i};
    struct reuseport_choice choices[4] = {
        {.address = 0x0a000001}, {.address = 0x7f560002}, {.address = 0x7f560001}, {0}};
    for (size_t i = 0; i < 4; i++) {
        choices[i].policy = REUSEPORT_CLIENT_HASH;
        choices[i].members = members + (i == 1 ? 0 : 4);
        choices[i].count = 4;
    }
    int one = build(&choices[3], 1);
    int length = build(choices, 4);
    assert_in_range(length, one, 2 * one + 40);
    for (size_t i = 0; i < 4; i++) {
        struct packet packet = packet_ip4(77, choices[i].address, 3);
        uint32_t chosen = program_run(program, length, &packet);
        assert_in_range(chosen, i == 1 ? 0 : 4, i == 1 ? 3 : 7);
    }
}

static uint32_t hashed(int length, uint32_t client, uint16_t port)
{
    struct packet packet = packet_ip4(client, 2, port);
    return program_run(program, length, &packet);
}

static void a_client_stays_and_few_move(void **state)
{
    (void)state;
    enum { CLIENTS = 20000, COUNT = 4 };
    struct reuseport_member members[COUNT];
    for (uint32_t i = 0; i < COUNT; i++)
        members[i] = (struct reuseport_member){.index = i, .weight = i == 3 ? 2 : 1, .name = i + 1};
    struct reuseport_choice choice = {
        .policy = REUSEPORT_CLIENT_HASH, .members = members, .count = COUNT};
    int length = build(&choice, 1);
    static uint8_t before[CLIENTS];
    uint32_t counts[COUNT] = {0};
    for (uint32_t i = 0; i < CLIENTS; i++) {
        before[i] = (uint8_t)hashed(length, 0x0a000000 + i, 1);
        assert_int_equal(before[i], hashed(length, 0x0a000000 + i, 2));
        counts[before[i]]++;
    }
    for (uint32_t i = 0; i < COUNT; i++) { /* 256 buckets: within a third of the share */
        uint32_t share = CLIENTS * members[i].weight / 5;
        assert_in_range(counts[i], share * 2 / 3, share * 4 / 3);
    }
    members[1].weight = 0; /* drained: only its own clients move */
    length = build(&choice, 1);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        uint32_t now = hashed(length, 0x0a000000 + i, 1);
        assert_int_not_equal(now, 1);
        if (before[i] != 1)
            assert_int_equal(now, before[i]);
    }
}

static void a_flow_includes_the_port(void **state)
{
    (void)state;
    static const struct reuseport_member members[] = {
        {.index = 0, .weight = 1, .name = 1}, {.index = 1, .weight = 1, .name = 2}};
    struct reuseport_choice choice = {
        .policy = REUSEPORT_FLOW_HASH, .members = members, .count = 2};
    int length = build(&choice, 1);
    uint32_t four[2] = {0}, six[2] = {0};
    for (uint16_t port = 1; port <= 1000; port++) {
        four[hashed(length, 0x7f000001, port)]++;
        struct packet packet = packet_ip6(1, port);
        six[program_run(program, length, &packet)]++;
    }
    assert_in_range(four[0], 350, 650);
    assert_in_range(six[0], 350, 650);
}

static void packets_from_elsewhere_are_guarded(void **state)
{
    (void)state;
    static const struct reuseport_member members[] = {
        {.index = 1, .weight = 1}, {.index = 2, .weight = 1}, {.index = 3, .weight = 1}};
    struct reuseport_choice choices[] = {
        {.address = 0x7f560001, .members = &members[0], .count = 1},
        {.address = 0x0a000005, .members = &members[1], .count = 1, .outside = true},
        {.members = &members[2], .count = 1}};
    static const struct reuseport_guard guard = {.loopback = 1, .sink = 0};
    enum { LOCAL = 1, ELSEWHERE = 2 };
    static const struct {
        uint32_t interface, address, expected, expected_open;
    } cases[] = {{LOCAL, 0x7f560001, 1, 1},     {LOCAL, 0x0a000005, 2, 2},
                 {LOCAL, 0x0a000006, 3, 3},     {ELSEWHERE, 0x7f560001, 0, 3},
                 {ELSEWHERE, 0x0a000005, 2, 2}, {ELSEWHERE, 0x0a000006, 0, 3}};
    for (int open = 0; open < 2; open++) {
        choices[2].outside = open;
        int length = reuseport_build(choices, 3, &guard, program, REUSEPORT_INSTRUCTIONS_MAX);
        assert_in_range(length, 1, 100);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            struct packet packet = packet_ip4(1, cases[i].address, 3);
            packet.interface = cases[i].interface;
            assert_int_equal(program_run(program, length, &packet),
                             open ? cases[i].expected_open : cases[i].expected);
        }
        struct packet six = packet_ip6(5, 3);
        six.interface = ELSEWHERE;
        assert_int_equal(program_run(program, length, &six), open ? 3 : 0);
    }
}

static void impossible_choices_are_refused(void **state)
{
    (void)state;
    static struct reuseport_member members[REUSEPORT_MEMBERS_MAX + 1];
    struct reuseport_choice choice = {.members = members, .count = 2};
    assert_int_equal(reuseport_build(&choice, 1, NULL, program, 100), -EINVAL);
    for (uint32_t i = 0; i <= REUSEPORT_MEMBERS_MAX; i++)
        members[i] = (struct reuseport_member){.index = i, .weight = 1 + i % 2};
    choice.count = REUSEPORT_MEMBERS_MAX;
    assert_int_equal(reuseport_build(&choice, 1, NULL, program, 100), -E2BIG);
    choice.count = REUSEPORT_MEMBERS_MAX + 1;
    assert_int_equal(reuseport_build(&choice, 1, NULL, program, REUSEPORT_INSTRUCTIONS_MAX), -E2BIG);
}

/* ---- with the kernel ------------------------------------------------------------------------ */

static int socket_shared(int type, uint16_t *port)
{
    int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(*port)};
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    if (type == SOCK_STREAM)
        assert_int_equal(listen(fd, 512), 0);
    socklen_t length = sizeof address;
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static int client_send(int type, uint32_t destination, uint16_t port)
{
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(destination)};
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    if (type == SOCK_DGRAM)
        assert_int_equal(send(fd, "x", 1, 0), 1);
    return fd;
}

static int member_reached(int type, const int *members, int count)
{
    for (int i = 0; i < count; i++) {
        char byte;
        int got = type == SOCK_STREAM ? accept4(members[i], NULL, NULL, SOCK_CLOEXEC)
                                      : (int)recv(members[i], &byte, 1, 0);
        if (got < 0)
            continue;
        if (type == SOCK_STREAM)
            close(got);
        return i;
    }
    return -1;
}

static void distribute(int type, const int *members, int count, uint32_t destination,
                       uint16_t port, int connections, int *ret_counts)
{
    for (int i = 0; i < connections; i++) {
        int client = client_send(type, destination, port);
        int reached = member_reached(type, members, count);
        /* Loopback delivers at once, unless the kernel is busy and leaves it to a thread of its own. */
        for (int waited = 0; reached < 0 && waited < ARRIVAL_WITHIN_MS; waited++) {
            poll(NULL, 0, 1);
            reached = member_reached(type, members, count);
        }
        assert_in_range(reached, 0, count - 1);
        ret_counts[reached]++;
        close(client);
    }
}

static void kernel_obeys(int type)
{
    uint16_t port = 0;
    int fds[4];
    for (int i = 0; i < 4; i++)
        fds[i] = socket_shared(type, &port);
    static const struct reuseport_member own = {.index = 1, .weight = 1};
    static const struct reuseport_member all[] = {{.index = 0, .weight = 6, .name = 1},
                                                  {.index = 1, .weight = 3, .name = 2},
                                                  {.index = 2, .weight = 0, .name = 3},
                                                  {.index = 3, .weight = 1, .name = 4}};
    struct reuseport_choice choices[] = {
        {.address = 0x7f4d0102, .members = &own, .count = 1},
        {.address = 0x7f4d0103,
         .policy = REUSEPORT_CLIENT_HASH,
         .members = all,
         .count = 4},
        {.address = 0x7f4d0104, .policy = REUSEPORT_FLOW_HASH, .members = all, .count = 4},
        {.members = all, .count = 4}};
    int length = build(choices, 4);
    assert_int_equal(reuseport_attach(fds[2], program, (size_t)length), 0);

    int counts[4] = {0};
    distribute(type, fds, 4, 0x7f000001, port, 600, counts);
    assert_in_range(counts[0], 300, 420);
    assert_in_range(counts[1], 120, 240);
    assert_int_equal(counts[2], 0);
    assert_in_range(counts[3], 25, 110);

    memset(counts, 0, sizeof counts);
    distribute(type, fds, 4, 0x7f4d0102, port, 50, counts);
    assert_int_equal(counts[1], 50);

    memset(counts, 0, sizeof counts);
    distribute(type, fds, 4, 0x7f4d0103, port, 50, counts);
    assert_true(counts[0] == 50 || counts[1] == 50 || counts[3] == 50);

    memset(counts, 0, sizeof counts);
    distribute(type, fds, 4, 0x7f4d0104, port, 200, counts);
    assert_true(counts[0] > 60 && counts[1] > 10 && counts[2] == 0);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
}

static void kernel_obeys_for_tcp(void **state)
{
    (void)state;
    kernel_obeys(SOCK_STREAM);
}

static void kernel_obeys_for_udp(void **state)
{
    (void)state;
    kernel_obeys(SOCK_DGRAM);
}

/* What steering_seccomp relies on: who leaves is replaced by the last. */
static void the_last_member_moves_into_the_hole(void **state)
{
    (void)state;
    uint16_t port = 0;
    int fds[4];
    for (int i = 0; i < 4; i++)
        fds[i] = socket_shared(SOCK_STREAM, &port);
    shutdown(fds[1], SHUT_RD); /* leaves at once, whoever else holds it */
    static const struct reuseport_member second = {.index = 1, .weight = 1};
    struct reuseport_choice choice = {.members = &second, .count = 1};
    int length = build(&choice, 1);
    assert_int_equal(reuseport_attach(fds[0], program, (size_t)length), 0);
    int counts[4] = {0};
    distribute(SOCK_STREAM, fds, 4, 0x7f000001, port, 20, counts);
    assert_int_equal(counts[3], 20);
    for (int i = 0; i < 4; i++)
        close(fds[i]);
}

static void local_clients_pass_the_local_filter(void **state)
{
    (void)state;
    uint16_t port = 0;
    int fd = socket_shared(SOCK_STREAM, &port);
    int counts[1] = {0};
    if (reuseport_only_local(fd, 0) == -EPERM) {
        close(fd);
        skip(); /* not privileged, and on a kernel that wants it */
    }
    assert_int_equal(reuseport_only_local(fd, 0), 0);
    distribute(SOCK_STREAM, &fd, 1, 0x7f000001, port, 5, counts);
    assert_int_equal(reuseport_only_local(fd, 0x0a000001), 0);
    distribute(SOCK_STREAM, &fd, 1, 0x7f000001, port, 5, counts);
    assert_int_equal(counts[0], 10);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_follows_weights_exactly),
        cmocka_unit_test(random_of_many_with_unlike_weights),
        cmocka_unit_test(equal_weights_need_few_instructions),
        cmocka_unit_test(addresses_choose_first),
        cmocka_unit_test(choices_share_their_members),
        cmocka_unit_test(a_client_stays_and_few_move),
        cmocka_unit_test(a_flow_includes_the_port),
        cmocka_unit_test(packets_from_elsewhere_are_guarded),
        cmocka_unit_test(impossible_choices_are_refused),
        cmocka_unit_test(kernel_obeys_for_tcp),
        cmocka_unit_test(kernel_obeys_for_udp),
        cmocka_unit_test(the_last_member_moves_into_the_hole),
        cmocka_unit_test(local_clients_pass_the_local_filter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
