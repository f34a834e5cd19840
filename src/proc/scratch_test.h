/* For the tests of this folder: a directory of their own, and files in it. */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char scratch[64];

static inline int scratch_make(void **state)
{
    (void)state;
    strcpy(scratch, "/tmp/enginx-proc-XXXXXX");
    return mkdtemp(scratch) ? 0 : -1;
}

/* Removes the directory and the files in it; it has no folders of its own. */
static inline int scratch_remove(void **state)
{
    (void)state;
    DIR *directory = opendir(scratch);
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory)
        closedir(directory);
    return rmdir(scratch);
}

static inline const char *scratch_path(const char *name)
{
    static char path[sizeof scratch + 256];
    snprintf(path, sizeof path, "%s/%s", scratch, name);
    return path;
}

/* The file's text; "" when it is not there. Valid until the next call. */
static inline const char *scratch_text(const char *name)
{
    static char *text;
    free(text);
    text = NULL;
    FILE *file = fopen(scratch_path(name), "r");
    size_t size = 0;
    ssize_t length = file ? getdelim(&text, &size, EOF, file) : -1;
    if (file)
        fclose(file);
    if (length < 0) {
        free(text);
        text = strdup("");
    }
    return text;
}

static inline void scratch_append(const char *name, const char *text)
{
    FILE *file = fopen(scratch_path(name), "a");
    fputs(text, file);
    fclose(file);
}
