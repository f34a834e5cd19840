#include "gateway/guard/answers.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { WAYS = 8, SETS = ANSWERS_MAX / WAYS };

struct kept {
    uint64_t key;
    uint64_t until_ms; /* 0: free */
    char *text;        /* "Name:value\n" …: fields have no line break in them */
    uint32_t length;
    uint16_t status;
};

static struct kept sets[SETS][WAYS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct kept *kept_of(uint64_t key, uint64_t now_ms)
{
    struct kept *set = sets[key % SETS];
    for (unsigned i = 0; i < WAYS; i++)
        if (set[i].key == key && set[i].until_ms > now_ms)
            return &set[i];
    return NULL;
}

static bool text_read(const char *at, const char *end, struct answer *answer)
{
    answer->field_count = 0;
    while (at < end && answer->field_count < ANSWER_FIELDS_MAX) {
        const char *colon = memchr(at, ':', (size_t)(end - at));
        const char *newline = colon ? memchr(colon, '\n', (size_t)(end - colon)) : NULL;
        if (!newline)
            return false;
        struct field *field = &answer->fields[answer->field_count++];
        *field = (struct field){.name = {at, (uint32_t)(colon - at)},
                                .value = {colon + 1, (uint32_t)(newline - colon - 1)}};
        field->id = (uint8_t)field_id_of(field->name);
        at = newline + 1;
    }
    return true;
}

bool answers_find(uint64_t key, uint64_t now_ms, struct bump *arena, struct answer *ret_answer)
{
    pthread_mutex_lock(&lock);
    const struct kept *kept = kept_of(key, now_ms);
    const char *text = kept ? bump_copy(arena, kept->text, kept->length) : NULL;
    uint32_t length = kept ? kept->length : 0;
    ret_answer->status = kept ? kept->status : 0;
    pthread_mutex_unlock(&lock);
    return text && text_read(text, text + length, ret_answer);
}

/* The length; UINT32_MAX: too large. */
static uint32_t text_write(const struct answer *answer, char text[ANSWER_BYTES_MAX])
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < answer->field_count; i++) {
        const struct slice name = answer->fields[i].name, value = answer->fields[i].value;
        if (memchr(value.bytes, '\n', value.length) ||
            (uint64_t)at + name.length + value.length + 2 > ANSWER_BYTES_MAX)
            return UINT32_MAX;
        memcpy(text + at, name.bytes, name.length);
        at += name.length;
        text[at++] = ':';
        if (value.length)
            memcpy(text + at, value.bytes, value.length);
        at += value.length;
        text[at++] = '\n';
    }
    return at;
}

void answers_keep(uint64_t key, uint64_t until_ms, const struct answer *answer)
{
    char text[ANSWER_BYTES_MAX];
    uint32_t length = text_write(answer, text);
    char *copy = length == UINT32_MAX ? NULL : malloc((size_t)length + 1);
    if (!copy)
        return;
    memcpy(copy, text, length);
    pthread_mutex_lock(&lock);
    struct kept *set = sets[key % SETS], *to = set;
    for (unsigned i = 1; i < WAYS && to->key != key; i++)
        if (set[i].key == key || set[i].until_ms < to->until_ms)
            to = &set[i];
    free(to->text);
    *to = (struct kept){
        .key = key, .until_ms = until_ms, .text = copy, .length = length, .status = answer->status};
    pthread_mutex_unlock(&lock);
}
