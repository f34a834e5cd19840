/* Prints docs/reference.md, for the build: `ninja reference`. */
#include "conf/reference.h"

int main(void)
{
    reference_markdown(stdout);
    return fflush(stdout) ? 1 : 0;
}
