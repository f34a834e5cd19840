#include "upstream/segment.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"

_Static_assert(sizeof(struct segment_header) <= SEGMENT_HEADER_BYTES, "the header fits its page");

int segment_new(const char *name, const struct segment_header *header, void **ret_base, int *ret_fd)
{
    assert(header->bytes >= SEGMENT_HEADER_BYTES);
    scoped_fd int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    if (ftruncate(fd, (off_t)header->bytes) < 0)
        return -errno;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    void *base = mmap(NULL, header->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    memcpy(base, header, sizeof *header);
    *ret_base = base;
    *ret_fd = fd_take(&fd);
    return 0;
}

/* Its size, when it is sealed against growing and shrinking and holds a header; else -EPROTO. */
static int sealed_size(int fd, size_t *ret_size)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 && errno != EINVAL)
        return -errno;
    bool sealed = seals >= 0 && (seals & F_SEAL_SHRINK) && (seals & F_SEAL_GROW);
    if (!sealed || status.st_size < SEGMENT_HEADER_BYTES)
        return -EPROTO;
    *ret_size = (size_t)status.st_size;
    return 0;
}

int segment_open(int fd, bool writable, uint32_t magic, uint32_t version, void **ret_base,
                 struct segment_header *ret_header)
{
    size_t size = 0;
    int error = sealed_size(fd, &size);
    if (error)
        return error;
    int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
    void *base = mmap(NULL, size, protection, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    struct segment_header header;
    memcpy(&header, base, sizeof header);
    if (header.magic != magic || header.version != version || header.bytes != size) {
        munmap(base, size);
        return -EPROTO;
    }
    *ret_base = base;
    *ret_header = header;
    return 0;
}
