/* Changes of a request's fields on the way to its route's handler. */
#include <string.h>

#include "gateway/guard/guard.h"
#include "gateway/http/bump.h"

/* Programs behind CGI read X_User and X-User as one. */
static bool same_name(struct slice name, const char *other)
{
    if (strlen(other) != name.length)
        return false;
    for (uint32_t i = 0; i < name.length; i++) {
        char one = name.bytes[i], two = other[i];
        one = one == '_' ? '-' : one >= 'A' && one <= 'Z' ? (char)(one + 32) : one;
        two = two == '_' ? '-' : two >= 'A' && two <= 'Z' ? (char)(two + 32) : two;
        if (one != two)
            return false;
    }
    return true;
}

static bool named(struct slice name, const char *const *names)
{
    for (; *names; names++)
        if (same_name(name, *names))
            return true;
    return false;
}

static uint32_t field_put(struct head *request, struct field *fields, uint32_t count,
                          const struct field *field)
{
    fields[count] = *field;
    if (!request->first[field->id])
        request->first[field->id] = (uint16_t)(count + 1);
    return count + 1;
}

bool guard_fields_replace(struct exchange *exchange, const char *const *names,
                          const struct field *from, uint32_t from_count)
{
    struct head *request = &exchange->request;
    const struct field *before = request->fields;
    uint32_t room = request->field_count + from_count, count = 0;
    struct field *fields = bump_alloc(exchange->arena, (room ? room : 1) * sizeof *fields);
    if (!fields || room > UINT16_MAX)
        return false;
    memset(request->first, 0, sizeof request->first);
    for (uint32_t i = 0; i < request->field_count; i++)
        if (!named(before[i].name, names))
            count = field_put(request, fields, count, &before[i]);
    for (uint32_t i = 0; i < from_count; i++)
        if (named(from[i].name, names))
            count = field_put(request, fields, count, &from[i]);
    request->fields = fields;
    request->field_count = count;
    request->fields_room = room;
    return true;
}
