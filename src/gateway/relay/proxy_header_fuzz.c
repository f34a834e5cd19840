/* Fuzz target: any bytes are a header, the beginning of one, or bad; and which of these does not
 * change with what follows. What was read can be written and read again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/relay/proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool truth)
{
    if (!truth)
        abort();
}

static void write_and_read(int version, const struct proxy_header *header)
{
    uint8_t bytes[PROXY_HEADER_BYTES_MAX];
    struct proxy_header again;
    size_t length = 0;
    size_t written = proxy_header_write(version, &header->source, &header->destination, bytes);
    demand(written <= sizeof bytes);
    demand(proxy_header_read(bytes, written, &again, &length) == PROXY_DONE);
    demand(length == written);
    for (size_t part = 0; part < written; part++)
        demand(proxy_header_read(bytes, part, &again, &length) == PROXY_MORE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header header;
    size_t length = 0;
    enum proxy_result whole = proxy_header_read(data, size, &header, &length);
    if (whole == PROXY_DONE) {
        demand(length <= size && length <= PROXY_HEADER_BYTES_MAX);
        struct proxy_header exact;
        size_t exact_length = 0;
        demand(proxy_header_read(data, length, &exact, &exact_length) == PROXY_DONE);
        demand(exact_length == length && memcmp(&exact, &header, sizeof exact) == 0);
        demand(proxy_header_read(data, length - 1, &exact, &exact_length) == PROXY_MORE);
        write_and_read(1, &header);
        write_and_read(2, &header);
    }
    if (whole == PROXY_MORE) {
        demand(size < PROXY_HEADER_BYTES_MAX);
        for (size_t part = 0; part < size; part++)
            demand(proxy_header_read(data, part, &header, &length) == PROXY_MORE);
    }
    return 0;
}
