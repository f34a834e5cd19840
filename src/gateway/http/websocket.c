#include "gateway/http/websocket.h"

#include <openssl/evp.h>

enum { KEY_RAW_BYTES = 16, SHA1_BYTES = 20 };

static const char identifier[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

void websocket_key_make(struct random_state *random, char key[WEBSOCKET_KEY_BYTES])
{
    unsigned char raw[KEY_RAW_BYTES], text[WEBSOCKET_KEY_BYTES + 1];
    for (int i = 0; i < KEY_RAW_BYTES; i += 8) {
        uint64_t number = random_next(random);
        memcpy(raw + i, &number, 8);
    }
    EVP_EncodeBlock(text, raw, KEY_RAW_BYTES);
    memcpy(key, text, WEBSOCKET_KEY_BYTES);
}

bool websocket_accepted(struct slice key, struct slice accept)
{
    char question[WEBSOCKET_KEY_BYTES + sizeof identifier];
    unsigned char digest[SHA1_BYTES], text[WEBSOCKET_ACCEPT_BYTES + 1];
    if (key.length != WEBSOCKET_KEY_BYTES || accept.length != WEBSOCKET_ACCEPT_BYTES)
        return false;
    memcpy(question, key.bytes, WEBSOCKET_KEY_BYTES);
    memcpy(question + WEBSOCKET_KEY_BYTES, identifier, sizeof identifier - 1);
    if (!EVP_Digest(question, WEBSOCKET_KEY_BYTES + sizeof identifier - 1, digest, NULL, EVP_sha1(),
                    NULL))
        return false;
    EVP_EncodeBlock(text, digest, SHA1_BYTES);
    return memcmp(text, accept.bytes, WEBSOCKET_ACCEPT_BYTES) == 0;
}
