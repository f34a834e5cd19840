/* Prints enginx.conf(5), for the build. */
#include "conf/manual.h"

int main(void)
{
    return manual_write(stdout) || fflush(stdout) ? 1 : 0;
}
