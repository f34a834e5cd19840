/* Fuzz target: whatever answers a check. The first byte chooses what the check asks for; the rest
 * comes in two pieces, and the end after it. A verdict once given stays, whatever follows. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "upstream/checker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum check_verdict read_exactly(const struct service *service, const uint8_t *bytes,
                                       size_t length, bool end)
{
    char why[CHECK_WHY_BYTES];
    char *exact = malloc(length ? length : 1);
    memcpy(exact, bytes, length);
    memset(why, 'w', sizeof why);
    enum check_verdict verdict = check_http_read(service, exact, length, end, why);
    if (verdict == CHECK_ILL && (!memchr(why, '\0', sizeof why) || !why[0]))
        abort();
    free(exact);
    return verdict;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct service services[] = {
        {.index = 0},
        {.gateway = {.check_status_low = 100, .check_status_high = 999}},
        {.gateway = {.check_match = "ready"}},
        {.gateway = {.check_match = "e", .check_status_low = 200, .check_status_high = 200}},
    };
    if (size < 2)
        return 0;
    const struct service *service = &services[data[0] % 4];
    size_t length = size - 2;
    size_t first_length = length * data[1] / 255;
    enum check_verdict first = read_exactly(service, data + 2, first_length, false);
    enum check_verdict whole = read_exactly(service, data + 2, length, false);
    enum check_verdict ended = read_exactly(service, data + 2, length, true);
    if (first != CHECK_MORE && whole != first)
        abort();
    if (whole != CHECK_MORE && ended != whole)
        abort();
    if (ended == CHECK_MORE)
        abort();
    return 0;
}
