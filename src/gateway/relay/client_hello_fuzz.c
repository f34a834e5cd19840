/* Fuzz target: any bytes are a ClientHello, the beginning of one, or bad; what is decided stays so
 * with what follows, and a name is one that may be looked up. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/relay/client_hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(int truth)
{
    if (!truth)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char name[HELLO_NAME_BYTES];
    char other[HELLO_NAME_BYTES];
    memset(name, 'x', sizeof name);
    enum hello_result whole = client_hello_name(data, size, name);
    demand(memchr(name, 0, sizeof name) != NULL);
    demand(whole == HELLO_DONE || !name[0]);
    for (const char *at = name; *at; at++)
        demand(strchr("abcdefghijklmnopqrstuvwxyz0123456789.-_", *at) != NULL);
    demand(whole != HELLO_MORE || size < HELLO_BYTES_MAX);
    size_t step = size / 64 + 1;
    for (size_t part = 0; part < size; part += step) {
        enum hello_result result = client_hello_name(data, part, other);
        if (result == HELLO_DONE)
            demand(whole == HELLO_DONE && strcmp(name, other) == 0);
        if (result == HELLO_BAD)
            demand(whole == HELLO_BAD);
    }
    return 0;
}
