/* A server's bytes in answer to a check by HTTP/2; the first tells which kind. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "upstream/check_h2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct service service;
    if (!size)
        return 0;
    service.check = data[0] & 1 ? CHECK_GRPC : CHECK_HTTP;
    service.gateway.check_match = data[0] & 2 ? "ok" : NULL;
    service.gateway.check_status_low = 200;
    service.gateway.check_status_high = 399;
    struct buffer out;
    char why[CHECK_WHY_BYTES] = "";
    buffer_init(&out, 1024 * 1024);
    struct check_h2 *check = check_h2_new(&service, "a", false, &out);
    size_t cut = 1 + (size - 1) / 2;
    if (check &&
        check_h2_read(check, (const char *)data + 1, cut - 1, false, &out, why) == CHECK_MORE)
        check_h2_read(check, (const char *)data + cut, size - cut, true, &out, why);
    check_h2_free(check);
    buffer_done(&out);
    return 0;
}
