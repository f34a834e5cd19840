/* What the tests execute as keeper and logger: a program that is nothing but its roles. */
#include <stdlib.h>

#include "proc/keeper.h"
#include "proc/logger.h"
#include "proc/role.h"

static const struct role roles[] = {
    {"keeper", "enginx-keeper", keeper_main},
    {"logger", "enginx-logger", logger_main},
};

int main(int argc, char **argv)
{
    int code = role_main(argc, argv, roles, sizeof roles / sizeof *roles);
    return code < 0 ? EXIT_FAILURE : code;
}
