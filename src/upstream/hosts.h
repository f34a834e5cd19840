/* The hosts file (hosts(5)), read once: for a process that cannot read files later. */
#pragma once

#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

enum { HOSTS_BYTES_MAX = 8 * 1024 * 1024, HOSTS_NAMES_MAX = 200000, HOST_NAME_BYTES = 256 };

struct hosts;

/* Of a file that is not there: no names. What is beyond the bounds is left out. NULL: no memory. */
struct hosts *hosts_read(const char *path);
/* Of text; it is copied. */
struct hosts *hosts_parse(const char *text, size_t length);
void hosts_free(struct hosts *hosts);
/* Addresses of the name (any case) in the order of the file, ports 0; their number, at most `max`.
 * The name localhost has 127.0.0.1 alone, whatever the file says: what listens on it is there
 * in practice, and the other address would fail every second time. */
size_t hosts_find(const struct hosts *hosts, const char *name,
                  struct sockaddr_storage *ret_addresses, size_t max);
