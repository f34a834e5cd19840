#include "upstream/board.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/scoped.h"

enum { SERVICES = 10, SLOTS = 64 };

struct fixture {
    struct board *writer;
    struct board *reader;
    int fd;
    int bell;
};

static int fixture_begin(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    assert_int_equal(board_new(SERVICES, SLOTS, &fixture->writer, &fixture->fd, &fixture->bell), 0);
    assert_int_equal(board_open(fixture->fd, false, &fixture->reader), 0);
    *state = fixture;
    return 0;
}

static int fixture_end(void **state)
{
    struct fixture *fixture = *state;
    board_close(fixture->writer);
    board_close(fixture->reader);
    close(fixture->fd);
    close(fixture->bell);
    free(fixture);
    return 0;
}

/* An instance in front of the service's others. */
static void instance_add(struct board *board, uint32_t number, uint32_t slot, uint32_t weight)
{
    struct board_service *service = board_service(board, number);
    struct board_instance *instance = board_instance(board, slot);
    board_write_begin(service);
    *instance = (struct board_instance){.state = BOARD_UP,
                                        .service = number,
                                        .number = slot,
                                        .weight = weight,
                                        .next = service->first};
    service->first = slot;
    board_write_end(service);
}

static void service_make(struct board *board, uint32_t number, const char *name)
{
    struct board_service *service = board_service(board, number);
    board_write_begin(service);
    service->first = BOARD_NONE;
    snprintf(service->name, sizeof service->name, "%s", name);
    board_write_end(service);
}

static void what_is_written_is_read_in_its_order(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(board_services_max(fixture->reader), SERVICES);
    assert_int_equal(board_slots_max(fixture->reader), SLOTS);
    service_make(fixture->writer, 3, "api");
    uint32_t before = atomic_load(&board_service(fixture->reader, 3)->version);
    instance_add(fixture->writer, 3, 7, 1);
    instance_add(fixture->writer, 3, 63, 2);
    instance_add(fixture->writer, 3, 0, 3);
    struct board_instance instances[SLOTS];
    uint32_t slots[SLOTS];
    uint32_t version;
    assert_int_equal(board_read(fixture->reader, 3, instances, slots, SLOTS, &version), 3);
    assert_int_equal(slots[0], 0);
    assert_int_equal(slots[1], 63);
    assert_int_equal(slots[2], 7);
    assert_int_equal(instances[1].weight, 2);
    assert_int_not_equal(version, before);
    assert_int_equal(version & 1, 0);
    assert_int_equal(version, atomic_load(&board_service(fixture->reader, 3)->version));
    assert_int_equal(board_read(fixture->reader, 3, instances, slots, 2, &version), 2);
}

static void a_state_changes_without_a_version(void **state)
{
    struct fixture *fixture = *state;
    service_make(fixture->writer, 1, "api");
    instance_add(fixture->writer, 1, 5, 1);
    uint32_t before = atomic_load(&board_service(fixture->reader, 1)->version);
    atomic_store(&board_instance(fixture->writer, 5)->state, BOARD_DOWN);
    assert_int_equal(atomic_load(&board_instance(fixture->reader, 5)->state), BOARD_DOWN);
    assert_int_equal(atomic_load(&board_service(fixture->reader, 1)->version), before);
}

static void names_are_found_whole(void **state)
{
    struct fixture *fixture = *state;
    service_make(fixture->writer, 4, "api");
    service_make(fixture->writer, 5, "api2");
    char longest[BOARD_NAME_BYTES + 1] = {0};
    memset(longest, 'x', BOARD_NAME_BYTES);
    service_make(fixture->writer, 6, longest);
    assert_int_equal(board_find(fixture->reader, "api"), 4);
    assert_int_equal(board_find(fixture->reader, "api2"), 5);
    assert_int_equal(board_find(fixture->reader, "ap"), BOARD_NONE);
    assert_int_equal(board_find(fixture->reader, ""), BOARD_NONE);
    assert_int_equal(board_find(fixture->reader, longest), BOARD_NONE);
    longest[BOARD_NAME_BYTES - 1] = '\0';
    assert_int_equal(board_find(fixture->reader, longest), 6);
}

