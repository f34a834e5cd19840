#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "topology/builder.h"

/* What stands behind `->` of a route that answers with files:
 * `files ./public index=index.html listing=on fallback=/index.html`. */

static const char example[] = "-> files ./public index=index.html listing=off fallback=/index.html";

/* The text behind `NAME=`; NULL: it is another option. */
static const char *option_text(const char *text, const char *name)
{
    size_t length = strlen(name);
    return strncmp(text, name, length) == 0 && text[length] == '=' ? text + length + 1 : NULL;
}

/* `index=`, if it is stated. */
static bool index_set(struct builder *builder, const struct value *index, struct route_files *files)
{
    if (!index->word)
        return true;
    if (!*index->text || *index->text == '.' || strchr(index->text, '/')) {
        value_refuse(builder, index, "index=index.html", "an index is the name of a file");
        return false;
    }
    files->index = builder_text(builder, index->text);
    return true;
}

static bool listing_set(struct builder *builder, const struct value *value, const char *text,
                        struct route_files *files)
{
    files->listing = strcmp(text, "on") == 0;
    if (files->listing || strcmp(text, "off") == 0)
        return true;
    value_refuse(builder, value, "listing=on or listing=off", "`%.60s` is neither on nor off",
                 text);
    return false;
}

static bool fallback_set(struct builder *builder, const struct value *value, const char *text,
                         struct route_files *files)
{
    if (text[0] != '/' || !text[1] || text[strlen(text) - 1] == '/') {
        value_refuse(builder, value, "fallback=/index.html",
                     "a fallback is a file below the folder, with `/` in front");
        return false;
    }
    files->fallback = builder_text(builder, text);
    return true;
}

static bool option_set(struct builder *builder, const struct value *value,
                       struct route_files *files)
{
    static const struct {
        const char *name;
        bool (*set)(struct builder *, const struct value *, const char *, struct route_files *);
    } options[] = {
        {"listing", listing_set},
        {"fallback", fallback_set},
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        const char *text = option_text(value->text, options[i].name);
        if (text)
            return options[i].set(builder, value, text, files);
    }
    value_refuse(builder, value, example, "this is not known here");
    return false;
}

/* False: reported. The gateway, which reads no disk, is given a descriptor. */
static bool folder_there(struct builder *builder, const struct value *value, const char *path)
{
    struct stat status;
    if (!builder->reads_files || builder->sources.bundle)
        return true;
    if (stat(path, &status) < 0) {
        value_refuse(builder, value, NULL, "`%s` cannot be opened: %s", path, strerror(errno));
        return false;
    }
    if (!S_ISDIR(status.st_mode)) {
        value_refuse(builder, value, NULL, "`%s` is not a folder", path);
        return false;
    }
    return true;
}

bool directory_place(struct builder *builder, const struct value *value, const char *path,
                     uint32_t *ret_place)
{
    struct topology *topology = builder->topology;
    if (!topology->directories)
        topology->directories =
            arena_array(builder->arena, DIRECTORIES_MAX, sizeof *topology->directories);
    for (size_t i = 0; i < topology->directory_count; i++)
        if (strcmp(topology->directories[i], path) == 0) {
            *ret_place = (uint32_t)i;
            return true;
        }
    if (topology->directory_count == DIRECTORIES_MAX) {
        value_refuse(builder, value, NULL, "too many folders of files: at most %d",
                     DIRECTORIES_MAX);
        return false;
    }
    if (!folder_there(builder, value, path))
        return false;
    *ret_place = (uint32_t)topology->directory_count;
    topology->directories[topology->directory_count++] = path;
    return true;
}

bool route_leads_to_files(const struct builder *builder, const struct value *target)
{
    return strcmp(target->text, "files") == 0 && !table_get(builder->names, "files");
}

bool route_files_build(struct builder *builder, const struct value *values, size_t count,
                       const struct value *index, struct route *route)
{
    if (count < 2 || option_text(values[1].text, "listing") ||
        option_text(values[1].text, "fallback")) {
        value_refuse(builder, &values[0], example, "`-> files` needs a folder");
        return false;
    }
    struct route_files *files = arena_alloc(builder->arena, sizeof *files);
    *files = (struct route_files){.index = "index.html"};
    bool good = directory_place(builder, &values[1], builder_path(builder, values[1].text, false),
                                &files->directory);
    good &= index_set(builder, index, files);
    for (size_t i = 2; i < count; i++)
        good &= option_set(builder, &values[i], files);
    route->kind = ROUTE_FILES;
    route->files = files;
    return good;
}
