#include "tls/problem.h"

#include <openssl/err.h>
#include <stdio.h>

void problem_take(char *why, size_t size)
{
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    snprintf(why, size, "%s", reason ? reason : "the other side gave up");
    ERR_clear_error();
}
