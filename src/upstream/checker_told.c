#include "upstream/checker_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/scoped.h"
#include "upstream/address_text.h"
#include "upstream/role_answer.h"

/* ---- what is found -------------------------------------------------------------------------- */

static void remote_log(const struct target *target, const char *why)
{
    char address[ADDRESS_TEXT_BYTES];
    char reason[CHECK_WHY_BYTES];
    address_text((const struct sockaddr *)&target->address, address);
    if (target->verdict == VERDICT_ILL)
        log_warn("remote-ill", "service=%s endpoint=%s why=%s", target->checked->name, address,
                 log_text(why, reason, sizeof reason));
    else
        log_info("remote-well", "service=%s endpoint=%s", target->checked->name, address);
}

/* Where the address stands now: the list may have changed since the check began. */
static void remote_tell(const struct target *target, bool ill)
{
    const struct checker *checker = target->checked->checker;
    struct resolved_address addresses[RESOLVE_ADDRESSES_MAX];
    uint32_t version;
    uint32_t count = resolved_read(checker->resolved, target->place, addresses, &version);
    for (uint32_t i = 0; i < count; i++)
        if (addresses[i].length == target->address_length &&
            memcmp(&addresses[i].address, &target->address, target->address_length) == 0)
            resolver_health_set(checker->resolver, target->place, i, ill);
}

/* Does the board show what was found? */
static bool instance_shows(const struct target *target, bool well)
{
    const struct board_instance *instance =
        board_instance(target->checked->checker->board, target->slot);
    uint32_t state = atomic_load_explicit(&instance->state, memory_order_acquire);
    return well ? state != BOARD_STARTING : state != BOARD_UP;
}

static void target_tell(struct target *target, const char *why)
{
    const struct checker *checker = target->checked->checker;
    bool well = target->verdict == VERDICT_WELL;
    if (target->slot == BOARD_NONE) {
        remote_log(target, why);
        remote_tell(target, !well);
        return;
    }
    checker->instance(checker->owner, target->slot, target->epoch, well, well ? "" : why);
}

static void target_count(const struct target *target, bool well)
{
    const struct checker *checker = target->checked->checker;
    struct tally_endpoint *counts = tally_endpoint(checker->tally, checker->thread, target->row);
    tally_add(&counts->checks, 1);
    if (!well)
        tally_add(&counts->checks_failed, 1);
}

static void health_judge(struct target *target, bool well, const char *why)
{
    const struct service *service = target->checked->service;
    uint32_t rise = service->check_rise ? service->check_rise : 1;
    uint32_t fall = checked_fall(target->checked);
    target->good = well ? target->good + 1 : 0;
    target->bad = well ? 0 : target->bad + 1;
    enum verdict before = target->verdict;
    if (target->good >= rise)
        target->verdict = VERDICT_WELL;
    else if (target->bad >= fall)
        target->verdict = VERDICT_ILL;
    target->was_well = target->was_well || target->verdict == VERDICT_WELL;
    bool decided = well ? target->good >= rise : target->bad >= fall;
    bool again = target->slot != BOARD_NONE && !instance_shows(target, well);
    if (decided && (before != target->verdict || again))
        target_tell(target, why);
}

/* ---- roles ----------------------------------------------------------------------------------- */

static void remote_role_give(struct target *target, enum endpoint_role role)
{
    const struct checker *checker = target->checked->checker;
    struct resolved_address addresses[RESOLVE_ADDRESSES_MAX];
    char text[ADDRESS_TEXT_BYTES];
    uint32_t version;
    uint32_t count = resolved_read(checker->resolved, target->place, addresses, &version);
    for (uint32_t i = 0; i < count; i++)
        if (addresses[i].length == target->address_length &&
            memcmp(&addresses[i].address, &target->address, target->address_length) == 0)
            resolver_role_set(checker->resolver, target->place, i, role);
    if (target->given == role)
        return;
    address_text((const struct sockaddr *)&target->address, text);
    const char *name = endpoint_role_name(role);
    const char *was = endpoint_role_name(target->given);
    if (role == ROLE_DEPOSED)
        log_warn("primary-deposed", "service=%s endpoint=%s why=\"another one is the primary\"",
                 target->checked->name, text);
    else
        log_info("remote-role", "service=%s endpoint=%s role=%s was=%s", target->checked->name,
                 text, name ? name : "unknown", was ? was : "unknown");
    target->given = role;
}

static void remote_roles_settle(struct checked *checked)
{
    uint32_t count = 0;
    uint32_t at = 0;
    struct target *target;
    LIST_FOREACH (target, &checked->targets, next)
        count++;
    scoped_memory struct claim **claims = count ? reallocarray(NULL, count, sizeof *claims) : NULL;
    if (!claims) /* no memory: with the next answer */
        return;
    LIST_FOREACH (target, &checked->targets, next)
        claims[at++] = &target->claim;
    uint32_t first = primacy_judge(&checked->primacy, claims, count);
    at = 0;
    /* The one that is no more goes first, so that there are never two. */
    for (int primary = 0; primary < 2; primary++, at = 0)
        LIST_FOREACH (target, &checked->targets, next) {
            if ((at == first) == primary)
                remote_role_give(target, claim_role(&target->claim, at == first));
            at++;
        }
}

/* Does the board show what it said last? */
static bool role_shows(const struct target *target)
{
    const struct board_instance *row =
        board_instance(target->checked->checker->board, target->slot);
    enum endpoint_role shown = __atomic_load_n(&row->role, __ATOMIC_RELAXED);
    if (target->claim.role != ROLE_PRIMARY)
        return shown == target->claim.role;
    return (shown == ROLE_PRIMARY || shown == ROLE_DEPOSED) &&
           __atomic_load_n(&row->term, __ATOMIC_RELAXED) == target->claim.term;
}

static void role_judge(struct target *target, bool well, const char *text)
{
    struct checked *checked = target->checked;
    const struct checker *checker = checked->checker;
    struct role_answer answer;
    well = well && role_answer_word(text, strlen(text), &answer);
    target->good = well ? target->good + 1 : 0;
    target->bad = well ? 0 : target->bad + 1;
    if (!well && target->bad < checked_fall(checked))
        return;
    target->verdict = well ? VERDICT_WELL : VERDICT_ILL;
    target->was_well |= well;
    claim_take(&target->claim, well ? &answer : NULL, &checked->primacy);
    if (target->slot == BOARD_NONE)
        remote_roles_settle(checked);
    else if (!role_shows(target))
        checker->role(checker->owner, target->slot, target->epoch, well ? text : "",
                      well ? "" : text);
}

void target_judge(struct target *target, bool well, const char *why)
{
    if (target->checked->role) {
        role_judge(target, well, why);
    } else {
        target_count(target, well);
        health_judge(target, well, why);
    }
}

void target_unsay(struct target *target)
{
    if (!target->checked->role && target->verdict == VERDICT_ILL)
        remote_tell(target, false); /* as good as any */
    else if (target->checked->role)
        remote_role_give(target, ROLE_NONE);
}
