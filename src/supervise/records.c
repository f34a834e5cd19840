#include "supervise/records.h"

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
    uint32_t logger; /* records_logger */
    struct gateway_record gateway;
};

struct records {
    struct header *header;
    size_t bytes;
    struct table *names;   /* of services, to their records */
    uint32_t service_next; /* where the search for a free service record begins */
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

uint32_t records_version(const char *path)
{
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct header header;
    if (fd < 0 || pread(fd, &header, sizeof header, 0) != sizeof header ||
        memcmp(header.magic, magic, sizeof magic) != 0)
        return 0;
    return header.version;
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

/* A new file beside the old one, so that a crash in between leaves the old one whole. Blocks are
 * reserved now: a full disk shows here, not as SIGBUS at a store. */
static int records_make(const char *path, const struct header *header, struct records **ret_records)
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

/* A disk that is full should not be kept full by what could not be finished. */
static void records_abandon(const char *path)
{
    char temporary[4096];
    snprintf(temporary, sizeof temporary, "%s.new", path);
    unlink(temporary);
}

static int names_learn(struct records *records)
{
    records->names = table_new();
    int error = records->names ? 0 : -ENOMEM;
    for (uint32_t i = 0; !error && i < records->header->services_max; i++) {
        struct service_record *record = records_service(records, i);
        record->name[sizeof record->name - 1] = 0;
        if (record->name[0] && table_add(records->names, record->name, record, NULL) == -ENOMEM)
            error = -ENOMEM;
    }
    return error;
}

/* The file that is there, or one with room enough in its place. */
static int records_find(const char *path, uint32_t services_max, uint32_t slots_max,
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
        *ret_records = old;
        return 0;
    }
    struct header wanted = {
        .version = RECORDS_VERSION,
        .services_max =
            services_max > header.services_max || !old ? services_max : header.services_max,
        .slots_max = slots_max > header.slots_max || !old ? slots_max : header.slots_max};
    memcpy(wanted.magic, magic, sizeof magic);
    struct records *fresh = NULL;
    int error = records_make(path, &wanted, &fresh);
    if (!error && old)
        records_copy(fresh, old);
    if (!error)
        error = records_publish(path);
    if (!error && old) {
        fresh->header->logger = old->header->logger;
        fresh->header->gateway = old->header->gateway;
    }
    records_close(old);
    if (error) {
        records_abandon(path);
        records_close(fresh);
        return error;
    }
    *ret_records = fresh;
    return 0;
}

int records_open(const char *path, uint32_t services_max, uint32_t slots_max,
                 struct records **ret_records, bool *ret_fresh)
{
    struct records *records = NULL;
    int error = records_find(path, services_max, slots_max, &records, ret_fresh);
    if (!error)
        error = names_learn(records);
    if (error)
        records_close(records);
    else
        *ret_records = records;
    return error;
}

void records_close(struct records *records)
{
    if (!records)
        return;
    munmap(records->header, records->bytes);
    table_free(records->names);
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

uint32_t records_service_number(struct records *records, const struct service_record *record)
{
    return (uint32_t)(record - records_service(records, 0));
}

struct instance_record *records_instance(struct records *records, uint32_t slot)
{
    return (struct instance_record *)records_service(records, records->header->services_max) + slot;
}

uint32_t *records_logger(struct records *records)
{
    return &records->header->logger;
}

struct gateway_record *records_gateway(struct records *records)
{
    return &records->header->gateway;
}

struct service_record *records_service_find(struct records *records, const char *name)
{
    return table_get(records->names, name);
}

/* The search goes round, so that the number of one that was dropped is not soon another's. */
struct service_record *records_service_take(struct records *records, const char *name)
{
    struct service_record *record = records_service_find(records, name);
    uint32_t count = records->header->services_max;
    for (uint32_t tries = 0; !record && tries < count; tries++) {
        struct service_record *next = records_service(records, records->service_next);
        records->service_next = (records->service_next + 1) % count;
        if (next->name[0])
            continue;
        snprintf(next->name, sizeof next->name, "%s", name);
        if (table_add(records->names, next->name, next, NULL) < 0) {
            next->name[0] = 0;
            return NULL;
        }
        record = next;
    }
    return record;
}

void records_services_keep(struct records *records, records_keep *keep, void *owner)
{
    struct table *names = table_new();
    if (!names)
        return; /* a few records more are in use than need be */
    for (uint32_t i = 0; i < records->header->services_max; i++) {
        struct service_record *record = records_service(records, i);
        if (!record->name[0])
            continue;
        if (!keep(owner, record->name) || table_add(names, record->name, record, NULL) < 0)
            *record = (struct service_record){0};
    }
    table_free(records->names);
    records->names = names;
    records->service_next = 0;
}

static bool record_is_not(void *owner, const char *name)
{
    const struct service_record *dropped = owner;
    return dropped->name != name;
}

void records_service_drop(struct records *records, struct service_record *record)
{
    uint32_t next = records->service_next;
    records_services_keep(records, record_is_not, record);
    records->service_next = next;
}
