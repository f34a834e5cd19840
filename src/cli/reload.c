#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/ask.h"
#include "cli/load.h"

/* The supervisor looks into no key; the gateway, which would, is not asked when nothing is to
 * happen. `file`: NULL for the cluster's own. */
static bool preflight(const struct cli *cli, const char *file)
{
    if (file)
        return load_preflight(file);
    json_t *answer = ask(cli, json_pack("{s:s}", "command", "status"));
    const char *own = json_string_value(json_object_get(json_object_get(answer, "status"), "file"));
    bool fine = !own || !own[0] || load_preflight(own);
    json_decref(answer);
    return fine;
}

int command_reload(const struct cli *cli)
{
    bool dry = false, wait = false;
    struct cli own = *cli;
    const struct cli_option options[] = {{"--dry-run", "-n", NULL, &dry},
                                         {"--wait", "-w", NULL, &wait}};
    int words = cli_options(&own, options, 2, false);
    if (words < 1 || words > 2)
        return cli_usage("reload");
    json_t *request =
        json_pack("{s:s, s:b, s:b}", "command", "reload", "dry_run", dry, "wait", wait);
    char *file = words == 2 ? realpath(own.argv[1], NULL) : NULL;
    if (words == 2 && !file) {
        json_decref(request);
        return cli_fail("%s: there is no such file", own.argv[1]);
    }
    if (file)
        json_object_set_new(request, "file", json_string(file));
    json_t *answer = ask(&own, request);
    const char *report = json_string_value(json_object_get(answer, "report"));
    if (report)
        fputs(report[0] ? report : "nothing changes\n", stdout);
    bool fine = answer && (!dry || preflight(&own, file));
    json_decref(answer);
    free(file);
    return fine ? CLI_OK : CLI_FAILED;
}