/* kill -9 of the supervisor between begin and end. */
static void a_writer_that_died_blocks_nobody(void **state)
{
    struct fixture *fixture = *state;
    service_make(fixture->writer, 2, "api");
    instance_add(fixture->writer, 2, 9, 1);
    board_write_begin(board_service(fixture->writer, 2));
    struct board_instance instances[SLOTS];
    uint32_t slots[SLOTS];
    uint32_t version;
    assert_int_equal(board_read(fixture->reader, 2, instances, slots, SLOTS, &version), 1);
    assert_int_equal(version & 1, 1);
    /* The next writer ends it; and whoever has read sees that something changed. */
    board_write_begin(board_service(fixture->writer, 2));
    board_write_end(board_service(fixture->writer, 2));
    uint32_t after;
    assert_int_equal(board_read(fixture->reader, 2, instances, slots, SLOTS, &after), 1);
    assert_int_equal(after & 1, 0);
    assert_int_not_equal(after, version);
}

static void a_broken_chain_ends(void **state)
{
    struct fixture *fixture = *state;
    struct board_instance instances[SLOTS];
    uint32_t slots[SLOTS];
    uint32_t version;
    service_make(fixture->writer, 2, "api");
    instance_add(fixture->writer, 2, 9, 1);
    board_instance(fixture->writer, 9)->next = 9;
    assert_int_equal(board_read(fixture->reader, 2, instances, slots, SLOTS, &version), SLOTS);
    board_instance(fixture->writer, 9)->next = SLOTS;
    assert_int_equal(board_read(fixture->reader, 2, instances, slots, SLOTS, &version), 1);
    board_instance(fixture->writer, 9)->next = 10; /* nobody's */
    assert_int_equal(board_read(fixture->reader, 2, instances, slots, SLOTS, &version), 1);
}

static void a_reader_cannot_write_and_nobody_can_shrink(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(getrandom(board_service(fixture->writer, 0), 1, 0), 1);
    assert_int_equal(getrandom(board_service(fixture->reader, 0), 1, 0), -1);
    assert_int_equal(errno, EFAULT);
    assert_int_equal(ftruncate(fixture->fd, 4096), -1);
    assert_int_equal(errno, EPERM);
}

/* A segment like the fixture's, but `bytes` long, sealed or not, with a word of it changed. */
static int forged_open(const struct fixture *fixture, off_t bytes, unsigned seals, size_t word)
{
    uint32_t header[1024];
    assert_int_equal(pread(fixture->fd, header, sizeof header, 0), sizeof header);
    header[word]++;
    scoped_fd int fd = memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, bytes), 0);
    assert_true(pwrite(fd, header, (size_t)(bytes < 4096 ? bytes : 4096), 0) > 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    struct board *board = NULL;
    int error = board_open(fd, false, &board);
    board_close(board);
    return error;
}

static void something_else_is_no_board(void **state)
{
    struct fixture *fixture = *state;
    enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW, UNUSED = 1023 };
    off_t bytes = lseek(fixture->fd, 0, SEEK_END);
    assert_int_equal(forged_open(fixture, bytes, SEALS, UNUSED), 0);
    assert_int_equal(forged_open(fixture, bytes, F_SEAL_GROW, UNUSED), -EPROTO);
    assert_int_equal(forged_open(fixture, bytes - 4096, SEALS, UNUSED), -EPROTO);
    assert_int_equal(forged_open(fixture, 100, SEALS, 0), -EPROTO);
    for (size_t word = 0; word < 6; word++) /* magic, version, bytes, services, slots */
        assert_int_equal(forged_open(fixture, bytes, SEALS, word), -EPROTO);
    int pipes[2];
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    struct board *board = NULL;
    assert_int_equal(board_open(pipes[0], false, &board), -EPROTO);
    close(pipes[0]);
    close(pipes[1]);
}

