#include "supervise/loading.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/scoped.h"
#include "conf/bundle.h"
#include "supervise/prerequisites.h"
#include "topology/build.h"

struct source_text { /* where it is read from: a file, or memory */
    const char *path;
    const char *text;
    size_t length;
    const char *directory;
};

static struct topology *topology_of(const struct source_text *from,
                                    const struct topology_options *options,
                                    struct diagnostics *diagnostics)
{
    return from->path ? topology_load(from->path, options, diagnostics)
                      : topology_parse(from->text, from->length, "the command line",
                                       from->directory, options, diagnostics);
}

static struct topology *loading(const struct source_text *from, const char *name,
                                struct diagnostics *diagnostics, int *ret_bundle)
{
    struct bundle *bundle = ret_bundle ? bundle_new() : NULL;
    if (ret_bundle && !bundle)
        return NULL;
    struct topology_options options = {
        .name_override = name, .environment = environ, .collect = bundle};
    struct topology *topology = topology_of(from, &options, diagnostics);
    if (topology)
        prerequisites_check(topology, bundle, diagnostics);
    bool fine = topology && !diagnostics_errors(diagnostics);
    if (fine && ret_bundle) {
        *ret_bundle = bundle_seal(bundle);
        fine = *ret_bundle >= 0;
    }
    bundle_free(bundle);
    if (fine)
        return topology;
    topology_free(topology);
    return NULL;
}

struct topology *loading_file(const char *path, const char *name, struct diagnostics *diagnostics,
                              int *ret_bundle)
{
    struct source_text from = {.path = path};
    return loading(&from, name, diagnostics, ret_bundle);
}

struct topology *loading_last_good(const char *path, struct diagnostics *diagnostics,
                                   int *ret_bundle)
{
    struct place place = {.file = path};
    struct bundle *bundle = NULL;
    scoped_fd int file = open(path, O_RDONLY | O_CLOEXEC);
    scoped_fd int copy = file < 0 ? -errno : bundle_copy(file);
    int error = copy < 0 ? copy : bundle_open(copy, &bundle);
    if (error) {
        diagnostics_add(diagnostics, DIAGNOSTIC_ERROR, &place, NULL,
                        "the last good configuration: %s",
                        error == -ENOENT ? "there is none" : strerror(-error));
        return NULL;
    }
    struct topology *topology = topology_load_bundle(bundle, diagnostics);
    if (topology)
        prerequisites_check(topology, bundle, diagnostics);
    bundle_free(bundle);
    if (topology && !diagnostics_errors(diagnostics)) {
        *ret_bundle = fd_take(&copy);
        return topology;
    }
    topology_free(topology);
    return NULL;
}

struct topology *loading_text(const char *text, size_t length, const char *directory,
                              const char *name, struct diagnostics *diagnostics, int *ret_bundle)
{
    struct source_text from = {.text = text, .length = length, .directory = directory};
    return loading(&from, name, diagnostics, ret_bundle);
}
