#include "upstream/board.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/scoped.h"
#include "upstream/segment.h"

enum {
    BOARD_MAGIC = 0x656e6264, /* "enbd" */
    BOARD_VERSION = 1,
    BOARD_ROWS_MAX = 1 << 20,
    /* A writer that was killed in the middle leaves its mark: a reader waits no longer than this
     * (some 100 µs) and takes what is there. */
    READ_TRIES_MAX = 4096,
};
enum { WORD_SERVICES, WORD_SLOTS };

struct board {
    char *base;
    size_t bytes;
    uint32_t services_max;
    uint32_t slots_max;
    struct board_service *services;
    struct board_instance *instances;
};

static size_t services_bytes(uint32_t services_max)
{
    return ((size_t)services_max * sizeof(struct board_service) + 63) / 64 * 64;
}

static size_t board_bytes(uint32_t services_max, uint32_t slots_max)
{
    return SEGMENT_HEADER_BYTES + services_bytes(services_max) +
           (size_t)slots_max * sizeof(struct board_instance);
}

static void board_lay_out(struct board *board, void *base, const struct segment_header *header)
{
    board->base = base;
    board->bytes = header->bytes;
    board->services_max = header->words[WORD_SERVICES];
    board->slots_max = header->words[WORD_SLOTS];
    char *services = board->base + SEGMENT_HEADER_BYTES;
    board->services = (struct board_service *)(void *)services;
    char *instances = services + services_bytes(board->services_max);
    board->instances = (struct board_instance *)(void *)instances;
}

int board_new(uint32_t services_max, uint32_t slots_max, struct board **ret_board, int *ret_fd,
              int *ret_bell)
{
    assert(services_max > 0 && services_max <= BOARD_ROWS_MAX);
    assert(slots_max > 0 && slots_max <= BOARD_ROWS_MAX);
    scoped_fd int bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bell < 0)
        return -errno;
    struct board *board = calloc(1, sizeof *board);
    if (!board)
        return -ENOMEM;
    const struct segment_header header = {
        .magic = BOARD_MAGIC,
        .version = BOARD_VERSION,
        .bytes = board_bytes(services_max, slots_max),
        .words = {[WORD_SERVICES] = services_max, [WORD_SLOTS] = slots_max},
    };
    void *base = NULL;
    int error = segment_new("enginx-board", &header, &base, ret_fd);
    if (error) {
        free(board);
        return error;
    }
    board_lay_out(board, base, &header);
    *ret_board = board;
    *ret_bell = fd_take(&bell);
    return 0;
}

int board_open(int fd, bool writable, struct board **ret_board)
{
    struct board *board = calloc(1, sizeof *board);
    if (!board)
        return -ENOMEM;
    void *base = NULL;
    struct segment_header header;
    int error = segment_open(fd, writable, BOARD_MAGIC, BOARD_VERSION, &base, &header);
    if (error) {
        free(board);
        return error;
    }
    uint32_t services_max = header.words[WORD_SERVICES];
    uint32_t slots_max = header.words[WORD_SLOTS];
    if (services_max == 0 || services_max > BOARD_ROWS_MAX || slots_max == 0 ||
        slots_max > BOARD_ROWS_MAX || header.bytes != board_bytes(services_max, slots_max)) {
        munmap(base, header.bytes);
        free(board);
        return -EPROTO;
    }
    board_lay_out(board, base, &header);
    *ret_board = board;
    return 0;
}

void board_close(struct board *board)
{
    if (!board)
        return;
    munmap(board->base, board->bytes);
    free(board);
}

uint32_t board_services_max(const struct board *board)
{
    return board->services_max;
}

uint32_t board_slots_max(const struct board *board)
{
    return board->slots_max;
}

struct board_service *board_service(const struct board *board, uint32_t number)
{
    assert(number < board->services_max);
    return &board->services[number];
}

struct board_instance *board_instance(const struct board *board, uint32_t slot)
{
    assert(slot < board->slots_max);
    return &board->instances[slot];
}

uint16_t board_reached_port(const struct board_instance *instance, uint16_t port)
{
    uint8_t moved = instance->moved;
    bool is_moved = moved && moved <= BOARD_PORTS_MAX && instance->ports[moved - 1] == port;
    return is_moved ? instance->moved_to : port;
}

