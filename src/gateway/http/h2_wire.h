/* What both ends of HTTP/2 have in common, whoever the other side is — a client (h2_connection.h)
 * or an endpoint (h2_link.h): a session of libnghttp2 on a stream, and when it sends.
 *
 * Nobody sends at once: who has something to send puts the wire in line (h2_resume), and at the end
 * of the turn all frames that there are go out in one write. So libnghttp2 is never entered from
 * its own callbacks, and nothing is freed while somebody is in it: `dead` is set, and whoever
 * leaves last frees it. One worker. */
#pragma once

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "gateway/core/stream.h"
#include "gateway/core/worker.h"
#include "gateway/http/h2_output.h"

enum {
    H2_TURN_BYTES = 512 * 1024, /* sent, before others have their turn */
    H2_READS_A_TURN = 4,
    H2_QUEUE_MAX = 1024, /* frames that wait: past it, nothing is read */
    H2_ACKS_MAX = 2500,  /* answers to PING and SETTINGS that wait; the bucket is empty before */
};

struct h2_wire;

struct h2_wire_kind {
    void (*go_on)(struct h2_wire *wire); /* at the end of a turn: everything that waits for it */
    void (*streams_go_on)(struct h2_wire *wire); /* a write has made room: they bring more */
    void (*wait)(struct h2_wire *wire); /* the socket is full: there is a deadline from now on */
    void (*free)(struct h2_wire *wire); /* it is dead, and nobody is in it */
};

struct h2_wire { /* embedded first */
    const struct h2_wire_kind *kind;
    struct worker *worker;
    struct stream stream;
    nghttp2_session *session;
    struct h2_wire *resume_next;
    char *pending; /* what the socket did not take */
    uint32_t pending_length, pending_sent;
    uint64_t sent_ms; /* when the socket last took something, while something is pending */
    bool busy : 1;    /* somebody is in it */
    bool queued : 1;  /* goes on at the end of this turn */
    bool dead : 1;
    bool broken : 1; /* the other side is gone */
    bool full : 1;   /* the output has no room for the next frame */
};

static inline void h2_enter(struct h2_wire *wire)
{
    wire->busy = true;
}
void h2_leave(struct h2_wire *wire);
void h2_free_if_dead(struct h2_wire *wire);
void h2_resume(struct h2_wire *wire);

/* What the other side does not take in is not added to without end. */
bool h2_crowded(const struct h2_wire *wire);

/* For the send_data callback: a DATA frame's head, and so many of the block's bytes, behind what
 * goes out next. 0 or NGHTTP2_ERR_WOULDBLOCK. */
int h2_wire_data(struct h2_wire *wire, const uint8_t *head, struct h2_block *block, size_t length);
/* Sends what there is. 0: all of it; -EAGAIN: the socket is full, or others are to have their turn;
 * -errno. */
int h2_wire_flush(struct h2_wire *wire);
/* What the kind's `free` ends with: the session, and what was pending. */
void h2_wire_done(struct h2_wire *wire);

/* ---- held ---- */

/* What came on a stream and was not taken yet; as long as the window lets it be. */
struct h2_held {
    char *bytes;
    uint32_t length, room;
};
int h2_held_put(struct h2_held *held, const char *bytes, size_t length); /* 0 or -ENOMEM */
void h2_held_took(struct h2_held *held, size_t length);
void h2_held_done(struct h2_held *held);

/* ---- floods ---- */

/* Two buckets, filled by time. Of resets: a stream that ends by RST_STREAM, the other side's or
 * ours (it can make us send them by broken frames), costs one; so who opens streams and resets them
 * at once is sent away. Of control: each frame that asks for work and brings nothing (SETTINGS,
 * PING, PRIORITY, WINDOW_UPDATE, empty DATA, unknown ones) costs one; messages, and data that
 * flows, fill it, since they come with such frames by right. */
enum {
    H2_RESETS_BURST = 500,
    H2_RESETS_PER_SECOND = 50,
    H2_CONTROL_BURST = 2000,
    H2_CONTROL_PER_SECOND = 500,
};
struct h2_floods {
    int32_t resets_left;
    int32_t control_left;
    uint64_t refilled_ms;
};
/* Frames of types that nobody knows are ignored (RFC 9113 §4.1), but told of when they begin, which
 * libnghttp2 does only of those that it is asked for. */
void h2_extensions_tell(nghttp2_option *option);
int h2_extension_ignore(nghttp2_session *session, void **ret_payload, const nghttp2_frame_hd *head,
                        void *owner);
void h2_floods_init(struct h2_floods *floods, uint64_t now_ms);
/* False: that is too many. */
bool h2_floods_reset(struct h2_floods *floods, uint64_t now_ms);
bool h2_floods_control(struct h2_floods *floods, uint64_t now_ms);
void h2_floods_allow(struct h2_floods *floods, int32_t frames);
