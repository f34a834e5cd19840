#include "supervise/records.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"
#include "base/table.h"

static const char magic[8] = "enginx\n";

struct header {
    char magic[8];
    uint32_t version;
    uint32_t services_max;
    uint32_t slots_max;
    uint32_t pad;
};

struct records {
    struct header *header;
    size_t bytes;
    struct table *by_name;  /* services; the keys are the names in the file, which stay */
    uint32_t services_used; /* those before are not free: where the search for a free one begins */
};

static size_t records_bytes(uint32_t services_max, uint32_t slots_max)
{
    return sizeof(struct header) + services_max * sizeof(struct service_record) +
           slots_max * sizeof(struct instance_record);
}

/* Reads the header of a file that exists; false: not one that we can use. */
static bool header_fits(int fd, struct header *ret_header)
{
    struct stat stat;
    if (fstat(fd, &stat) < 0 || pread(fd, ret_header, sizeof *ret_header, 0) != sizeof *ret_header)
        return false;
    return memcmp(ret_header->magic, magic, sizeof magic) == 0 &&
           ret_header->version == RECORDS_VERSION &&
           (size_t)stat.st_size >= records_bytes(ret_header->services_max, ret_header->slots_max);
}

static int records_map(int fd, size_t bytes, struct records **ret_records)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return -errno;
    struct records *records = calloc(1, sizeof *records);
    if (!records) {
        munmap(memory, bytes);
        return -ENOMEM;
    }
    *records = (struct records){.header = memory, .bytes = bytes};
    *ret_records = records;
    return 0;
}

/* Names to records, of what stands in the file. The file is ours alone, but a name that has lost its
 * end, or stands twice, must do no harm. */
static int records_index(struct records *records)
{
    records->by_name = table_new();
    if (!records->by_name)
        return -ENOMEM;
    for (uint32_t i = 0; i < records->header->services_max; i++) {
        struct service_record *record = records_service(records, i);
        record->name[sizeof record->name - 1] = 0;
        if (!record->name[0])
            continue;
        int error = table_add(records->by_name, record->name, record, NULL);
        if (error == -ENOMEM)
            return error;
    }
    return 0;
}

/* A new file beside the old one, so that a crash in between leaves the old one whole. Blocks are
 * reserved now: a full disk shows here, not as SIGBUS at a store. */
static int records_make(const char *path, const struct header *header,
                        struct records **ret_records)
{
    char temporary[4096];
    if (snprintf(temporary, sizeof temporary, "%s.new", path) >= (int)sizeof temporary)
        return -ENAMETOOLONG;
    scoped_fd int fd = open(temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    size_t bytes = records_bytes(header->services_max, header->slots_max);
    int error = posix_fallocate(fd, 0, (off_t)bytes);
    if (error)
        return -error;
    error = records_map(fd, bytes, ret_records);
    if (error)
        return error;
    *(*ret_records)->header = *header;
    return 0;
}

static void records_copy(struct records *to, struct records *from)
{
    memcpy(records_service(to, 0), records_service(from, 0),
           from->header->services_max * sizeof(struct service_record));
    memcpy(records_instance(to, 0), records_instance(from, 0),
           from->header->slots_max * sizeof(struct instance_record));
}

static int records_publish(const char *path)
{
    char temporary[4096];
    snprintf(temporary, sizeof temporary, "%s.new", path);
    return rename(temporary, path) < 0 ? -errno : 0;
}

int records_open(const char *path, uint32_t services_max, uint32_t slots_max,
                 struct records **ret_records, bool *ret_fresh)
{
    struct header header = {0};
    struct records *old = NULL;
    scoped_fd int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd >= 0 && header_fits(fd, &header)) {
        size_t bytes = records_bytes(header.services_max, header.slots_max);
        int error = records_map(fd, bytes, &old);
        if (error)
            return error;
    }
    *ret_fresh = old == NULL;
    if (old && header.services_max >= services_max && header.slots_max >= slots_max) {
        int error = records_index(old);
        if (error)
            records_close(old);
        else
            *ret_records = old;
        return error;
    }
    struct header wanted = {.version = RECORDS_VERSION,
                            .services_max = services_max > header.services_max || !old
                                                ? services_max
                                                : header.services_max,
                            .slots_max =
                                slots_max > header.slots_max || !old ? slots_max : header.slots_max};
    memcpy(wanted.magic, magic, sizeof magic);
    struct records *fresh = NULL;
    int error = records_make(path, &wanted, &fresh);
    if (!error && old)
        records_copy(fresh, old);
    if (!error)
        error = records_index(fresh);
    if (!error)
        error = records_publish(path);
    records_close(old);
    if (error) {
        records_close(fresh);
        return error;
    }
    *ret_records = fresh;
    return 0;
}

void records_close(struct records *records)
{
    if (!records)
        return;
    table_free(records->by_name);
    munmap(records->header, records->bytes);
    free(records);
}

uint32_t records_services_max(const struct records *records)
{
    return records->header->services_max;
}

uint32_t records_slots_max(const struct records *records)
{
    return records->header->slots_max;
}

struct service_record *records_service(struct records *records, uint32_t index)
{
    return (struct service_record *)(records->header + 1) + index;
}

struct instance_record *records_instance(struct records *records, uint32_t slot)
{
    return (struct instance_record *)records_service(records, records->header->services_max) + slot;
}

struct service_record *records_service_find(const struct records *records, const char *name)
{
    return table_get(records->by_name, name);
}

static struct service_record *service_free(struct records *records)
{
    for (; records->services_used < records->header->services_max; records->services_used++) {
        struct service_record *record = records_service(records, records->services_used);
        if (!record->name[0])
            return record;
    }
    return NULL;
}

struct service_record *records_service_take(struct records *records, const char *name)
{
    assert(name[0] && strlen(name) < RECORD_NAME_BYTES);
    struct service_record *record = records_service_find(records, name);
    if (record)
        return record;
    record = service_free(records);
    if (!record)
        return NULL;
    strcpy(record->name, name);
    if (table_add(records->by_name, record->name, record, NULL) == 0)
        return record;
    record->name[0] = 0;
    return NULL;
}
