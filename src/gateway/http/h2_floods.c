#include "gateway/http/h2_wire.h"

enum { EXTENSION_FIRST = NGHTTP2_CONTINUATION + 1, EXTENSION_LAST = 255 };
enum { REFILL_MS_MIN = 100, REFILL_MS_MAX = 60000 };

void h2_floods_init(struct h2_floods *floods, uint64_t now_ms)
{
    *floods = (struct h2_floods){H2_RESETS_BURST, H2_CONTROL_BURST, now_ms};
}

static void fill(struct h2_floods *floods, uint64_t now_ms)
{
    uint64_t passed_ms = now_ms - floods->refilled_ms;
    if (passed_ms < REFILL_MS_MIN)
        return;
    if (passed_ms > REFILL_MS_MAX)
        passed_ms = REFILL_MS_MAX;
    floods->refilled_ms = now_ms;
    floods->resets_left += (int32_t)(passed_ms * H2_RESETS_PER_SECOND / 1000);
    floods->control_left += (int32_t)(passed_ms * H2_CONTROL_PER_SECOND / 1000);
    if (floods->resets_left > H2_RESETS_BURST)
        floods->resets_left = H2_RESETS_BURST;
    if (floods->control_left > H2_CONTROL_BURST)
        floods->control_left = H2_CONTROL_BURST;
}

bool h2_floods_reset(struct h2_floods *floods, uint64_t now_ms)
{
    fill(floods, now_ms);
    return --floods->resets_left >= 0;
}

bool h2_floods_control(struct h2_floods *floods, uint64_t now_ms)
{
    fill(floods, now_ms);
    return --floods->control_left >= 0;
}

void h2_floods_allow(struct h2_floods *floods, int32_t frames)
{
    if (floods->control_left < H2_CONTROL_BURST)
        floods->control_left += frames;
}

void h2_extensions_tell(nghttp2_option *option)
{
    for (unsigned type = EXTENSION_FIRST; type <= EXTENSION_LAST; type++)
        nghttp2_option_set_user_recv_extension_type(option, (uint8_t)type);
}

int h2_extension_ignore(nghttp2_session *session, void **ret_payload, const nghttp2_frame_hd *head,
                        void *owner)
{
    (void)session, (void)ret_payload, (void)head, (void)owner;
    return NGHTTP2_ERR_CANCEL;
}
