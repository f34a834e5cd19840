/* An address for people, and as a name: "10.0.0.7:80", "[fd00::7]:80", "unix:/run/app". */
#pragma once

#include <sys/socket.h>

enum { ADDRESS_TEXT_BYTES = 120 }; /* "unix:" and the longest path */

/* AF_INET, AF_INET6 or AF_UNIX; returns `text`. */
const char *address_text(const struct sockaddr *address, char text[ADDRESS_TEXT_BYTES]);
