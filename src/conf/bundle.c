#include "conf/bundle.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/table.h"

/* What is in the memfd: a head, its rows, then the names and bytes, each followed by a 0. Both ends
 * are the same executable on the same machine, so numbers are the machine's. */
struct head {
    char magic[8];
    uint64_t size; /* of everything */
    uint64_t count;
};

struct row {
    uint64_t kind;
    uint64_t name_at;
    uint64_t name_length;
    uint64_t bytes_at;
    uint64_t bytes_length;
};

static const char magic[8] = "enginxB1";
enum {
    SIZE_MAX_BYTES = BUNDLE_BYTES_MAX + (int)sizeof(struct head),
    SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE,
};

struct entry {
    STAILQ_ENTRY(entry) next; /* of all, in their order */
    enum bundle_kind kind;
    const char *name;
    const char *bytes;
    size_t length;
};

struct shelf { /* of one kind */
    struct table *names;
    struct entry **entries;
    size_t count;
    size_t room;
};

struct bundle {
    STAILQ_HEAD(, entry) entries;
    struct shelf shelves[BUNDLE_KINDS];
    size_t count;
    size_t size; /* of a memfd with all of it */
    void *map;   /* NULL: the entries have memory of their own */
    size_t map_size;
};

struct bundle *bundle_new(void)
{
    struct bundle *bundle = calloc(1, sizeof *bundle);
    if (!bundle)
        return NULL;
    STAILQ_INIT(&bundle->entries);
    bundle->size = sizeof(struct head);
    for (size_t i = 0; i < BUNDLE_KINDS; i++) {
        bundle->shelves[i].names = table_new();
        if (!bundle->shelves[i].names) {
            bundle_free(bundle);
            return NULL;
        }
    }
    return bundle;
}

void bundle_free(struct bundle *bundle)
{
    if (!bundle)
        return;
    while (!STAILQ_EMPTY(&bundle->entries)) {
        struct entry *entry = STAILQ_FIRST(&bundle->entries);
        STAILQ_REMOVE_HEAD(&bundle->entries, next);
        free(entry);
    }
    for (size_t i = 0; i < BUNDLE_KINDS; i++) {
        table_free(bundle->shelves[i].names);
        free(bundle->shelves[i].entries);
    }
    if (bundle->map)
        munmap(bundle->map, bundle->map_size);
    free(bundle);
}

/* Puts an entry that is complete into the bundle, whose it is then. 0, -ENOMEM, -EEXIST. */
static int entry_shelve(struct bundle *bundle, struct entry *entry)
{
    struct shelf *shelf = &bundle->shelves[entry->kind];
    if (shelf->count == shelf->room) {
        size_t room = shelf->room ? 2 * shelf->room : 16;
        struct entry **entries = reallocarray(shelf->entries, room, sizeof(struct entry *));
        if (!entries)
            return -ENOMEM;
        shelf->entries = entries;
        shelf->room = room;
    }
    int error = table_add(shelf->names, entry->name, entry, NULL);
    if (error)
        return error;
    shelf->entries[shelf->count++] = entry;
    STAILQ_INSERT_TAIL(&bundle->entries, entry, next);
    bundle->count++;
    bundle->size += sizeof(struct row) + strlen(entry->name) + 1 + entry->length + 1;
    return 0;
}

int bundle_add(struct bundle *bundle, enum bundle_kind kind, const char *name, const void *bytes,
               size_t length)
{
    assert(kind < BUNDLE_KINDS && !bundle->map);
    size_t name_size = strlen(name) + 1;
    if (bundle_find(bundle, kind, name, NULL))
        return 0;
    if ((kind == BUNDLE_FILE && length > BUNDLE_FILE_BYTES_MAX) || length > BUNDLE_BYTES_MAX ||
        bundle->size + sizeof(struct row) + name_size + length + 1 > SIZE_MAX_BYTES)
        return -EFBIG;
    struct entry *entry = malloc(sizeof *entry + name_size + length + 1);
    if (!entry)
        return -ENOMEM;
    char *text = (char *)(entry + 1);
    memcpy(text, name, name_size);
    if (length)
        memcpy(text + name_size, bytes, length);
    text[name_size + length] = 0;
    *entry =
        (struct entry){.kind = kind, .name = text, .bytes = text + name_size, .length = length};
    int error = entry_shelve(bundle, entry);
    if (error)
        free(entry);
    return error;
}

/* Copies a text and its 0 to `at`; the offset behind it. */
static size_t text_put(char *map, size_t at, const char *text, size_t length)
{
    memcpy(map + at, text, length + 1);
    return at + length + 1;
}

