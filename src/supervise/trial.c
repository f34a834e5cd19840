#include "supervise/trial.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/scoped.h"
#include "proc/role.h"
#include "supervise/loading.h"
#include "supervise/records.h"

enum { WHY_BYTES = 4096 };

/* The first lines of what is wrong with the file. */
static void diagnostics_tell(struct diagnostics *diagnostics, char why[WHY_BYTES])
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out)
        return;
    diagnostics_print(diagnostics, out, false);
    fclose(out);
    snprintf(why, WHY_BYTES, "it does not accept the configuration:\n%s", text);
    free(text);
}

static bool file_accepted(const char *file, const char *name, char why[WHY_BYTES])
{
    if (!*file)
        return true;
    struct diagnostics *diagnostics = diagnostics_new();
    struct topology *topology =
        diagnostics ? loading_file(file, *name ? name : NULL, diagnostics, NULL) : NULL;
    if (!topology && diagnostics)
        diagnostics_tell(diagnostics, why);
    topology_free(topology);
    diagnostics_free(diagnostics);
    return topology != NULL;
}

static bool state_known(const char *state, char why[WHY_BYTES])
{
    char path[4096];
    snprintf(path, sizeof path, "%s/records", state);
    uint32_t version = records_version(path);
    if (version == RECORDS_VERSION)
        return true;
    snprintf(why, WHY_BYTES, "it reads records of version %d, and these are of version %u",
             RECORDS_VERSION, version);
    return false;
}

int trial_main(int argc, char **argv)
{
    char why[WHY_BYTES] = "no memory";
    if (argc != 6)
        return EXIT_FAILURE;
    bool good = state_known(argv[3], why) && file_accepted(argv[4], argv[5], why);
    json_t *answer = json_pack("{s:s}", "version", ENGINX_VERSION);
    if (!good)
        json_object_set_new(answer, "error", json_stringn_nocheck(why, strlen(why)));
    scoped_memory char *text = json_dumps(answer, JSON_COMPACT | JSON_ENSURE_ASCII);
    json_decref(answer);
    if (!text || write(ROLE_FD, text, strlen(text)) < 0)
        return EXIT_FAILURE;
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
