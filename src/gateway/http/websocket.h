/* The opening handshake of WebSocket (RFC 6455 §4) where we are its client: for those who open one
 * by HTTP/2, whose extended CONNECT (RFC 8441) has no key, to endpoints that speak HTTP/1.1. */
#pragma once

#include "base/random.h"
#include "gateway/http/head.h"

enum { WEBSOCKET_KEY_BYTES = 24, WEBSOCKET_ACCEPT_BYTES = 28 };

/* Sixteen bytes of chance, in base64. */
void websocket_key_make(struct random_state *random, char key[WEBSOCKET_KEY_BYTES]);
/* Is that what Sec-WebSocket-Accept must say to the key? */
bool websocket_accepted(struct slice key, struct slice accept);
