#include "gateway/http/follow.h"

#include <string.h>

#include "gateway/http/bump.h"
#include "gateway/http/files.h"
#include "gateway/http/path.h"

/* ---- the response that leads elsewhere ------------------------------------------------------- */

enum follow_kind follow_find(const struct route_follow *rules, const struct field *fields,
                             uint32_t count, struct slice *ret_place)
{
    for (uint32_t i = 0; rules && i < count; i++) {
        const struct field *field = &fields[i];
        if (field->id != FIELD_OTHER || field->dropped || field->name.length < 10)
            continue;
        *ret_place = field->value;
        if (rules->accel && slice_is_nocase(field->name, "X-Accel-Redirect"))
            return FOLLOW_PATH;
        if (rules->directory_count && slice_is_nocase(field->name, "X-Sendfile"))
            return FOLLOW_FILE;
    }
    return FOLLOW_NOT;
}

static bool kept(const struct field *field)
{
    static const char *const names[] = {"Content-Disposition", "Cache-Control", "Expires"};
    if (field->dropped || field->id == FIELD_SET_COOKIE)
        return !field->dropped;
    for (size_t i = 0; field->id == FIELD_OTHER && i < sizeof names / sizeof names[0]; i++)
        if (slice_is_nocase(field->name, names[i]))
            return true;
    return false;
}

static bool slice_keep(struct bump *arena, struct slice *slice)
{
    const char *copy = bump_copy(arena, slice->bytes, slice->length);
    slice->bytes = copy;
    return copy != NULL;
}

/* Those of several responses, one after the other, come together; the client gets the last of each
 * name, and every cookie. */
static bool field_add(struct exchange *exchange, const struct field *field, uint32_t earlier)
{
    struct follow *follow = exchange->follow;
    uint32_t at = 0;
    while (at < earlier && (field->id == FIELD_SET_COOKIE ||
                            !slice_same_nocase(follow->fields[at].name, field->name)))
        at++;
    if (at == earlier)
        at = follow->field_count;
    if (at == FOLLOW_FIELDS_MAX)
        return false;
    struct field copy = *field;
    if (!slice_keep(exchange->arena, &copy.name) || !slice_keep(exchange->arena, &copy.value))
        return false;
    follow->fields[at] = copy;
    follow->field_count += at == follow->field_count;
    return true;
}

static struct follow *follow_new(struct exchange *exchange)
{
    struct follow *follow = bump_alloc(exchange->arena, sizeof *follow);
    if (follow)
        *follow = (struct follow){
            .asked = exchange->request, .route = exchange->route, .type = SLICE("")};
    return follow;
}

bool follow_keep(struct exchange *exchange, const struct field *fields, uint32_t count,
                 struct slice *place)
{
    if (!exchange->follow)
        exchange->follow = follow_new(exchange);
    struct follow *follow = exchange->follow;
    if (!follow || !slice_keep(exchange->arena, place))
        return false;
    uint32_t earlier = follow->field_count;
    follow->times++;
    for (uint32_t i = 0; i < count; i++) {
        if (fields[i].id == FIELD_CONTENT_TYPE && !fields[i].dropped) {
            follow->type = fields[i].value;
            if (!slice_keep(exchange->arena, &follow->type))
                return false;
        } else if (kept(&fields[i]) && !field_add(exchange, &fields[i], earlier)) {
            return false;
        }
    }
    return true;
}

/* ---- where it leads -------------------------------------------------------------------------- */

/* What was to be answered with another's response is answered with a refusal. */
static void refuse(struct exchange *exchange, uint16_t status, enum exchange_blame blame,
                   const char *why)
{
    exchange_fail(exchange, status, blame, why);
    exchange_release(exchange);
}

/* The request is a GET of this from now on. What may not stand in a path, programs forget to
 * encode. False: no memory. */
static bool request_make(struct exchange *exchange, struct slice place)
{
    struct head *request = &exchange->request;
    const char *mark = memchr(place.bytes, '?', place.length);
    struct slice path = {place.bytes, mark ? (uint32_t)(mark - place.bytes) : place.length};
    struct slice query = {mark ? mark + 1 : "", mark ? place.length - path.length - 1 : 0};
    char *target = bump_alloc(exchange->arena, (size_t)place.length * PATH_GROWTH_MAX + 1);
    if (!target)
        return false;
    size_t length = path_encode(path, PATH_PART_PATH, target);
    request->path = (struct slice){target, (uint32_t)length};
    if (mark) {
        target[length++] = '?';
        size_t query_length = path_encode(query, PATH_PART_QUERY, target + length);
        request->query = (struct slice){target + length, (uint32_t)query_length};
        length += query_length;
    } else {
        request->query = SLICE("");
    }
    request->has_query = mark != NULL;
    request->target = (struct slice){target, (uint32_t)length};
    return true;
}

