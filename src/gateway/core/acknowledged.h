/* How much of what was sent the other side has taken: the kernel's buffer of a connection is large,
 * and whoever reads slowly makes no room in it for a long time. What is seen is what its kernel has
 * taken, which over a closed window shows in steps of up to a packet. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Bytes that were acknowledged since the connection began. Of a Unix socket a number that grows as
 * the other side reads, as long as nothing more is sent. */
uint64_t acknowledged_bytes(int fd);
/* Nothing that was sent is on its way any more. Of a Unix socket it never is. */
bool acknowledged_all(int fd);

enum { TAKING_LOOKS = 4 }; /* in the time that it may take nothing */

/* The watch over one who is sent something, and may not take nothing of it for some time. */
struct taking {
    uint64_t bytes;   /* acknowledged, when it was looked at last */
    uint64_t last_ms; /* when it was seen last to take something */
};

/* It is sent something, or takes something. */
void taking_note(struct taking *taking, int fd, uint64_t now_ms);
/* Looks whether it has taken something since it was looked at last. */
void taking_look(struct taking *taking, int fd, uint64_t now_ms);
/* Looks. Has it taken nothing for `limit_ms`? */
bool taking_stopped(struct taking *taking, int fd, uint64_t now_ms, uint32_t limit_ms);
/* After which it is to be looked at again. */
uint32_t taking_pause_ms(uint32_t limit_ms);
