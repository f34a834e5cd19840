/* The PROXY protocol's header, versions 1 and 2 (HAProxy's doc/proxy-protocol.txt): reading it from
 * a proxy in front, writing it to an endpoint. Pure. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { PROXY_HEADER_BYTES_MAX = 536 }; /* v2 with TLVs beyond this is refused; v1 has 107 */

enum proxy_result { PROXY_MORE, PROXY_DONE, PROXY_BAD };

struct proxy_header {
    bool known; /* false: LOCAL or UNKNOWN: keep the connection's own addresses */
    struct sockaddr_storage source;
    struct sockaddr_storage destination;
};

/* *ret_length: bytes of the header. */
enum proxy_result proxy_header_read(const void *bytes, size_t length,
                                    struct proxy_header *ret_header, size_t *ret_length);
/* Bytes written (at most PROXY_HEADER_BYTES_MAX); `version` 1 or 2. */
size_t proxy_header_write(int version, const struct sockaddr_storage *source,
                          const struct sockaddr_storage *destination, void *ret_bytes);
