/* Fuzz target of ranges: whatever is asked for, the parts lie in the file. The first byte is the
 * size's exponent. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/http/file_range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 4096)
        return 0;
    struct range ranges[RANGES_MAX];
    uint32_t count = 0;
    uint64_t file = ((uint64_t)1 << (data[0] & 63)) - (data[0] >> 7);
    if (file > INT64_MAX)
        file = INT64_MAX; /* no file is larger: off_t */
    struct slice value = {(const char *)data + 1, (uint32_t)size - 1};
    if (ranges_parse(value, file, ranges, &count) != RANGES_GIVEN)
        return 0;
    uint64_t sum = 0;
    assert(count >= 1 && count <= RANGES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        assert(ranges[i].length >= 1 && ranges[i].first < file);
        assert(ranges[i].length <= file - ranges[i].first);
        sum += ranges[i].length;
    }
    assert(sum <= file);
    return 0;
}
