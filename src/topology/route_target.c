#include <string.h>

#include "topology/builder.h"

/* What stands behind `->` of a route: `api weight=95, canary weight=5`. The words come as they are
 * written; a comma may touch either neighbour or none. */
struct targets {
    struct builder *builder;
    const struct publication *publication;
    struct route_target targets[ROUTE_TARGETS_MAX];
    size_t count;
    bool expects_name;
    bool good;
    enum service_speaks speaks; /* of the first one */
    const struct service *last;
};

static const char weight_prefix[] = "weight=";
static const char role_prefix[] = "role=";

static void refuse(struct targets *targets, const struct place *place, const char *hint,
                   const char *message)
{
    diagnostics_add(targets->builder->diagnostics, DIAGNOSTIC_ERROR, place, hint, "%s", message);
    targets->good = false;
}

/* Whichever version of HTTP: the route looks the same. */
static bool speak_alike(enum service_speaks one, enum service_speaks other)
{
    bool versions = (one == SPEAKS_HTTP && other == SPEAKS_HTTP2) ||
                    (one == SPEAKS_HTTP2 && other == SPEAKS_HTTP);
    return one == other || versions;
}

static void target_add(struct targets *targets, const char *name, const struct place *place)
{
    targets->expects_name = false;
    const struct draft *draft =
        draft_published(targets->builder, name, place, &targets->publication->variables);
    if (!draft || !draft->service.listens) {
        targets->good = false;
        return;
    }
    for (size_t i = 0; i < targets->count; i++)
        if (targets->targets[i].service == draft->service.index) {
            refuse(targets, place, NULL, "this service is named twice");
            return;
        }
    if (!targets->count)
        targets->speaks = draft->service.gateway.speaks;
    if (!speak_alike(targets->speaks, draft->service.gateway.speaks)) {
        refuse(targets, place, NULL, "the services of a route speak one protocol");
        return;
    }
    if (targets->count == ROUTE_TARGETS_MAX) {
        refuse(targets, place, NULL, "too many services of one route: at most 16");
        return;
    }
    targets->last = &draft->service;
    targets->targets[targets->count++] =
        (struct route_target){.service = draft->service.index, .weight = 1};
}

static void role_set(struct targets *targets, const char *text, const struct place *place)
{
    static const struct value_spec spec = {.type = VALUE_CHOICE, .choices = ROLE_WISH_CHOICES};
    struct value value;
    struct value_problem problem;
    if (!value_parse(&spec, text, &value, &problem)) {
        refuse(targets, place, problem.hint, problem.message);
        return;
    }
    if (!targets->count || !targets->good)
        return;
    enum role_wish wish = (enum role_wish)(value.choice + 1);
    targets->targets[targets->count - 1].role = wish;
    if (!role_wish_check(targets->builder, place, targets->last, wish))
        targets->good = false;
}

static void weight_set(struct targets *targets, const char *text, const struct place *place)
{
    static const struct value_spec spec = {.type = VALUE_INTEGER, .high = DIRECTIVE_WEIGHT_MAX};
    struct value value;
    struct value_problem problem;
    if (!value_parse(&spec, text, &value, &problem)) {
        refuse(targets, place, problem.hint, problem.message);
        return;
    }
    if (targets->count)
        targets->targets[targets->count - 1].weight = (uint32_t)value.number;
}

static void piece_take(struct targets *targets, const char *piece, const struct place *place)
{
    bool weight = strncmp(piece, weight_prefix, strlen(weight_prefix)) == 0;
    bool role = strncmp(piece, role_prefix, strlen(role_prefix)) == 0;
    if (targets->expects_name && weight)
        refuse(targets, place, "-> api weight=95, canary weight=5", "a weight follows its service");
    else if (targets->expects_name && role)
        refuse(targets, place, "-> db role=primary", "a role follows its service");
    else if (targets->expects_name)
        target_add(targets, piece, place);
    else if (weight)
        weight_set(targets, piece + strlen(weight_prefix), place);
    else if (role)
        role_set(targets, piece + strlen(role_prefix), place);
    else if (!targets->good)
        return; /* what was wrong before may have taken its own words */
    else if (strchr(piece, '='))
        refuse(targets, place, "method= and header= of the route, weight= and role= of a service",
               "this is not known here");
    else
        refuse(targets, place, "-> api weight=95, canary weight=5",
               "a `,` is missing in front of this");
}

static void comma_take(struct targets *targets, const struct place *place)
{
    if (targets->expects_name)
        refuse(targets, place, NULL, "a service is missing in front of the `,`");
    targets->expects_name = true;
}

static void word_take(struct targets *targets, const struct value *value)
{
    for (const char *at = value->text; *at;) {
        size_t length = strcspn(at, ",");
        struct place place = value_place(value);
        size_t before = (size_t)(at - value->text);
        if (place.length == strlen(value->text)) {
            place.column += before;
            place.length = length ? length : 1;
        }
        if (length)
            piece_take(targets, arena_strndup(targets->builder->tree_arena, at, length), &place);
        at += length;
        if (*at == ',') {
            comma_take(targets, &place);
            at++;
        }
    }
}

bool route_targets_build(struct builder *builder, const struct publication *publication,
                         const struct value *values, size_t count, struct route *route)
{
    struct targets targets = {
        .builder = builder, .publication = publication, .expects_name = true, .good = true};
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        word_take(&targets, &values[i]);
    struct place place = value_place(&values[count - 1]);
    if (targets.expects_name && targets.good)
        refuse(&targets, &place, NULL, "a service is missing behind the `,`");
    for (size_t i = 0; i < targets.count; i++)
        sum += targets.targets[i].weight;
    if (targets.count && !sum && targets.good)
        refuse(&targets, &place, NULL, "with all weights 0 nobody gets a request");
    if (!targets.good)
        return false;
    struct route_target *copy = arena_array(builder->arena, targets.count, sizeof *copy);
    memcpy(copy, targets.targets, targets.count * sizeof *copy);
    route->targets = copy;
    route->target_count = targets.count;
    route->speaks = targets.speaks;
    return true;
}