static void the_bell_is_heard_each_time(void **state)
{
    struct fixture *fixture = *state;
    scoped_fd int epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};
    assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, fixture->bell, &event), 0);
    assert_int_equal(epoll_wait(epoll, &event, 1, 0), 0);
    for (int i = 0; i < 3; i++) {
        board_ring(fixture->bell);
        assert_int_equal(epoll_wait(epoll, &event, 1, 0), 1);
        assert_int_equal(epoll_wait(epoll, &event, 1, 0), 0);
    }
}

static void memory_is_used_when_it_is_touched(void **state)
{
    (void)state;
    struct board *board;
    int fd;
    int bell;
    assert_int_equal(board_new(10000, 20000, &board, &fd, &bell), 0);
    service_make(board, 9999, "last");
    off_t data = lseek(fd, 4096, SEEK_DATA);
    assert_true(data > 1000000); /* a hole from the header to there */
    board_close(board);
    close(fd);
    close(bell);
}

/* ---- two threads ---------------------------------------------------------------------------- */

enum { ROUNDS = 20000, MEMBERS = 4 };
static atomic_bool writer_ended;

/* In each round all members get the same weight, and there are so many of them. */
static void *write_rounds(void *owner)
{
    struct board *board = owner;
    struct board_service *service = board_service(board, 1);
    for (uint32_t round = 1; round <= ROUNDS; round++) {
        board_write_begin(service);
        uint32_t first = BOARD_NONE;
        for (uint32_t slot = 0; slot < 1 + round % MEMBERS; slot++) {
            struct board_instance *instance = board_instance(board, slot);
            __atomic_store_n(&instance->weight, round, __ATOMIC_RELAXED);
            __atomic_store_n(&instance->next, first, __ATOMIC_RELAXED);
            first = slot;
        }
        __atomic_store_n(&service->first, first, __ATOMIC_RELAXED);
        board_write_end(service);
        for (volatile int pause = 0; pause < 200; pause++)
            ;
    }
    atomic_store(&writer_ended, true);
    return NULL;
}

static void a_copy_is_of_one_moment(void **state)
{
    struct fixture *fixture = *state;
    service_make(fixture->writer, 1, "api");
    for (uint32_t slot = 0; slot < MEMBERS; slot++)
        *board_instance(fixture->writer, slot) =
            (struct board_instance){.state = BOARD_UP, .service = 1, .next = BOARD_NONE};
    pthread_t writer;
    assert_int_equal(pthread_create(&writer, NULL, write_rounds, fixture->writer), 0);
    while (!atomic_load(&writer_ended)) {
        struct board_instance instances[SLOTS];
        uint32_t slots[SLOTS];
        uint32_t version;
        uint32_t count = board_read(fixture->reader, 1, instances, slots, SLOTS, &version);
        if (count == 0 || version & 1) /* not begun; or the writer was preempted in the middle */
            continue;
        uint32_t round = instances[0].weight;
        assert_int_equal(count, 1 + round % MEMBERS);
        for (uint32_t i = 1; i < count; i++)
            assert_int_equal(instances[i].weight, round);
    }
    pthread_join(writer, NULL);
}

int main(void)
{
#define WITH_BOARD(test) cmocka_unit_test_setup_teardown(test, fixture_begin, fixture_end)
    const struct CMUnitTest tests[] = {
        WITH_BOARD(what_is_written_is_read_in_its_order),
        WITH_BOARD(a_state_changes_without_a_version),
        WITH_BOARD(names_are_found_whole),
        WITH_BOARD(a_writer_that_died_blocks_nobody),
        WITH_BOARD(a_broken_chain_ends),
        WITH_BOARD(a_reader_cannot_write_and_nobody_can_shrink),
        WITH_BOARD(something_else_is_no_board),
        WITH_BOARD(the_bell_is_heard_each_time),
        cmocka_unit_test(memory_is_used_when_it_is_touched),
        WITH_BOARD(a_copy_is_of_one_moment),
    };
    return cmocka_run_group_tests_name("board", tests, NULL, NULL);
}
