/* enginx: the server of servers. One executable: a command line, and the roles that its processes
 * play (proc/role.h). */
#include "cli/cli.h"
#include "proc/role.h"

int main(int argc, char **argv)
{
    int code = role_main(argc, argv);
    return code >= 0 ? code : cli_main(argc, argv);
}
