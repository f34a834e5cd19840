#include "proc/logline.h"

#include <assert.h>
#include <string.h>

#include "base/clock.h"

_Static_assert((int)CLOCK_TEXT_BYTES > (int)LOGLINE_TIME_BYTES, "the time fits");

size_t logline_head(char head[LOGLINE_HEAD_BYTES_MAX], uint64_t wall_ms, const char *source)
{
    char time[CLOCK_TEXT_BYTES];
    clock_format_ms(wall_ms, time);
    size_t source_bytes = strlen(source);
    assert(source_bytes < LOGLINE_SOURCE_BYTES);
    memcpy(head, time, LOGLINE_TIME_BYTES);
    head[LOGLINE_TIME_BYTES] = ' ';
    memcpy(head + LOGLINE_TIME_BYTES + 1, source, source_bytes);
    head[LOGLINE_TIME_BYTES + 1 + source_bytes] = ' ';
    return LOGLINE_TIME_BYTES + 1 + source_bytes + 1;
}

/* The number of `count` decimal digits; UINT32_MAX when there is another byte among them. */
static uint32_t digits(const char *text, int count)
{
    uint32_t number = 0;
    for (int i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9')
            return UINT32_MAX;
        number = number * 10 + (uint32_t)(text[i] - '0');
    }
    return number;
}

/* Days since 1970-01-01 of a date of the Gregorian calendar (H. Hinnant, days_from_civil). */
static uint64_t days_since_1970(uint32_t year, uint32_t month, uint32_t day)
{
    year -= month <= 2;
    uint32_t era = year / 400;
    uint32_t year_of_era = year - era * 400;
    uint32_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    uint32_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return (uint64_t)era * 146097 + day_of_era - 719468;
}

static bool time_parse(const char *text, uint64_t *ret_wall_ms)
{
    static const char shape[] = "0000-00-00T00:00:00.000Z";
    for (int i = 0; i < LOGLINE_TIME_BYTES; i++)
        if (shape[i] != '0' ? text[i] != shape[i] : text[i] < '0' || text[i] > '9')
            return false;
    uint32_t year = digits(text, 4), month = digits(text + 5, 2), day = digits(text + 8, 2);
    uint32_t hour = digits(text + 11, 2), minute = digits(text + 14, 2);
    uint32_t second = digits(text + 17, 2), milli = digits(text + 20, 3);
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 ||
        second > 60)
        return false;
    uint64_t minutes = (days_since_1970(year, month, day) * 24 + hour) * 60 + minute;
    *ret_wall_ms = (minutes * 60 + second) * 1000 + milli;
    return true;
}

bool logline_parse(const char *line, size_t length, struct logline *ret_line)
{
    if (length && line[length - 1] == '\n')
        length--;
    if (length < LOGLINE_TIME_BYTES + 1 || line[LOGLINE_TIME_BYTES] != ' ')
        return false;
    const char *source = line + LOGLINE_TIME_BYTES + 1;
    const char *space = memchr(source, ' ', length - LOGLINE_TIME_BYTES - 1);
    uint64_t wall_ms;
    if (!space || space == source || !time_parse(line, &wall_ms))
        return false;
    *ret_line = (struct logline){
        .wall_ms = wall_ms,
        .source = source,
        .source_bytes = (size_t)(space - source),
        .text = space + 1,
        .text_bytes = (size_t)(line + length - space - 1),
    };
    return true;
}

size_t logline_service(const char *source, size_t length, uint32_t *ret_instance)
{
    enum { DIGITS_MAX = 9 }; /* fits 32 bits */
    size_t at = length;
    while (at > 0 && source[at - 1] >= '0' && source[at - 1] <= '9')
        at--;
    size_t count = length - at;
    *ret_instance = 0;
    if (count == 0 || count > DIGITS_MAX || at < 2 || source[at - 1] != '.')
        return length;
    *ret_instance = digits(source + at, (int)count);
    return at - 1;
}
