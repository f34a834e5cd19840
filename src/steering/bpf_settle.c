/* Listeners that open: on kernels where a listener in the kernel's map does not answer its program
 * as it should (kernel/listeners.h), it goes there when the program waits for connections, which we
 * look for every few milliseconds while some listener is not there yet. */
#include "steering/bpf_private.h"

#include <stdio.h>

enum { SETTLE_FIRST_MS = 1, SETTLE_EVERY_MS = 4 };

static void settle_due(struct timer *timer)
{
    struct bpf_steering *steering = timer->owner;
    if (steer_settle(steering->steer))
        timer_start(steering->setup.loop, timer, SETTLE_EVERY_MS, settle_due, steering);
}

void bpf_settle_soon(struct bpf_steering *steering)
{
    if (!steering->settle.place)
        timer_start(steering->setup.loop, &steering->settle, SETTLE_FIRST_MS, settle_due, steering);
}

void bpf_slot_opens(struct bpf_steering *steering, struct slot *slot)
{
    slot->opens = true;
    bpf_settle_soon(steering);
}

void bpf_slot_hurry(struct bpf_steering *steering, struct slot *slot)
{
    if (!slot->opens || slot->heard_count > 0)
        return;
    slot->opens = false;
    steer_settle_slot(steering->steer, slot->instance.slot);
}

void bpf_settle_begin(struct bpf_steering *steering, char *why, size_t why_size)
{
    char reason[128];
    /* What opened while nobody attended, or the supervisor before us died. */
    bpf_settle_soon(steering);
    if (steer_listeners_answer(steering->steer, reason, sizeof reason))
        return;
    int error = steer_attend(steering->steer);
    snprintf(why, why_size, "%s, so recv on a listening socket says EAGAIN instead of ENOTCONN%s",
             reason, error ? "" : " once its program waits for connections, and never before");
}
