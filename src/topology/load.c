#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/scoped.h"
#include "topology/builder.h"

/* The bytes of BUNDLE_ROOT, whose name is the path: these texts, each ended by a 0. An empty one is
 * none. */
enum { ROOT_NAME, ROOT_DIRECTORY, ROOT_FILE, ROOT_SOURCE_DIRECTORY, ROOT_TEXTS };

int input_keep(const struct builder_input *input, const char *source_directory,
               struct bundle *bundle)
{
    const char *texts[ROOT_TEXTS] = {[ROOT_NAME] = input->name_override,
                                     [ROOT_DIRECTORY] = input->directory,
                                     [ROOT_FILE] = input->file,
                                     [ROOT_SOURCE_DIRECTORY] = source_directory};
    size_t length = 0;
    for (size_t i = 0; i < ROOT_TEXTS; i++)
        length += (texts[i] ? strlen(texts[i]) : 0) + 1;
    scoped_memory char *bytes = malloc(length);
    if (!bytes)
        return -ENOMEM;
    char *at = bytes;
    for (size_t i = 0; i < ROOT_TEXTS; i++)
        at = stpcpy(at, texts[i] ? texts[i] : "") + 1;
    return bundle_add(bundle, BUNDLE_ROOT, input->path, bytes, length);
}

/* False: it is not what input_keep made. */
static bool input_unpack(const struct bundle *bundle, struct builder_input *input)
{
    const char *texts[ROOT_TEXTS];
    size_t length, at = 0;
    const char *bytes = bundle_nth(bundle, BUNDLE_ROOT, 0, &input->path, &length);
    for (size_t i = 0; i < ROOT_TEXTS; i++) {
        if (!bytes || at >= length)
            return false;
        const char *text = bytes + at;
        at += strlen(text) + 1;
        texts[i] = *text ? text : NULL;
    }
    input->name_override = texts[ROOT_NAME];
    input->directory = texts[ROOT_DIRECTORY];
    input->file = texts[ROOT_FILE] ? texts[ROOT_FILE] : "";
    input->source_directory = texts[ROOT_SOURCE_DIRECTORY];
    input->text = bundle_find(bundle, BUNDLE_SOURCE, input->path, &input->length);
    input->bundle = bundle;
    return input->text != NULL;
}

static void environment_free(char **environment)
{
    for (char **at = environment; at && *at; at++)
        free(*at);
    free(environment);
}

/* What of it was used; NULL: no memory. */
static char **environment_unpack(const struct bundle *bundle)
{
    const char *name, *value;
    size_t count = 0, length;
    while (bundle_nth(bundle, BUNDLE_ENVIRONMENT, count, &name, &length))
        count++;
    char **environment = calloc(count + 1, sizeof *environment);
    for (size_t i = 0; environment && i < count; i++) {
        value = bundle_nth(bundle, BUNDLE_ENVIRONMENT, i, &name, &length);
        if (asprintf(&environment[i], "%s=%s", name, value) >= 0)
            continue;
        environment[i] = NULL;
        environment_free(environment);
        return NULL;
    }
    return environment;
}

struct topology *topology_load_bundle(const struct bundle *bundle, struct diagnostics *diagnostics)
{
    struct builder_input input = {0};
    struct place place = {.file = "bundle"};
    if (!input_unpack(bundle, &input)) {
        diagnostics_add(diagnostics, DIAGNOSTIC_ERROR, &place, NULL,
                        "there is no configuration in it");
        return NULL;
    }
    char **environment = environment_unpack(bundle);
    if (!environment) {
        diagnostics_add(diagnostics, DIAGNOSTIC_ERROR, &place, NULL, "there is no memory");
        return NULL;
    }
    struct topology_options options = {.environment = environment};
    struct topology *topology = builder_run(&input, &options, diagnostics);
    environment_free(environment);
    return topology;
}

struct topology *topology_parse(const char *text, size_t length, const char *path,
                                const char *directory, const struct topology_options *options,
                                struct diagnostics *diagnostics)
{
    struct builder_input input = {
        .path = path,
        .text = text ? text : "",
        .length = length,
        .directory = directory,
        .source_directory = directory,
        .file = path[0] == '/' ? path : "",
        .name_override = options ? options->name_override : NULL,
    };
    return builder_run(&input, options, diagnostics);
}

/* The absolute folder of a path; NULL: there is none. The caller frees it. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return realpath(".", NULL);
    scoped_memory char *folder = strndup(path, slash == path ? 1 : (size_t)(slash - path));
    return folder ? realpath(folder, NULL) : NULL;
}

struct topology *topology_load(const char *path, const struct topology_options *options,
                               struct diagnostics *diagnostics)
{
    const char *slash = strrchr(path, '/');
    scoped_memory char *folder = folder_of(path);
    scoped_memory char *file = NULL;
    if (folder && asprintf(&file, "%s/%s", folder[1] ? folder : "", slash ? slash + 1 : path) < 0)
        file = NULL;
    if (!folder || !file) {
        struct place place = {.file = path};
        diagnostics_add(diagnostics, DIAGNOSTIC_ERROR, &place, NULL,
                        "the configuration cannot be read: %s", strerror(folder ? ENOMEM : errno));
        return NULL;
    }
    struct builder_input input = {
        .path = path,
        .directory = folder,
        .file = file,
        .name_override = options ? options->name_override : NULL,
    };
    return builder_run(&input, options, diagnostics);
}
