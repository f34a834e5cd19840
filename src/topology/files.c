#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"
#include "conf/bundle.h"
#include "topology/builder.h"

/* What a file of each kind has in it. */
static const struct {
    const char *mark;
    const char *noun;
} kinds[] = {
    [FILE_CERTIFICATE] = {"-----BEGIN CERTIFICATE-----", "certificate"},
    [FILE_KEY] = {"PRIVATE KEY-----", "private key"},
    [FILE_AUTHORITIES] = {"-----BEGIN CERTIFICATE-----", "certificate"},
};
enum { KINDS = sizeof kinds / sizeof kinds[0], PROBLEM_BYTES = 128 };

struct pem_file {                /* one that was read, in the tree's arena */
    char problem[PROBLEM_BYTES]; /* the rest of a sentence; "" when it could be read */
    bool has[KINDS];
};

static int bytes_read(int fd, char *text, size_t length, size_t *ret_length)
{
    size_t at = 0;
    while (at < length) {
        ssize_t got = read(fd, text + at, length - at);
        if (got < 0 && errno != EINTR)
            return -errno;
        if (got == 0)
            break; /* it was cut while we read */
        at += got > 0 ? (size_t)got : 0;
    }
    *ret_length = at;
    return 0;
}

/* Reads a file whole; *ret_text is to be freed. False: `problem` is written. */
static bool disk_read(const char *path, char **ret_text, size_t *ret_length,
                      char problem[PROBLEM_BYTES])
{
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat status;
    int error = fd < 0 || fstat(fd, &status) < 0 ? -errno : 0;
    if (!error && !S_ISREG(status.st_mode)) {
        snprintf(problem, PROBLEM_BYTES, "is not a file");
        return false;
    }
    if (!error && status.st_size > BUNDLE_FILE_BYTES_MAX) {
        snprintf(problem, PROBLEM_BYTES, "is too large: at most %d bytes", BUNDLE_FILE_BYTES_MAX);
        return false;
    }
    if (!error) {
        *ret_text = calloc(1, (size_t)status.st_size + 1);
        error = *ret_text ? bytes_read(fd, *ret_text, (size_t)status.st_size, ret_length) : -ENOMEM;
    }
    if (error)
        snprintf(problem, PROBLEM_BYTES, "cannot be read: %s", strerror(-error));
    return !error;
}

/* The file's bytes, from the bundle or the disk; what has to be freed is in *ret_owned. NULL:
 * `problem` is written. */
static const char *file_bytes(struct builder *builder, const char *path, char **ret_owned,
                              size_t *ret_length, char problem[PROBLEM_BYTES])
{
    const struct sources *sources = &builder->sources;
    if (sources->bundle) {
        const char *bytes = bundle_find(sources->bundle, BUNDLE_FILE, path, ret_length);
        if (!bytes)
            snprintf(problem, PROBLEM_BYTES, "was not given");
        return bytes;
    }
    if (!disk_read(path, ret_owned, ret_length, problem))
        return NULL;
    int error = sources->collect
                    ? bundle_add(sources->collect, BUNDLE_FILE, path, *ret_owned, *ret_length)
                    : 0;
    if (error)
        snprintf(problem, PROBLEM_BYTES, "cannot be kept: %s",
                 error == -EFBIG ? "all files together are too large" : strerror(-error));
    return error ? NULL : *ret_owned;
}

static void file_load(struct builder *builder, const char *path, struct pem_file *file)
{
    scoped_memory char *owned = NULL;
    size_t length = 0;
    const char *bytes = file_bytes(builder, path, &owned, &length, file->problem);
    for (size_t i = 0; bytes && i < KINDS; i++)
        file->has[i] = memmem(bytes, length, kinds[i].mark, strlen(kinds[i].mark)) != NULL;
}

/* Each file is read once, however many name it. */
static const struct pem_file *file_find(struct builder *builder, const char *path)
{
    struct pem_file *file = table_get(builder->files, path);
    if (file)
        return file;
    file = arena_alloc(builder->tree_arena, sizeof *file);
    file_load(builder, path, file);
    if (table_add(builder->files, path, file, NULL) == -ENOMEM)
        builder_no_memory(builder);
    return file;
}

/* False: reported. Without a folder no file is looked at. */
static bool file_good(struct builder *builder, const struct place *place, const char *path,
                      enum file_kind kind, const char *hint)
{
    if (!builder->reads_files)
        return true;
    const struct pem_file *file = file_find(builder, path);
    if (*file->problem)
        diagnostics_add(builder->diagnostics, DIAGNOSTIC_ERROR, place, hint, "`%s` %s", path,
                        file->problem);
    else if (!file->has[kind])
        diagnostics_add(builder->diagnostics, DIAGNOSTIC_ERROR, place,
                        kind == FILE_KEY ? "key=FILE names the file that has it" : NULL,
                        "`%s` has no %s in PEM in it", path, kinds[kind].noun);
    return !*file->problem && file->has[kind];
}

const char *builder_pem(struct builder *builder, const struct value *value, enum file_kind kind)
{
    struct place place = value_place(value);
    const char *path = builder_path(builder, value->text, false);
    return file_good(builder, &place, path, kind, NULL) ? path : NULL;
}

const char *builder_file_read(struct builder *builder, const struct value *value,
                              size_t *ret_length)
{
    if (!builder->reads_files)
        return NULL;
    struct place place = value_place(value);
    const char *path = builder_path(builder, value->text, false);
    char problem[PROBLEM_BYTES];
    scoped_memory char *owned = NULL;
    const char *bytes = file_bytes(builder, path, &owned, ret_length, problem);
    if (bytes)
        return arena_strndup(builder->tree_arena, bytes, *ret_length);
    diagnostics_add(builder->diagnostics, DIAGNOSTIC_ERROR, &place, NULL, "`%s` %s", path, problem);
    return NULL;
}

const char *builder_pem_system(struct builder *builder, const struct statement *statement,
                               const char *path)
{
    struct place place = statement_place(statement);
    return file_good(builder, &place, path, FILE_AUTHORITIES,
                     "it has the authorities that are trusted: ca=FILE names others, verify=no "
                     "trusts all")
               ? path
               : NULL;
}
