#include "cli/top/command.h"

#include <stdio.h>

static json_t *refuse(char text[COMMAND_TEXT_BYTES], const char *why)
{
    snprintf(text, COMMAND_TEXT_BYTES, "%s", why);
    return NULL;
}

static json_t *service_request(const char *command, const char *says, const struct item *item,
                               char text[COMMAND_TEXT_BYTES])
{
    snprintf(text, COMMAND_TEXT_BYTES, "%s %.150s", says, item->service);
    return json_pack("{s:s, s:s}", "command", command, "service", item->service);
}

static json_t *instance_request(const char *command, const char *says, const struct item *item,
                                char text[COMMAND_TEXT_BYTES])
{
    snprintf(text, COMMAND_TEXT_BYTES, "%s %.150s", says, item->name);
    return json_pack("{s:s, s:s, s:I}", "command", command, "service", item->service, "instance",
                     (json_int_t)item->number);
}

static json_t *drain_request(const struct item *item, bool undo, char text[COMMAND_TEXT_BYTES])
{
    if (item->kind != ITEM_INSTANCE)
        return refuse(text, "only an instance can be drained: choose one");
    json_t *request = instance_request("drain", undo ? "undrain" : "drain", item, text);
    if (request)
        json_object_set_new(request, "undo", json_boolean(undo));
    return request;
}

static json_t *scale_request(const struct item *item, uint32_t count, char text[COMMAND_TEXT_BYTES])
{
    json_t *request = service_request("scale", "scale", item, text);
    if (request)
        json_object_set_new(request, "count", json_integer(count));
    size_t length = 0;
    while (text[length])
        length++;
    snprintf(text + length, COMMAND_TEXT_BYTES - length, " to %u", count);
    return request;
}

json_t *command_request(enum action action, const struct item *item, uint32_t count,
                        char text[COMMAND_TEXT_BYTES])
{
    if (!item)
        return refuse(text, "nothing is chosen");
    if (item->kind == ITEM_LISTENER)
        return refuse(text, "nothing can be done to a listener");
    if (action == ACTION_JOB) {
        if (item->kind != ITEM_JOB)
            return refuse(text, "only a job can be run: choose one");
        snprintf(text, COMMAND_TEXT_BYTES, "run job %.150s", item->name);
        return json_pack("{s:s, s:s}", "command", "job", "job", item->name);
    }
    if (item->kind == ITEM_JOB)
        return refuse(text, "it is a job: `j` runs it");
    switch ((int)action) {
    case ACTION_DRAIN:
        return drain_request(item, false, text);
    case ACTION_UNDRAIN:
        return drain_request(item, true, text);
    case ACTION_RESTART:
        return item->kind == ITEM_INSTANCE
                   ? instance_request("restart", "restart", item, text)
                   : service_request("restart", "restart all instances of", item, text);
    case ACTION_ROLL:
        return service_request("roll", "roll", item, text);
    case ACTION_SCALE_OPEN:
        return scale_request(item, count, text);
    default:
        return refuse(text, "");
    }
}
