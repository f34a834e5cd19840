#include "kernel/hierarchy.h"

#include <string.h>

/* One line of mountinfo, as slices of its text: "ID PARENT DEV ROOT MOUNT OPTIONS … - TYPE SOURCE
 * SUPER-OPTIONS". */
struct slice {
    const char *text;
    size_t length;
};
struct mount_line {
    struct slice root;
    struct slice point;
    struct slice type;
    struct slice super_options;
};

/* Cuts the next word off; an empty slice at the end of the line. */
static struct slice word_next(const char **at)
{
    while (**at == ' ')
        (*at)++;
    struct slice word = {.text = *at, .length = strcspn(*at, " \n")};
    *at += word.length;
    return word;
}

static bool slice_is(struct slice slice, const char *text)
{
    return slice.length == strlen(text) && memcmp(slice.text, text, slice.length) == 0;
}

/* Is `word` among the comma-separated words? */
static bool list_has(struct slice list, const char *word)
{
    for (size_t at = 0; at < list.length;) {
        size_t length = 0;
        while (at + length < list.length && list.text[at + length] != ',')
            length++;
        if (slice_is((struct slice){list.text + at, length}, word))
            return true;
        at += length + 1;
    }
    return false;
}

static bool mount_line_read(const char *line, struct mount_line *ret_line)
{
    for (int skipped = 0; skipped < 3; skipped++)
        word_next(&line);
    ret_line->root = word_next(&line);
    ret_line->point = word_next(&line);
    struct slice word;
    do /* options and optional fields, up to the lone dash */
        word = word_next(&line);
    while (word.length && !slice_is(word, "-"));
    ret_line->type = word_next(&line);
    word_next(&line);
    ret_line->super_options = word_next(&line);
    return ret_line->type.length != 0;
}

static bool octal_digit(char digit)
{
    return digit >= '0' && digit <= '7';
}

/* Space, tab, newline and backslash stand as \ooo in mountinfo. */
static bool path_unescape(struct slice slice, char out[HIERARCHY_PATH_BYTES])
{
    size_t length = 0;
    for (size_t at = 0; at < slice.length; length++) {
        if (length + 1 >= HIERARCHY_PATH_BYTES)
            return false;
        const char *text = slice.text + at;
        if (*text == '\\' && slice.length - at >= 4 && octal_digit(text[1]) &&
            octal_digit(text[2]) && octal_digit(text[3])) {
            out[length] = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + (text[3] - '0'));
            at += 4;
        } else {
            out[length] = *text;
            at++;
        }
    }
    out[length] = 0;
    return true;
}

/* Our own group in "ID:CONTROLLERS:PATH" lines; v2's line has no controllers. */
static struct slice own_group(const char *own_groups, const char *controller)
{
    for (const char *line = own_groups; *line;) {
        size_t length = strcspn(line, "\n");
        const char *first = memchr(line, ':', length);
        const char *second =
            first ? memchr(first + 1, ':', length - (size_t)(first + 1 - line)) : NULL;
        if (second) {
            struct slice names = {first + 1, (size_t)(second - first - 1)};
            if (controller ? list_has(names, controller) : names.length == 0)
                return (struct slice){second + 1, (size_t)(line + length - second - 1)};
        }
        line += length + (line[length] == '\n');
    }
    return (struct slice){"", 0};
}

/* The own group's folder: the mount point, and what is left of the group's path when the mount's
 * root is taken off. */
static void own_folder(struct hierarchy *hierarchy, const char *root, struct slice group)
{
    hierarchy->own[0] = 0;
    size_t root_length = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (!group.length || group.length < root_length || memcmp(group.text, root, root_length) != 0)
        return;
    group.text += root_length;
    group.length -= root_length;
    bool outside = group.length >= 3 && memcmp(group.text, "/..", 3) == 0 &&
                   (group.length == 3 || group.text[3] == '/');
    if ((group.length && *group.text != '/') || outside)
        return;
    if (slice_is(group, "/"))
        group.length = 0;
    size_t mount_length = strlen(hierarchy->mount);
    if (mount_length + group.length >= HIERARCHY_PATH_BYTES)
        return;
    memcpy(hierarchy->own, hierarchy->mount, mount_length);
    memcpy(hierarchy->own + mount_length, group.text, group.length);
    hierarchy->own[mount_length + group.length] = 0;
}

bool hierarchy_find(const char *mountinfo, const char *own_groups, const char *controller,
                    struct hierarchy *ret_hierarchy)
{
    bool found = false;
    struct slice group = own_group(own_groups, controller);
    for (const char *line = mountinfo; *line;) {
        struct mount_line mount;
        struct hierarchy candidate;
        char root[HIERARCHY_PATH_BYTES];
        bool wanted = mount_line_read(line, &mount) &&
                      slice_is(mount.type, controller ? "cgroup" : "cgroup2") &&
                      (!controller || list_has(mount.super_options, controller)) &&
                      path_unescape(mount.root, root) &&
                      path_unescape(mount.point, candidate.mount);
        if (wanted) {
            own_folder(&candidate, root, group);
            if (!found || (!ret_hierarchy->own[0] && candidate.own[0]))
                *ret_hierarchy = candidate;
            found = true;
        }
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    return found;
}