static void method_settle(struct exchange *exchange)
{
    struct head *request = &exchange->request;
    if (request->method != METHOD_HEAD) {
        request->method = METHOD_GET;
        request->method_name = SLICE("GET");
    }
    request->expect_continue = false;
    request->upgrade = false;
    if (exchange->request_ended) { /* else its codec still reads it */
        request->body = BODY_NONE;
        request->body_length = 0;
    }
}

static void path_go(struct exchange *exchange, struct slice path)
{
    if (!path.length || path.bytes[0] != '/' || path.length > FOLLOW_NAME_BYTES_MAX)
        refuse(exchange, 502, BLAME_UPSTREAM, "X-Accel-Redirect to what is no path");
    else if (!request_make(exchange, path))
        refuse(exchange, 503, BLAME_ENGINX, "the request's memory is used up");
    else
        exchange_dispatch(exchange);
}

/* The name below the directory; NULL: it does not lie there. The opener sees to links and `..`. */
static const char *name_below(const char *directory, struct slice file)
{
    size_t length = strlen(directory);
    if (length == 1) /* the root */
        length = 0;
    if (file.length <= length + 1 || memcmp(file.bytes, directory, length) != 0 ||
        file.bytes[length] != '/')
        return NULL;
    const char *name = file.bytes + length;
    while (*name == '/')
        name++;
    return name;
}

/* Of directories that lie in each other the innermost may be the only one that leads there. */
static void file_go(struct exchange *exchange, const struct route_follow *rules, struct slice file)
{
    const struct topology *topology = exchange->use->generation->topology;
    const char *name = NULL;
    uint32_t directory = 0;
    size_t longest = 0;
    bool good = file.length <= FOLLOW_NAME_BYTES_MAX && !memchr(file.bytes, 0, file.length);
    for (size_t i = 0; good && i < rules->directory_count; i++) {
        const char *path = topology->directories[rules->directories[i]];
        const char *found = name_below(path, file);
        if (!found || strlen(path) < longest)
            continue;
        name = found;
        directory = rules->directories[i];
        longest = strlen(path);
    }
    if (name && *name)
        files_serve(exchange, directory, name);
    else
        refuse(exchange, 502, BLAME_UPSTREAM, "X-Sendfile of what lies in none of its directories");
}

void follow_go(struct exchange *exchange, enum follow_kind kind, struct slice place,
               uint16_t status)
{
    const struct route_follow *rules = exchange->route->follow;
    exchange->handler = NULL;
    exchange->handler_own = NULL;
    exchange_filters_done(exchange); /* they were about another response */
    method_settle(exchange);
    if (exchange->follow->times > FOLLOW_TIMES_MAX) {
        refuse(exchange, 502, BLAME_UPSTREAM, "X-Accel-Redirect in a circle");
    } else if (kind == FOLLOW_FILE) {
        file_go(exchange, rules, place);
    } else {
        exchange_leave(exchange, status);
        path_go(exchange, place);
    }
}

/* ---- the answer ------------------------------------------------------------------------------ */

static bool replaced(const struct follow *follow, const struct field *field)
{
    for (uint32_t i = 0; i < follow->field_count; i++)
        if (field->id != FIELD_SET_COOKIE && slice_same_nocase(follow->fields[i].name, field->name))
            return true;
    return false;
}

bool follow_apply(struct exchange *exchange, struct response_head *head)
{
    const struct follow *follow = exchange->follow;
    struct field *fields =
        bump_alloc(exchange->arena, (head->field_count + follow->field_count) * sizeof *fields);
    uint32_t count = 0;
    if (!fields)
        return false;
    for (uint32_t i = 0; i < head->field_count; i++)
        if (!replaced(follow, &head->fields[i]))
            fields[count++] = head->fields[i];
    for (uint32_t i = 0; i < follow->field_count; i++)
        fields[count++] = follow->fields[i];
    head->fields = fields;
    head->field_count = count;
    return true;
}
