/* Fuzz target: any bytes are a bundle whose names and texts end with a 0 and can be found again, or
 * are refused. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "conf/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void bundle_verify(const struct bundle *bundle)
{
    for (int kind = 0; kind < BUNDLE_KINDS; kind++) {
        const char *name, *bytes;
        size_t length, found_length;
        for (size_t i = 0; (bytes = bundle_nth(bundle, (enum bundle_kind)kind, i, &name, &length));
             i++) {
            if (bytes[length] || strlen(name) > BUNDLE_BYTES_MAX ||
                bundle_find(bundle, (enum bundle_kind)kind, name, &found_length) != bytes ||
                found_length != length)
                abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bundle *bundle;
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
        abort();
    if (!bundle_open(fd, &bundle)) {
        bundle_verify(bundle);
        bundle_free(bundle);
    }
    close(fd);
    return 0;
}
