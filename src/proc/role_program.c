/* What the tests execute as keeper and logger: a program that is nothing but its roles. */
#include <stdlib.h>

#include "proc/role.h"

int main(int argc, char **argv)
{
    int code = role_main(argc, argv);
    return code < 0 ? EXIT_FAILURE : code;
}
