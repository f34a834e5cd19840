#include "gateway/core/generation.h"

void generation_ref(struct generation *generation)
{
    atomic_fetch_add_explicit(&generation->refs, 1, memory_order_relaxed);
}

void generation_unref(struct generation *generation)
{
    if (generation && atomic_fetch_sub_explicit(&generation->refs, 1, memory_order_acq_rel) == 1)
        generation->free(generation);
}
