#include "upstream/role_answer.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* ---- a word ---------------------------------------------------------------------------------- */

static bool blank(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

/* The role at the front; the length of its word; 0: none. */
static size_t word_take(const char *bytes, size_t length, enum endpoint_role *ret_role)
{
    static const enum endpoint_role roles[] = {ROLE_PRIMARY, ROLE_REPLICA};
    for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
        const char *name = endpoint_role_name(roles[i]);
        size_t word = strlen(name);
        if (length < word || memcmp(bytes, name, word) != 0)
            continue;
        *ret_role = roles[i];
        return word;
    }
    return 0;
}

bool role_answer_word(const char *bytes, size_t length, struct role_answer *ret_answer)
{
    struct role_answer answer = {0};
    while (length && blank(bytes[length - 1]))
        length--;
    while (length && blank(*bytes))
        bytes++, length--;
    size_t at = length > ROLE_WORD_BYTES_MAX ? 0 : word_take(bytes, length, &answer.role);
    if (!at || (at < length && !blank(bytes[at])))
        return false;
    while (at < length && blank(bytes[at]))
        at++;
    for (; at < length; at++) {
        if (!isdigit((unsigned char)bytes[at]) ||
            __builtin_mul_overflow(answer.term, 10u, &answer.term) ||
            __builtin_add_overflow(answer.term, (uint32_t)(bytes[at] - '0'), &answer.term))
            return false;
    }
    *ret_answer = answer;
    return true;
}

/* ---- what both protocols share ----------------------------------------------------------------
 */

static enum check_verdict ill(char why[CHECK_WHY_BYTES], const char *text)
{
    snprintf(why, CHECK_WHY_BYTES, "%s", text);
    return CHECK_ILL;
}

/* What a server says of itself, as far as it can be shown. */
static enum check_verdict ill_said(char why[CHECK_WHY_BYTES], const char *bytes, size_t length)
{
    char said[CHECK_WHY_BYTES / 2];
    size_t count = length < sizeof said - 1 ? length : sizeof said - 1;
    for (size_t i = 0; i < count; i++)
        said[i] = isprint((unsigned char)bytes[i]) && bytes[i] != '"' ? bytes[i] : '?';
    said[count] = 0;
    snprintf(why, CHECK_WHY_BYTES, "it said \"%s\"", said);
    return CHECK_ILL;
}

static enum check_verdict more(bool end, char why[CHECK_WHY_BYTES])
{
    return end ? ill(why, "it closed before it had answered") : CHECK_MORE;
}

/* ---- Redis ------------------------------------------------------------------------------------
 */

/* A whole line at `*at`, without its end. False: it is not whole yet. */
static bool line_take(const char *bytes, size_t length, size_t *at, const char **ret_line,
                      size_t *ret_length)
{
    const char *end = memchr(bytes + *at, '\n', length - *at);
    if (!end)
        return false;
    *ret_line = bytes + *at;
    *ret_length = (size_t)(end - *ret_line);
    *at += *ret_length + 1;
    if (*ret_length && (*ret_line)[*ret_length - 1] == '\r')
        --*ret_length;
    return true;
}

/* An array of which the first is a bulk string: "*3\r\n$6\r\nmaster\r\n…". */
enum check_verdict role_answer_redis(const char *bytes, size_t length, bool end,
                                     struct role_answer *ret_answer, char why[CHECK_WHY_BYTES])
{
    const char *line;
    size_t count, at = 0;
    struct role_answer answer = {0};
    if (!line_take(bytes, length, &at, &line, &count))
        return more(end, why);
    if (count && *line == '-')
        return ill_said(why, line + 1, count - 1);
    if (count < 2 || *line != '*')
        return ill(why, "it does not speak as Redis does");
    if (!line_take(bytes, length, &at, &line, &count))
        return more(end, why);
    if (count < 2 || *line != '$')
        return ill(why, "its answer to ROLE does not begin with a word");
    if (!line_take(bytes, length, &at, &line, &count))
        return more(end, why);
    if (count == 6 && memcmp(line, "master", count) == 0)
        answer.role = ROLE_PRIMARY;
    else if (count == 5 && memcmp(line, "slave", count) == 0)
        answer.role = ROLE_REPLICA;
    else
        return ill_said(why, line, count);
    *ret_answer = answer;
    return CHECK_WELL;
}

/* ---- PostgreSQL -------------------------------------------------------------------------------
 */

enum { MESSAGE_HEAD_BYTES = 5, FIELD_MESSAGE = 'M', AUTHENTICATION_OK = 0, WAL_FILE_DIGITS = 24 };

