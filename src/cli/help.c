#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "conf/reference.h"

int cli_help_directive(const char *name)
{
    if (strcmp(name, "--directives") == 0)
        reference_list(stdout);
    else if (strcmp(name, "--markdown") == 0)
        reference_markdown(stdout);
    else
        return reference_help(stdout, name, isatty(STDOUT_FILENO)) < 0 ? CLI_USAGE : CLI_OK;
    return CLI_OK;
}
