#include "gateway/relay/client_hello.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The wire, from the outside in: records (type 22, version, length) whose payloads joined are
 * handshake messages (type 1, 24 bits of length), one of which is the ClientHello: version, random,
 * session id, cipher suites, compressions, extensions. */

enum {
    RECORD_HEAD = 5,
    RECORD_HANDSHAKE = 22,
    RECORD_BYTES_MAX = 16 * 1024,
    MESSAGE_HEAD = 4,
    MESSAGE_CLIENT_HELLO = 1,
    EXTENSION_SERVER_NAME = 0,
    NAME_HOST = 0,
};

struct bytes { /* what is left to read; `bad` once more was asked for than there was */
    const uint8_t *at;
    size_t left;
    bool bad;
};

static const uint8_t *take(struct bytes *from, size_t length)
{
    static const uint8_t nothing[4];
    if (length > from->left) {
        from->bad = true;
        from->left = 0;
        return nothing;
    }
    const uint8_t *taken = from->at;
    from->at += length;
    from->left -= length;
    return taken;
}

static size_t take_number(struct bytes *from, size_t length)
{
    size_t number = 0;
    const uint8_t *bytes = take(from, length);
    for (size_t i = 0; i < length; i++)
        number = number << 8 | bytes[i];
    return number;
}

/* A part that begins with its own length, in so many bytes. */
static struct bytes take_part(struct bytes *from, size_t length_bytes)
{
    size_t length = take_number(from, length_bytes);
    const uint8_t *at = take(from, length);
    return (struct bytes){.at = at, .left = from->bad ? 0 : length, .bad = from->bad};
}

/* ---- the name ------------------------------------------------------------------------------- */

/* Letters, digits, dots, hyphens, underscores: what a name that is looked up may be. */
static bool name_read(const struct bytes *name, char ret_name[HELLO_NAME_BYTES])
{
    size_t length = name->left;
    if (length && name->at[length - 1] == '.') /* an absolute name is the same name */
        length--;
    if (!length || length >= HELLO_NAME_BYTES)
        return false;
    for (size_t i = 0; i < length; i++) {
        char byte = (char)name->at[i];
        if (byte >= 'A' && byte <= 'Z')
            byte = (char)(byte - 'A' + 'a');
        bool good = (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '.' ||
                    byte == '-' || byte == '_';
        if (!good)
            return false;
        ret_name[i] = byte;
    }
    ret_name[length] = 0;
    return true;
}

static enum hello_result server_name_read(struct bytes extension, char ret_name[HELLO_NAME_BYTES])
{
    struct bytes list = take_part(&extension, 2);
    while (!list.bad && list.left) {
        size_t kind = take_number(&list, 1);
        struct bytes name = take_part(&list, 2);
        if (list.bad)
            break;
        if (kind == NAME_HOST)
            return name_read(&name, ret_name) ? HELLO_DONE : HELLO_BAD;
    }
    return list.bad ? HELLO_BAD : HELLO_DONE;
}

static enum hello_result hello_read(struct bytes hello, char ret_name[HELLO_NAME_BYTES])
{
    take(&hello, 2 + 32); /* version, random */
    take_part(&hello, 1); /* session id */
    take_part(&hello, 2); /* cipher suites */
    take_part(&hello, 1); /* compressions */
    if (hello.bad)
        return HELLO_BAD;
    if (!hello.left) /* an old client, without extensions */
        return HELLO_DONE;
    struct bytes extensions = take_part(&hello, 2);
    while (!extensions.bad && extensions.left) {
        size_t kind = take_number(&extensions, 2);
        struct bytes extension = take_part(&extensions, 2);
        if (!extensions.bad && kind == EXTENSION_SERVER_NAME)
            return server_name_read(extension, ret_name);
    }
    return extensions.bad ? HELLO_BAD : HELLO_DONE;
}

/* ---- records -------------------------------------------------------------------------------- */

/* Joins the payloads of the records that are there, the last as far as it is. The bytes joined, or
 * -1: it is not TLS. */
static long records_join(struct bytes records, uint8_t *joined)
{
    size_t length = 0;
    while (records.left) {
        /* Each byte of the head is judged as soon as it is there. */
        if (records.at[0] != RECORD_HANDSHAKE || (records.left > 1 && records.at[1] != 3))
            return -1;
        if (records.left < RECORD_HEAD)
            break;
        const uint8_t *head = take(&records, RECORD_HEAD);
        size_t payload = (size_t)head[3] << 8 | head[4];
        if (!payload || payload > RECORD_BYTES_MAX)
            return -1;
        if (payload > records.left)
            payload = records.left;
        memcpy(joined + length, take(&records, payload), payload);
        length += payload;
        /* What follows the whole message is not looked at. */
        if (length >= MESSAGE_HEAD &&
            length - MESSAGE_HEAD >= ((size_t)joined[1] << 16 | (size_t)joined[2] << 8 | joined[3]))
            break;
    }
    return (long)length;
}

enum hello_result client_hello_name(const void *bytes, size_t length,
                                    char ret_name[HELLO_NAME_BYTES])
{
    uint8_t joined[HELLO_BYTES_MAX];
    const bool full = length >= HELLO_BYTES_MAX;
    const struct bytes records = {.at = bytes, .left = full ? HELLO_BYTES_MAX : length};
    ret_name[0] = 0;
    long count = records_join(records, joined);
    if (count < 0 || (count > 0 && joined[0] != MESSAGE_CLIENT_HELLO))
        return HELLO_BAD;
    struct bytes message = {.at = joined, .left = (size_t)count};
    take(&message, 1);
    size_t hello_length = take_number(&message, 3);
    if (!message.bad && hello_length > HELLO_BYTES_MAX - MESSAGE_HEAD - RECORD_HEAD)
        return HELLO_BAD;
    if (message.bad || hello_length > message.left)
        return full ? HELLO_BAD : HELLO_MORE;
    message.left = hello_length;
    enum hello_result result = hello_read(message, ret_name);
    if (result != HELLO_DONE)
        ret_name[0] = 0;
    return result;
}
