/* Fuzz target: any line is an event that can be written as JSON, or none. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "control/event.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *exact = malloc(size ? size : 1);
    if (size)
        memcpy(exact, data, size);
    json_t *object = event_object(exact, size, 7);
    free(exact);
    if (!object)
        return 0;
    char *text = json_dumps(object, JSON_COMPACT);
    if (!text || strchr(text, '\n'))
        abort();
    json_t *again = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    if (!json_equal(object, again))
        abort();
    json_decref(again);
    json_decref(object);
    free(text);
    return 0;
}
