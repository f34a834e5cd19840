#include "supervise/scaler.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double tolerance = 0.1;

/* ---- what each rule asks for ------------------------------------------------------------------
 */

struct wish {
    uint32_t wanted;
    char why[SCALER_WHY_BYTES];
};

static void wish_raise(struct wish *wish, uint32_t wanted, const char *what, double figure,
                       double mark, const char *unit)
{
    if (wanted < wish->wanted || (wanted == wish->wanted && wish->why[0]))
        return;
    wish->wanted = wanted;
    snprintf(wish->why, sizeof wish->why, "%s %.0f%s, mark %.0f%s", what, figure, unit, mark, unit);
}

/* So many that each has its share of what there is now. */
static void share_wish(struct wish *wish, const struct scaler_look *look, const char *what,
                       double figure, double mark, const char *unit)
{
    if (mark <= 0)
        return;
    double ratio = figure / mark;
    uint32_t wanted = look->wanted;
    if (ratio > 1 + tolerance || ratio < 1 - tolerance)
        wanted = (uint32_t)ceil((double)look->up * ratio - 1e-9);
    wish_raise(wish, wanted, what, figure, mark, unit);
}

/* Latency says that there are too few, not how many would do: step by step. */
static void latency_wish(struct wish *wish, const struct service_scale *rules,
                         const struct scaler_look *look)
{
    if (!rules->latency_us)
        return;
    double mark = (double)rules->latency_us;
    uint32_t wanted = look->wanted;
    if (!look->timed)
        wanted = 0;
    else if (look->latency_us > mark)
        wanted += wanted / 4 + 1;
    else if (look->latency_us < mark / 2 && wanted)
        wanted--;
    wish_raise(wish, wanted, "latency", look->latency_us / 1000, mark / 1000, "ms");
}

static void queue_wish(struct wish *wish, const struct service_scale *rules,
                       const struct scaler_look *look)
{
    if (!rules->queue)
        return;
    uint32_t wanted = look->held > rules->queue ? look->wanted + look->wanted / 4 + 1
                      : look->held > 0          ? look->wanted
                      : look->wanted            ? look->wanted - 1
                                                : 0;
    wish_raise(wish, wanted, "waiting", look->held, rules->queue, "");
}

static struct wish wish_of(const struct service_scale *rules, const struct scaler_look *look)
{
    struct wish wish = {0};
    share_wish(&wish, look, "cpu", look->cpu_percent, rules->cpu_percent, "%");
    share_wish(&wish, look, "memory", look->memory_percent, rules->memory_percent, "%");
    share_wish(&wish, look, "connections", look->connections, rules->connections, "");
    latency_wish(&wish, rules, look);
    queue_wish(&wish, rules, look);
    if (wish.wanted < rules->low || wish.wanted < 1)
        wish.wanted = rules->low ? rules->low : 1; /* sleeping is another matter */
    if (wish.wanted > rules->high)
        wish.wanted = rules->high;
    return wish;
}

/* ---- when it is done --------------------------------------------------------------------------
 */

static void answer(struct scaler_answer *ret_answer, uint32_t wanted, const char *why)
{
    ret_answer->wanted = wanted;
    snprintf(ret_answer->why, sizeof ret_answer->why, "%s", why);
}

static bool rise(struct scaler *scaler, const struct scaler_look *look, const struct wish *wish,
                 struct scaler_answer *ret_answer)
{
    if (wish->wanted <= look->wanted) {
        scaler->above_ms = 0;
        return false;
    }
    if (!scaler->above_ms)
        scaler->above_ms = look->now_ms;
    if (look->now_ms - scaler->above_ms < SCALER_RISE_MS || look->up < look->wanted)
        return true;
    uint32_t most = look->wanted * 2;
    scaler->above_ms = 0;
    answer(ret_answer, wish->wanted < most ? wish->wanted : most, wish->why);
    return true;
}

static void fall(struct scaler *scaler, const struct service_scale *rules,
                 const struct scaler_look *look, const struct wish *wish,
                 struct scaler_answer *ret_answer)
{
    if (wish->wanted >= look->wanted) {
        scaler->below_ms = 0;
        return;
    }
    if (!scaler->below_ms) {
        scaler->below_ms = look->now_ms;
        scaler->below_most = 0;
    }
    if (wish->wanted > scaler->below_most)
        scaler->below_most = wish->wanted;
    if (look->now_ms - scaler->below_ms < rules->cool_down_ms)
        return;
    uint32_t least = look->wanted - look->wanted / 2;
    uint32_t wanted = scaler->below_most > least ? scaler->below_most : least;
    if (wanted == look->wanted) /* of one, half is one */
        wanted = scaler->below_most;
    scaler->below_ms = 0;
    answer(ret_answer, wanted, wish->why[0] ? wish->why : "little to do");
}

/* True: it is asleep, or falls asleep. */
static bool doze(struct scaler *scaler, const struct service_scale *rules,
                 const struct scaler_look *look, struct scaler_answer *ret_answer)
{
    if (look->wanted == 0)
        return true;
    if (look->active || !scaler->quiet_ms)
        scaler->quiet_ms = look->now_ms;
    if (rules->low || look->wanted > 1 || look->up < 1 || !rules->idle_ms ||
        look->now_ms - scaler->quiet_ms < rules->idle_ms)
        return false;
    answer(ret_answer, 0, "idle");
    *scaler = (struct scaler){0};
    return true;
}

void scaler_step(struct scaler *scaler, const struct service_scale *rules,
                 const struct scaler_look *look, struct scaler_answer *ret_answer)
{
    answer(ret_answer, look->wanted, "");
    if (doze(scaler, rules, look, ret_answer))
        return;
    struct wish wish = wish_of(rules, look);
    uint32_t least = rules->low ? rules->low : 1;
    uint32_t ceiling = look->ceiling > least ? look->ceiling : least;
    if (look->wanted > ceiling) {
        scaler->above_ms = scaler->below_ms = 0;
        answer(ret_answer, ceiling, "the cluster's quota is short");
        return;
    }
    if (wish.wanted > ceiling)
        wish.wanted = ceiling;
    if (!rise(scaler, look, &wish, ret_answer))
        fall(scaler, rules, look, &wish, ret_answer);
    else
        scaler->below_ms = 0;
}
