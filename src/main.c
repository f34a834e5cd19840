/* enginx: the server of servers. One executable: a command line, and the roles that its processes
 * play (proc/role.h). */
#include "cli/cli.h"
#include "gateway/gateway.h"
#include "proc/keeper.h"
#include "proc/logger.h"
#include "proc/role.h"
#include "supervise/trial.h"

static const struct role roles[] = {
    {"keeper", "enginx-keeper", keeper_main},
    {"logger", "enginx-logger", logger_main},
    {"gateway", "enginx-gateway", gateway_main},
    {"trial", "enginx-trial", trial_main},
};

int main(int argc, char **argv)
{
    int code = role_main(argc, argv, roles, sizeof roles / sizeof *roles);
    return code >= 0 ? code : cli_main(argc, argv);
}
