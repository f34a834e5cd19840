/* Fuzz target: whatever answers a question after a role. The first byte chooses who was asked; the
 * rest comes in two pieces, and the end after it. A verdict once given stays, whatever follows. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "upstream/role_answer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void word_read(const uint8_t *bytes, size_t length)
{
    struct role_answer answer;
    char *exact = malloc(length ? length : 1);
    memcpy(exact, bytes, length);
    if (role_answer_word(exact, length, &answer) && answer.role != ROLE_PRIMARY &&
        answer.role != ROLE_REPLICA)
        abort();
    free(exact);
}

static enum check_verdict read_exactly(bool redis, const uint8_t *bytes, size_t length, bool end)
{
    struct role_answer answer = {.role = ROLE_COUNT};
    char why[CHECK_WHY_BYTES];
    char *exact = malloc(length ? length : 1);
    memcpy(exact, bytes, length);
    memset(why, 'w', sizeof why);
    enum check_verdict verdict = redis ? role_answer_redis(exact, length, end, &answer, why)
                                       : role_answer_postgres(exact, length, end, &answer, why);
    if (verdict == CHECK_ILL && (!memchr(why, '\0', sizeof why) || !why[0]))
        abort();
    if (verdict == CHECK_WELL && answer.role != ROLE_PRIMARY && answer.role != ROLE_REPLICA)
        abort();
    free(exact);
    return verdict;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    size_t length = size - 2;
    if (data[0] % 3 == 2) {
        word_read(data + 2, length);
        return 0;
    }
    bool redis = data[0] % 3 == 1;
    enum check_verdict first = read_exactly(redis, data + 2, length * data[1] / 255, false);
    enum check_verdict whole = read_exactly(redis, data + 2, length, false);
    enum check_verdict ended = read_exactly(redis, data + 2, length, true);
    if (first != CHECK_MORE && whole != first)
        abort();
    if (whole != CHECK_MORE && ended != whole)
        abort();
    if (ended == CHECK_MORE)
        abort();
    return 0;
}