static void bundle_write(const struct bundle *bundle, char *map)
{
    const struct entry *entry;
    struct head head = {.size = bundle->size, .count = bundle->count};
    size_t row_at = sizeof head, at = sizeof head + bundle->count * sizeof(struct row);
    memcpy(head.magic, magic, sizeof magic);
    memcpy(map, &head, sizeof head);
    STAILQ_FOREACH (entry, &bundle->entries, next) {
        struct row row = {.kind = entry->kind,
                          .name_at = at,
                          .name_length = strlen(entry->name),
                          .bytes_length = entry->length};
        at = text_put(map, at, entry->name, row.name_length);
        row.bytes_at = at;
        at = text_put(map, at, entry->bytes, entry->length);
        memcpy(map + row_at, &row, sizeof row);
        row_at += sizeof row;
    }
    assert(at == bundle->size);
}

int bundle_seal(const struct bundle *bundle)
{
    scoped_fd int fd = memfd_create("enginx-configuration", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)bundle->size) < 0)
        return -errno;
    char *map = mmap(NULL, bundle->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    bundle_write(bundle, map);
    munmap(map, bundle->size);
    if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
        return -errno;
    return fd_take(&fd);
}

int bundle_copy(int fd)
{
    scoped_fd int copy = memfd_create("enginx-configuration", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct stat stat;
    off_t left;
    if (copy < 0 || fstat(fd, &stat) < 0)
        return -errno;
    if (stat.st_size > BUNDLE_BYTES_MAX)
        return -EFBIG;
    for (left = stat.st_size; left > 0;) {
        ssize_t sent = sendfile(copy, fd, NULL, (size_t)left);
        if (sent <= 0)
            return sent < 0 ? -errno : -EIO;
        left -= sent;
    }
    if (fcntl(copy, F_ADD_SEALS, SEALS) < 0)
        return -errno;
    return fd_take(&copy);
}

/* A text of the map that is followed by a 0; NULL: it is not within it. */
static const char *text_at(const struct bundle *bundle, uint64_t at, uint64_t length)
{
    const char *map = bundle->map;
    if (at >= bundle->map_size || length >= bundle->map_size - at || map[at + length])
        return NULL;
    return map + at;
}

static int row_take(struct bundle *bundle, const struct row *row)
{
    const char *name = text_at(bundle, row->name_at, row->name_length);
    const char *bytes = text_at(bundle, row->bytes_at, row->bytes_length);
    if (!name || !bytes || row->kind >= BUNDLE_KINDS || memchr(name, 0, row->name_length))
        return -EPROTO;
    struct entry *entry = malloc(sizeof *entry);
    if (!entry)
        return -ENOMEM;
    *entry = (struct entry){.kind = (enum bundle_kind)row->kind,
                            .name = name,
                            .bytes = bytes,
                            .length = row->bytes_length};
    int error = entry_shelve(bundle, entry);
    if (error)
        free(entry);
    return error == -EEXIST ? -EPROTO : error;
}

static int rows_take(struct bundle *bundle)
{
    struct head head;
    const char *map = bundle->map;
    memcpy(&head, map, sizeof head);
    if (memcmp(head.magic, magic, sizeof magic) != 0 || head.size != bundle->map_size ||
        head.count > (bundle->map_size - sizeof head) / sizeof(struct row))
        return -EPROTO;
    for (uint64_t i = 0; i < head.count; i++) {
        struct row row;
        memcpy(&row, map + sizeof head + i * sizeof row, sizeof row);
        int error = row_take(bundle, &row);
        if (error)
            return error;
    }
    return 0;
}

/* Without the seals its maker could still cut it under our eyes. */
static int bundle_map(struct bundle *bundle, int fd)
{
    struct stat status;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || fstat(fd, &status) < 0)
        return -errno;
    if ((seals & SEALS) != SEALS || status.st_size < (off_t)sizeof(struct head) ||
        status.st_size > SIZE_MAX_BYTES)
        return -EPROTO;
    void *map = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return -errno;
    bundle->map = map;
    bundle->map_size = (size_t)status.st_size;
    return 0;
}

int bundle_open(int fd, struct bundle **ret_bundle)
{
    struct bundle *bundle = bundle_new();
    int error = bundle ? bundle_map(bundle, fd) : -ENOMEM;
    if (!error)
        error = rows_take(bundle);
    if (error)
        bundle_free(bundle);
    else
        *ret_bundle = bundle;
    return error;
}

const char *bundle_find(const struct bundle *bundle, enum bundle_kind kind, const char *name,
                        size_t *ret_length)
{
    assert(kind < BUNDLE_KINDS);
    const struct entry *entry = table_get(bundle->shelves[kind].names, name);
    if (entry && ret_length)
        *ret_length = entry->length;
    return entry ? entry->bytes : NULL;
}

const char *bundle_nth(const struct bundle *bundle, enum bundle_kind kind, size_t n,
                       const char **ret_name, size_t *ret_length)
{
    assert(kind < BUNDLE_KINDS);
    const struct shelf *shelf = &bundle->shelves[kind];
    if (n >= shelf->count)
        return NULL;
    *ret_name = shelf->entries[n]->name;
    *ret_length = shelf->entries[n]->length;
    return shelf->entries[n]->bytes;
}
