#include "gateway/relay/wheel.h"

#include <assert.h>

static void wheel_turn(struct timer *timer);

void wheel_init(struct wheel *wheel, struct loop *loop, wheel_ask *ask)
{
    *wheel = (struct wheel){.loop = loop, .ask = ask};
}

static uint64_t tick_now(const struct wheel *wheel)
{
    return loop_now(wheel->loop) / WHEEL_TICK_MS;
}

/* Sleeps until the next slot in which somebody stands. */
static int wheel_sleep(struct wheel *wheel)
{
    if (!wheel->count)
        return 0;
    uint64_t tick = wheel->tick + 1;
    while (tick < wheel->tick + WHEEL_SLOTS && LIST_EMPTY(&wheel->slots[tick % WHEEL_SLOTS]))
        tick++;
    uint64_t due_ms = tick * WHEEL_TICK_MS;
    uint64_t now_ms = loop_now(wheel->loop);
    return timer_start(wheel->loop, &wheel->timer, due_ms > now_ms ? due_ms - now_ms : 0,
                       wheel_turn, wheel);
}

static uint64_t entry_put(struct wheel *wheel, struct wheel_entry *entry, uint64_t left_ms)
{
    uint64_t ticks = left_ms / WHEEL_TICK_MS + 1;
    if (ticks > WHEEL_SLOTS - 1)
        ticks = WHEEL_SLOTS - 1;
    uint64_t tick = tick_now(wheel) + ticks;
    LIST_INSERT_HEAD(&wheel->slots[tick % WHEEL_SLOTS], entry, next);
    return tick;
}

static void slot_ask(struct wheel *wheel, struct wheel_slot *slot)
{
    struct wheel_slot due = *slot;
    LIST_INIT(slot);
    if (!LIST_EMPTY(&due))
        LIST_FIRST(&due)->next.le_prev = &LIST_FIRST(&due);
    while (!LIST_EMPTY(&due)) { /* who is asked may remove others */
        struct wheel_entry *entry = LIST_FIRST(&due);
        LIST_REMOVE(entry, next);
        wheel->count--;
        uint64_t left_ms = wheel->ask(entry);
        if (left_ms == WHEEL_GONE)
            continue;
        wheel->count++;
        entry_put(wheel, entry, left_ms);
    }
}

static void wheel_turn(struct timer *timer)
{
    struct wheel *wheel = timer->owner;
    uint64_t now = tick_now(wheel);
    if (now - wheel->tick > WHEEL_SLOTS) /* we were kept from it for long */
        wheel->tick = now - WHEEL_SLOTS;
    while (wheel->tick < now)
        slot_ask(wheel, &wheel->slots[++wheel->tick % WHEEL_SLOTS]);
    wheel_sleep(wheel); /* has room: it was active */
}

int wheel_add(struct wheel *wheel, struct wheel_entry *entry, uint64_t left_ms)
{
    if (!wheel->count)
        wheel->tick = tick_now(wheel);
    wheel->count++;
    uint64_t tick = entry_put(wheel, entry, left_ms);
    if (timer_active(&wheel->timer) && wheel->timer.due_ms <= tick * WHEEL_TICK_MS)
        return 0;
    int error = wheel_sleep(wheel);
    if (error)
        wheel_remove(wheel, entry);
    return error;
}

void wheel_remove(struct wheel *wheel, struct wheel_entry *entry)
{
    LIST_REMOVE(entry, next);
    wheel->count--; /* the timer finds an empty slot, once */
}

struct wheel_entry *wheel_first(const struct wheel *wheel)
{
    for (size_t i = 0; i < WHEEL_SLOTS; i++)
        if (!LIST_EMPTY(&wheel->slots[i]))
            return LIST_FIRST(&wheel->slots[i]);
    return NULL;
}

void wheel_done(struct wheel *wheel)
{
    assert(!wheel->count);
    timer_stop(wheel->loop, &wheel->timer);
}