static uint32_t number_at(const char *bytes)
{
    const unsigned char *at = (const unsigned char *)bytes;
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* ErrorResponse: fields of a type and a text that ends with 0, until a 0. */
static enum check_verdict error_read(const char *body, size_t length, char why[CHECK_WHY_BYTES])
{
    for (size_t at = 0; at < length && body[at];) {
        const char *text = body + at + 1;
        const char *end = memchr(text, 0, length - at - 1);
        if (!end)
            break;
        if (body[at] == FIELD_MESSAGE)
            return ill_said(why, text, (size_t)(end - text));
        at = (size_t)(end - body) + 1;
    }
    return ill(why, "it refused, and did not say why");
}

/* The timeline stands in the first eight digits of a WAL file's name. */
static bool timeline_read(const char *digits, uint32_t *ret_term)
{
    uint32_t term = 0;
    for (size_t i = 0; i < WAL_FILE_DIGITS; i++) {
        if (!isxdigit((unsigned char)digits[i]))
            return false;
        uint32_t digit = isdigit((unsigned char)digits[i])
                             ? (uint32_t)(digits[i] - '0')
                             : (uint32_t)(tolower((unsigned char)digits[i]) - 'a') + 10;
        if (i < 8)
            term = term << 4 | digit;
    }
    *ret_term = term;
    return true;
}

/* DataRow of (is it in recovery: t or f, the name of its WAL file or NULL). */
static enum check_verdict row_read(const char *body, size_t length, struct role_answer *ret_answer,
                                   char why[CHECK_WHY_BYTES])
{
    static const char two[] = {0, 2, 0, 0, 0, 1};
    struct role_answer answer = {0};
    if (length < 11 || memcmp(body, two, sizeof two) != 0 || (body[6] != 't' && body[6] != 'f'))
        return ill(why, "its answer is not the row that was asked for");
    answer.role = body[6] == 't' ? ROLE_REPLICA : ROLE_PRIMARY;
    uint32_t bytes = number_at(body + 7);
    bool named = bytes == WAL_FILE_DIGITS && length == 11 + WAL_FILE_DIGITS;
    if (answer.role == ROLE_PRIMARY && (!named || !timeline_read(body + 11, &answer.term)))
        return ill(why, "the name of its WAL file is none");
    *ret_answer = answer;
    return CHECK_WELL;
}

/* One message; CHECK_MORE: it tells nothing, the next one may. */
static enum check_verdict message_read(char kind, const char *body, size_t length,
                                       struct role_answer *ret_answer, char why[CHECK_WHY_BYTES])
{
    switch (kind) {
    case 'R':
        if (length < 4)
            return ill(why, "it does not speak as PostgreSQL does");
        if (number_at(body) != AUTHENTICATION_OK)
            return ill(why, "it asks for a password (pg_hba.conf must trust who asks)");
        return CHECK_MORE;
    case 'E':
        return error_read(body, length, why);
    case 'D':
        return row_read(body, length, ret_answer, why);
    case 'S': /* ParameterStatus, BackendKeyData, ReadyForQuery, RowDescription, NoticeResponse */
    case 'K':
    case 'Z':
    case 'T':
    case 'N':
        return CHECK_MORE;
    default:
        return ill(why, "it does not speak as PostgreSQL does");
    }
}

enum check_verdict role_answer_postgres(const char *bytes, size_t length, bool end,
                                        struct role_answer *ret_answer, char why[CHECK_WHY_BYTES])
{
    size_t at = 0;
    while (length - at >= MESSAGE_HEAD_BYTES) {
        uint32_t size = number_at(bytes + at + 1); /* itself included, the kind not */
        if (size < 4 || size > CHECK_ANSWER_BYTES_MAX)
            return ill(why, "it does not speak as PostgreSQL does");
        if (length - at - 1 < size)
            break;
        enum check_verdict verdict =
            message_read(bytes[at], bytes + at + MESSAGE_HEAD_BYTES, size - 4, ret_answer, why);
        if (verdict != CHECK_MORE)
            return verdict;
        at += 1 + (size_t)size;
    }
    return more(end, why);
}

static size_t number_put(char *bytes, size_t at, uint32_t number)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        bytes[at++] = (char)(number >> shift & 0xff);
    return at;
}

static size_t text_put(char *bytes, size_t at, const char *text)
{
    size_t size = strlen(text) + 1;
    assert(at + size <= ROLE_QUESTION_BYTES_MAX);
    memcpy(bytes + at, text, size);
    return at + size;
}

size_t role_question_postgres(const char *user, const char *database,
                              char bytes[ROLE_QUESTION_BYTES_MAX])
{
    enum { PROTOCOL_3 = 3 << 16 };
    static const char query[] = "SELECT pg_is_in_recovery(), CASE WHEN pg_is_in_recovery() THEN "
                                "NULL ELSE pg_walfile_name(pg_current_wal_lsn()) END";
    size_t at = number_put(bytes, 4, PROTOCOL_3);
    const char *const texts[] = {"user",   user, "database", database, "application_name",
                                 "enginx", ""};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        at = text_put(bytes, at, texts[i]);
    number_put(bytes, 0, (uint32_t)at);
    bytes[at] = 'Q';
    size_t length_at = at + 1;
    at = text_put(bytes, length_at + 4, query);
    number_put(bytes, length_at, (uint32_t)(at - length_at));
    bytes[at] = 'X'; /* Terminate: no connection is left behind */
    return number_put(bytes, at + 1, 4);
}
