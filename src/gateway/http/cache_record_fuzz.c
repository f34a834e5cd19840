/* Fuzz target of records: whatever a cache's file holds, what is read of it lies in it. The sums
 * are made right, or nothing would come behind them. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "gateway/http/cache_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool within(struct slice text, const char *start, const char *end)
{
    return text.length == 0 || (text.bytes >= start && text.bytes + text.length <= end);
}

static void answer_check(const struct record *record, const char *rest, size_t length)
{
    static struct record_answer answer;
    const char *end = rest + length;
    if (!record_read(record, rest, &answer))
        return;
    assert(within((struct slice){answer.key.bytes, answer.key.length}, rest, end));
    assert(within(answer.setup.vary_values, rest, end) && within(answer.setup.reason, rest, end));
    assert(answer.setup.field_count <= RECORD_FIELDS_MAX);
    for (uint32_t i = 0; i < answer.setup.field_count; i++)
        assert(within(answer.fields[i].name, rest, end) &&
               within(answer.fields[i].value, rest, end));
    assert(answer.body.bytes + answer.body.length == end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record record;
    if (size < sizeof record)
        return 0;
    memcpy(&record, data, sizeof record);
    const char *rest = (const char *)data + sizeof record;
    record_head_good(&record);
    if (record.bytes != size)
        return 0;
    if (record.texts_bytes <= size - sizeof record) { /* a copy with the right sums */
        size_t length;
        char *made = record_write_text(RECORD_ANSWER, 0, 0, rest, size - sizeof record, &length);
        if (!made)
            return 0;
        const struct record *sums = (const struct record *)(const void *)made;
        assert(record_head_good(sums) && record_good(sums, rest));
        if (record.texts_bytes == sums->texts_bytes && !record.body_bytes)
            record.sum = sums->sum;
        free(made);
    }
    answer_check(&record, rest, size - sizeof record);
    return 0;
}