/* ---- writing -------------------------------------------------------------------------------- */

void board_write_begin(struct board_service *service)
{
    /* Odd also after a writer that did not come to its end. */
    uint32_t version = atomic_load_explicit(&service->version, memory_order_relaxed);
    atomic_store_explicit(&service->version, (version + 1) | 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
}

void board_write_end(struct board_service *service)
{
    uint32_t version = atomic_load_explicit(&service->version, memory_order_relaxed);
    assert(version & 1);
    atomic_store_explicit(&service->version, version + 1, memory_order_release);
}

void board_ring(int bell)
{
    /* -EAGAIN: rung 2^64 times; and then it is still readable. */
    while (eventfd_write(bell, 1) < 0 && errno == EINTR)
        ;
}

/* ---- reading -------------------------------------------------------------------------------- */

/* Word by word, each in one load: the writer may be at it. */
static void words_copy(void *out, const void *in, size_t bytes)
{
    uint64_t *to = out;
    const uint64_t *from = in;
    for (size_t i = 0; i < bytes / sizeof *to; i++)
        to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

/* Returns an even version when there is no writer; an odd one when its patience ended. */
static uint32_t version_read(const struct board_service *service, unsigned *tries)
{
    for (;;) {
        uint32_t version = atomic_load_explicit(&service->version, memory_order_acquire);
        if (!(version & 1) || ++*tries >= READ_TRIES_MAX)
            return version;
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
    }
}

/* Has nobody written since `version` was read, so that what was copied is whole? */
static bool version_holds(const struct board_service *service, uint32_t version)
{
    atomic_thread_fence(memory_order_acquire);
    return atomic_load_explicit(&service->version, memory_order_relaxed) == version;
}

/* What it returns is worth something only when the version held; but it ends, and stays inside. */
static uint32_t chain_copy(const struct board *board, uint32_t service,
                           struct board_instance *ret_instances, uint32_t *ret_slots, uint32_t max)
{
    uint32_t count = 0;
    uint32_t slot = __atomic_load_n(&board->services[service].first, __ATOMIC_RELAXED);
    while (slot < board->slots_max && count < max) {
        struct board_instance *copy = &ret_instances[count];
        words_copy(copy, &board->instances[slot], sizeof *copy);
        if (copy->service != service ||
            atomic_load_explicit(&copy->state, memory_order_relaxed) == BOARD_FREE)
            break;
        ret_slots[count++] = slot;
        slot = copy->next;
    }
    return count;
}

uint32_t board_read(const struct board *board, uint32_t service,
                    struct board_instance *ret_instances, uint32_t *ret_slots, uint32_t max,
                    uint32_t *ret_version)
{
    assert(service < board->services_max);
    const struct board_service *row = &board->services[service];
    unsigned tries = 0;
    for (;;) {
        uint32_t version = version_read(row, &tries);
        uint32_t count = chain_copy(board, service, ret_instances, ret_slots, max);
        if (version_holds(row, version)) {
            *ret_version = version;
            return count;
        }
        if (++tries >=
            READ_TRIES_MAX) { /* of no moment: an odd version, so it is read again soon */
            *ret_version = version | 1;
            return count;
        }
    }
}

static bool name_is(const struct board_service *service, const char *name)
{
    uint64_t copy[BOARD_NAME_BYTES / sizeof(uint64_t)];
    unsigned tries = 0;
    for (;;) {
        uint32_t version = version_read(service, &tries);
        words_copy(copy, service->name, sizeof copy);
        if (version_holds(service, version) || ++tries >= READ_TRIES_MAX)
            break;
    }
    return strncmp((const char *)copy, name, sizeof copy) == 0;
}

uint32_t board_find(const struct board *board, const char *name)
{
    if (!*name || strlen(name) >= BOARD_NAME_BYTES)
        return BOARD_NONE;
    for (uint32_t number = 0; number < board->services_max; number++)
        if (__atomic_load_n(&board->services[number].name[0], __ATOMIC_RELAXED) == *name &&
            name_is(&board->services[number], name))
            return number;
    return BOARD_NONE;
}
