#include <string.h>

#include "topology/builder.h"

/* What a route to a service that speaks FastCGI says of the scripts: `root=/srv/www`. */

static bool root_build(struct builder *builder, const struct value *root, struct route *route)
{
    const char *path = builder_path(builder, root->text, false);
    size_t length = strlen(path);
    while (length && path[length - 1] == '/')
        length--;
    route->root = arena_strndup(builder->arena, path, length);
    if (*root->text)
        return true;
    value_refuse(builder, root, "root=/srv/www", "`root=` is a directory");
    return false;
}

static bool names_build(struct builder *builder, const struct value *index,
                        const struct value *split, struct route *route)
{
    route->index = builder_text(builder, index->text);
    route->split = builder_text(builder, split->text);
    size_t length = strlen(index->text), ending = strlen(split->text);
    if (ending < 2 || split->text[0] != '.' || strchr(split->text, '/')) {
        value_refuse(builder, split, "split=.php",
                     "what scripts' names end with starts with a dot");
        return false;
    }
    if (length > ending && strcmp(index->text + length - ending, split->text) == 0)
        return true;
    value_refuse(builder, index, "index=index.php",
                 "the index is no script: its name ends with no "
                 "`%s`",
                 split->text);
    return false;
}

bool route_script_build(struct builder *builder, const struct statement *statement, bool fastcgi,
                        const struct script_options *options, struct route *route)
{
    const struct value *const values[] = {options->root, options->index, options->split};
    if (fastcgi && !options->root->word) {
        statement_refuse(builder, statement, "route ~\\.php(/|$) -> php root=/srv/www;",
                         "the service speaks FastCGI: `root=` must say where its scripts lie");
        return false;
    }
    if (fastcgi)
        return root_build(builder, options->root, route) &&
               names_build(builder, options->index, options->split, route);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        if (!values[i]->word)
            continue;
        value_refuse(builder, values[i], "in the service: speaks fastcgi;",
                     "this is for services that speak FastCGI");
        return false;
    }
    return true;
}
