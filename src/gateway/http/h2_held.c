#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/http/h2_wire.h"

enum { HELD_AT_FIRST = 4096 };

int h2_held_put(struct h2_held *held, const char *bytes, size_t length)
{
    if (held->length + length > held->room) {
        size_t room = held->room ? 2 * (size_t)held->room : HELD_AT_FIRST;
        while (room < held->length + length)
            room *= 2;
        char *grown = realloc(held->bytes, room);
        if (!grown)
            return -ENOMEM;
        held->bytes = grown;
        held->room = (uint32_t)room;
    }
    memcpy(held->bytes + held->length, bytes, length);
    held->length += (uint32_t)length;
    return 0;
}

void h2_held_took(struct h2_held *held, size_t length)
{
    held->length -= (uint32_t)length;
    if (held->length)
        memmove(held->bytes, held->bytes + length, held->length);
    else
        h2_held_done(held);
}

void h2_held_done(struct h2_held *held)
{
    free(held->bytes);
    *held = (struct h2_held){0};
}
