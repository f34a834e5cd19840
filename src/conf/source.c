#include "conf/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/scoped.h"
#include "conf/bundle.h"

static void source_free(struct source *source)
{
    if (!source)
        return;
    free(source->path);
    free(source->directory);
    free(source->text);
    free(source);
}

void sources_done(struct sources *sources)
{
    while (sources->first) {
        struct source *source = sources->first;
        sources->first = source->next;
        source_free(source);
    }
    *sources = (struct sources){0};
}

static bool source_fits(const struct sources *sources, size_t length,
                        char problem[SOURCE_PROBLEM_BYTES])
{
    if (sources->count >= SOURCE_FILES_MAX) {
        snprintf(problem, SOURCE_PROBLEM_BYTES, "is one file too many: at most %d are read",
                 SOURCE_FILES_MAX);
        return false;
    }
    if (length > SOURCE_BYTES_MAX - sources->bytes) {
        snprintf(problem, SOURCE_PROBLEM_BYTES,
                 "is too large: %zu bytes%s, and at most %d are read", length,
                 sources->bytes ? " on top of the other files" : "", SOURCE_BYTES_MAX);
        return false;
    }
    return true;
}

/* A 0 byte never stands in a text: whoever sees one has named a program or an archive. */
static bool source_is_text(const struct source *source, char problem[SOURCE_PROBLEM_BYTES])
{
    const char *zero = memchr(source->text, 0, source->length);
    if (!zero)
        return true;
    snprintf(problem, SOURCE_PROBLEM_BYTES, "is not a text: byte %zu is 0",
             (size_t)(zero - source->text) + 1);
    return false;
}

static struct source *sources_take(struct sources *sources, struct source *source)
{
    source->next = sources->first;
    sources->first = source;
    sources->count++;
    sources->bytes += source->length;
    return source;
}

/* The folder part of a path; "." where it has none. */
static char *path_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return strdup(".");
    return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

static int text_read(int fd, struct source *source)
{
    size_t at = 0;
    while (at < source->length) {
        ssize_t got = read(fd, source->text + at, source->length - at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            break; /* it was cut while we read */
        at += (size_t)got;
    }
    source->length = at;
    source->text[at] = 0;
    return 0;
}

static const char *kind_name(mode_t mode)
{
    if (S_ISDIR(mode))
        return "a directory";
    if (S_ISFIFO(mode))
        return "a pipe";
    if (S_ISSOCK(mode))
        return "a socket";
    return "a device";
}

/* Fills `source` from the file; 0, -errno, or 1 with `problem` written. */
static int source_fill(struct sources *sources, struct source *source, const char *path,
                       char problem[SOURCE_PROBLEM_BYTES])
{
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) < 0)
        return -errno;
    if (!S_ISREG(status.st_mode)) {
        snprintf(problem, SOURCE_PROBLEM_BYTES, "is %s, not a file", kind_name(status.st_mode));
        return 1;
    }
    if (!source_fits(sources, (size_t)status.st_size, problem))
        return 1;
    source->device = status.st_dev;
    source->inode = status.st_ino;
    source->length = (size_t)status.st_size;
    source->text = malloc(source->length + 1);
    source->path = strdup(path);
    source->directory = path_directory(path);
    if (!source->text || !source->path || !source->directory)
        return -ENOMEM;
    int error = text_read(fd, source);
    if (error)
        return error;
    return source_is_text(source, problem) ? 0 : 1;
}

/* The same from a bundle, in which no two paths are one file. */
static int source_unpack(struct sources *sources, struct source *source,
                         const struct bundle *bundle, const char *path,
                         char problem[SOURCE_PROBLEM_BYTES])
{
    const char *text = bundle_find(bundle, BUNDLE_SOURCE, path, &source->length);
    if (!text)
        return -ENOENT;
    if (!source_fits(sources, source->length, problem))
        return 1;
    source->inode = (ino_t)(uintptr_t)text;
    source->text = malloc(source->length + 1);
    source->path = strdup(path);
    source->directory = path_directory(path);
    if (!source->text || !source->path || !source->directory)
        return -ENOMEM;
    memcpy(source->text, text, source->length + 1);
    return source_is_text(source, problem) ? 0 : 1;
}

/* The text as it was when it was read first. */
static int source_replace(struct source *source, const char *text)
{
    char *copy = strdup(text);
    if (!copy)
        return -ENOMEM;
    free(source->text);
    source->text = copy;
    source->length = strlen(copy);
    return 0;
}

/* A file that was read before has the text that it had then: it may have changed, and whoever reads
 * the bundle knows it only once. */
static int source_get(struct sources *sources, struct source *source, const char *path,
                      char problem[SOURCE_PROBLEM_BYTES])
{
    if (sources->bundle)
        return source_unpack(sources, source, sources->bundle, path, problem);
    int error = source_fill(sources, source, path, problem);
    const char *before = NULL;
    if (!error && sources->collect)
        before = bundle_find(sources->collect, BUNDLE_SOURCE, path, NULL);
    if (!error && before)
        error = source_replace(source, before);
    else if (!error && sources->collect)
        error = bundle_add(sources->collect, BUNDLE_SOURCE, path, source->text, source->length);
    return error;
}

struct source *sources_read(struct sources *sources, const char *path,
                            char problem[SOURCE_PROBLEM_BYTES])
{
    struct source *source = calloc(1, sizeof *source);
    int error = source ? source_get(sources, source, path, problem) : -ENOMEM;
    if (error < 0)
        snprintf(problem, SOURCE_PROBLEM_BYTES, "cannot be read: %s", strerror(-error));
    if (!error)
        return sources_take(sources, source);
    source_free(source);
    return NULL;
}

struct source *sources_copy(struct sources *sources, const char *text, size_t length,
                            const char *path, const char *directory,
                            char problem[SOURCE_PROBLEM_BYTES])
{
    if (!source_fits(sources, length, problem))
        return NULL;
    struct source *source = calloc(1, sizeof *source);
    if (source) {
        source->length = length;
        source->text = malloc(length + 1);
        source->path = strdup(path);
        source->directory = directory ? strdup(directory) : NULL;
    }
    if (!source || !source->text || !source->path || (directory && !source->directory)) {
        snprintf(problem, SOURCE_PROBLEM_BYTES, "cannot be kept: %s", strerror(ENOMEM));
        source_free(source);
        return NULL;
    }
    if (length)
        memcpy(source->text, text, length);
    source->text[length] = 0;
    if (source_is_text(source, problem))
        return sources_take(sources, source);
    source_free(source);
    return NULL;
}
