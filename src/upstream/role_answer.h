/* Questions after a role, and how what comes back is read: a command's word, Redis' ROLE
 * (https://redis.io/commands/role), PostgreSQL's simple query (protocol 3.0, chapter "Message
 * Formats" of its manual). Pure; every length is checked against what is there; the caller bounds
 * how much may come (CHECK_ANSWER_BYTES_MAX). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "topology/endpoint_role.h"
#include "upstream/checker.h"

enum {
    ROLE_WORD_BYTES_MAX = 64, /* of what a command prints */
    ROLE_QUESTION_BYTES_MAX = 512,
};

struct role_answer {
    enum endpoint_role role; /* primary or replica */
    uint32_t term;           /* grows with each promotion; 0: not known */
};

/* "primary", "replica", or "primary 7", with blanks and line ends around it. */
bool role_answer_word(const char *bytes, size_t length, struct role_answer *ret_answer);

/* Both: CHECK_WELL: *ret_answer is filled; CHECK_ILL: `why` is. `end`: no more will come. */
enum check_verdict role_answer_redis(const char *bytes, size_t length, bool end,
                                     struct role_answer *ret_answer, char why[CHECK_WHY_BYTES]);
enum check_verdict role_answer_postgres(const char *bytes, size_t length, bool end,
                                        struct role_answer *ret_answer, char why[CHECK_WHY_BYTES]);

/* Startup, the query and the goodbye in one, since nothing has to be waited for where no password
 * is asked. The bytes written. `user` and `database` have 63 bytes at most. */
size_t role_question_postgres(const char *user, const char *database,
                              char bytes[ROLE_QUESTION_BYTES_MAX]);
