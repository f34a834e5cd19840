#include "control/bans.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/text.h"
#include "supervise/front.h"
#include "upstream/bans.h"

enum { LIST_MAX = BAN_SETS * BAN_WAYS };

static int ban_compare(const void *left, const void *right)
{
    const struct ban *a = left, *b = right;
    return a->until_ms < b->until_ms ? -1 : a->until_ms > b->until_ms;
}

static json_t *ban_json(const struct ban *ban, uint64_t now_ms, uint64_t wall_ms)
{
    char client[BAN_TEXT_BYTES], until[CLOCK_TEXT_BYTES];
    uint64_t left_ms = ban->until_ms - now_ms;
    return json_pack("{s:s, s:s, s:I, s:s}", "client", ban_client_text(ban->client, client),
                     "until", clock_format(wall_ms + left_ms, until), "seconds",
                     (json_int_t)(left_ms + 999) / 1000, "why", ban_why_text(ban->why));
}

static json_t *clients_json(struct ban *list, size_t count, uint64_t now_ms)
{
    json_t *clients = json_array();
    uint64_t wall_ms = clock_wall_ms();
    qsort(list, count, sizeof *list, ban_compare);
    for (size_t i = 0; i < count && i < BANS_TOLD_MAX; i++)
        json_array_append_new(clients, ban_json(&list[i], now_ms, wall_ms));
    return clients;
}

/* How many; -1: it names nobody. */
static json_int_t lift(struct bans *bans, const char *what, struct ban *list, uint64_t now_ms)
{
    json_int_t lifted = 0;
    char text[BAN_TEXT_BYTES];
    if (strcmp(what, "all") != 0) {
        uint64_t client = ban_client_parse(what);
        if (!client)
            return -1;
        lifted = bans_lift(bans, client, now_ms);
        what = ban_client_text(client, text);
    } else {
        size_t count = bans_list(bans, list, LIST_MAX, now_ms);
        for (size_t i = 0; i < count && i < LIST_MAX; i++)
            lifted += bans_lift(bans, list[i].client, now_ms);
    }
    if (lifted)
        log_info("bans-lifted", "client=%s count=%lld", what, (long long)lifted);
    return lifted;
}

json_t *bans_document(struct supervisor *supervisor, const json_t *request, const char **ret_error)
{
    struct bans *bans = front_bans(supervisor->front);
    const char *what = json_string_value(json_object_get(request, "lift"));
    uint64_t now_ms = clock_monotonic_ms();
    struct ban *list = bans ? malloc(LIST_MAX * sizeof *list) : NULL;
    if (!list) {
        *ret_error = bans ? "no memory" : "there is no gateway, so nobody is banned";
        return NULL;
    }
    json_int_t lifted = what ? lift(bans, what, list, now_ms) : 0;
    json_t *document = NULL;
    if (lifted >= 0) {
        size_t count = bans_list(bans, list, LIST_MAX, now_ms);
        document = json_pack("{s:I, s:I, s:I, s:o}", "count", (json_int_t)count, "made",
                             (json_int_t)bans_made(bans), "lifted", lifted, "clients",
                             clients_json(list, count < LIST_MAX ? count : LIST_MAX, now_ms));
    } else {
        *ret_error = "that is no client's address";
    }
    free(list);
    return document;
}
