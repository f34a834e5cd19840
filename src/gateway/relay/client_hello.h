/* Reads the server name (SNI) out of a TLS ClientHello (RFC 8446 §4.1.2, RFC 6066 §3) without being
 * a TLS end, for TLS that is passed through. Pure; records and handshake fragments are followed up
 * to HELLO_BYTES_MAX. */
#pragma once

#include <stddef.h>

enum { HELLO_BYTES_MAX = 16 * 1024, HELLO_NAME_BYTES = 256 };

enum hello_result { HELLO_MORE, HELLO_DONE, HELLO_BAD };

/* HELLO_DONE with "": a ClientHello without a name. The name in lower case. */
enum hello_result client_hello_name(const void *bytes, size_t length,
                                    char ret_name[HELLO_NAME_BYTES]);
