#include "gateway/relay/proxy_header.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum {
    V1_BYTES_MAX = 107, /* with its CR LF */
    V2_HEAD_BYTES = 16,
    V2_INET_BYTES = 12,
    V2_INET6_BYTES = 36,
    V2_UNIX_BYTES = 216,
};

static const char v1_start[] = "PROXY ";
static const uint8_t v2_start[12] = {0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
                                     0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a};

/* ---- version 1: a line of text -------------------------------------------------------------- */

/* Cuts the next word off; words stand between single spaces. NULL: none is left. */
static char *word_cut(char **rest)
{
    char *word = *rest;
    if (!word)
        return NULL;
    char *space = strchr(word, ' ');
    *rest = space ? space + 1 : NULL;
    if (space)
        *space = 0;
    return *word ? word : NULL;
}

/* A decimal number without leading zeros, at most 65535; -1: not one. */
static int port_read(const char *word)
{
    int port = 0;
    if (!word || (word[0] == '0' && word[1]))
        return -1;
    for (const char *at = word; *at; at++) {
        if (*at < '0' || *at > '9')
            return -1;
        port = port * 10 + (*at - '0');
        if (port > UINT16_MAX)
            return -1;
    }
    return port;
}

static bool address_read(int family, const char *host, const char *port_word,
                         struct sockaddr_storage *ret_address)
{
    int port = port_read(port_word);
    if (!host || port < 0)
        return false;
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    *ret_address = (struct sockaddr_storage){0};
    if (family == AF_INET) {
        if (inet_pton(AF_INET, host, &four.sin_addr) != 1)
            return false;
        memcpy(ret_address, &four, sizeof four);
        return true;
    }
    if (inet_pton(AF_INET6, host, &six.sin6_addr) != 1)
        return false;
    memcpy(ret_address, &six, sizeof six);
    return true;
}

/* `line` without its end, 0-terminated. */
static enum proxy_result line_read(char *line, struct proxy_header *ret_header)
{
    char *rest = line + strlen(v1_start);
    const char *kind = word_cut(&rest);
    if (!kind)
        return PROXY_BAD;
    if (strcmp(kind, "UNKNOWN") == 0) /* whatever follows */
        return PROXY_DONE;
    int family = strcmp(kind, "TCP4") == 0 ? AF_INET : AF_INET6;
    if (family == AF_INET6 && strcmp(kind, "TCP6") != 0)
        return PROXY_BAD;
    const char *source = word_cut(&rest);
    const char *destination = word_cut(&rest);
    const char *source_port = word_cut(&rest);
    const char *destination_port = word_cut(&rest);
    if (rest || !address_read(family, source, source_port, &ret_header->source) ||
        !address_read(family, destination, destination_port, &ret_header->destination))
        return PROXY_BAD;
    ret_header->known = true;
    return PROXY_DONE;
}

static enum proxy_result v1_read(const char *bytes, size_t length, struct proxy_header *ret_header,
                                 size_t *ret_length)
{
    char line[V1_BYTES_MAX + 1];
    if (length > V1_BYTES_MAX)
        length = V1_BYTES_MAX;
    const char *end = memchr(bytes, '\n', length);
    if (!end)
        return length < V1_BYTES_MAX ? PROXY_MORE : PROXY_BAD;
    size_t line_length = (size_t)(end - bytes);
    if (line_length < strlen(v1_start) || end[-1] != '\r' || memchr(bytes, 0, line_length))
        return PROXY_BAD;
    memcpy(line, bytes, line_length - 1);
    line[line_length - 1] = 0;
    *ret_length = line_length + 1;
    return line_read(line, ret_header);
}

/* ---- version 2: binary ---------------------------------------------------------------------- */

static void inet_read(const uint8_t *block, struct proxy_header *ret_header)
{
    struct sockaddr_in source = {.sin_family = AF_INET};
    struct sockaddr_in destination = {.sin_family = AF_INET};
    memcpy(&source.sin_addr, block, 4);
    memcpy(&destination.sin_addr, block + 4, 4);
    memcpy(&source.sin_port, block + 8, 2);
    memcpy(&destination.sin_port, block + 10, 2);
    memcpy(&ret_header->source, &source, sizeof source);
    memcpy(&ret_header->destination, &destination, sizeof destination);
}

static void inet6_read(const uint8_t *block, struct proxy_header *ret_header)
{
    struct sockaddr_in6 source = {.sin6_family = AF_INET6};
    struct sockaddr_in6 destination = {.sin6_family = AF_INET6};
    memcpy(&source.sin6_addr, block, 16);
    memcpy(&destination.sin6_addr, block + 16, 16);
    memcpy(&source.sin6_port, block + 32, 2);
    memcpy(&destination.sin6_port, block + 34, 2);
    memcpy(&ret_header->source, &source, sizeof source);
    memcpy(&ret_header->destination, &destination, sizeof destination);
}

/* The address block; what follows it (TLVs) is passed over. */
static enum proxy_result block_read(uint8_t kind, const uint8_t *block, size_t length,
                                    struct proxy_header *ret_header)
{
    switch (kind) {
    case 0x11: /* TCP over IPv4 */
    case 0x12: /* UDP */
        if (length < V2_INET_BYTES)
            return PROXY_BAD;
        inet_read(block, ret_header);
        ret_header->known = true;
        return PROXY_DONE;
    case 0x21: /* over IPv6 */
    case 0x22:
        if (length < V2_INET6_BYTES)
            return PROXY_BAD;
        inet6_read(block, ret_header);
        ret_header->known = true;
        return PROXY_DONE;
    case 0x31: /* Unix sockets: there is no address to pass on */
    case 0x32:
        return length < V2_UNIX_BYTES ? PROXY_BAD : PROXY_DONE;
    case 0x00: /* unspecified */
        return PROXY_DONE;
    default:
        return PROXY_BAD;
    }
}

static enum proxy_result v2_read(const uint8_t *bytes, size_t length,
                                 struct proxy_header *ret_header, size_t *ret_length)
{
    if (length < V2_HEAD_BYTES)
        return PROXY_MORE;
    uint8_t command = bytes[12];
    size_t block_length = (size_t)bytes[14] << 8 | bytes[15];
    if ((command & 0xf0) != 0x20 || (command & 0x0f) > 1 ||
        V2_HEAD_BYTES + block_length > PROXY_HEADER_BYTES_MAX)
        return PROXY_BAD;
    if (length < V2_HEAD_BYTES + block_length)
        return PROXY_MORE;
    *ret_length = V2_HEAD_BYTES + block_length;
    if ((command & 0x0f) == 0) /* LOCAL: of the proxy itself, e.g. its health check */
        return PROXY_DONE;
    return block_read(bytes[13], bytes + V2_HEAD_BYTES, block_length, ret_header);
}

static bool starts(const void *bytes, size_t length, const void *start, size_t start_length)
{
    return memcmp(bytes, start, length < start_length ? length : start_length) == 0;
}

enum proxy_result proxy_header_read(const void *bytes, size_t length,
                                    struct proxy_header *ret_header, size_t *ret_length)
{
    *ret_header = (struct proxy_header){0};
    if (!length)
        return PROXY_MORE;
    if (starts(bytes, length, v2_start, sizeof v2_start))
        return v2_read(bytes, length, ret_header, ret_length);
    if (starts(bytes, length, v1_start, strlen(v1_start)))
        return v1_read(bytes, length, ret_header, ret_length);
    return PROXY_BAD;
}

/* ---- writing -------------------------------------------------------------------------------- */

/* IPv4 in an IPv6 address (a listener of both shows clients so) as what it is. */
static struct sockaddr_storage unmapped(const struct sockaddr_storage *address)
{
    const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)address;
    struct sockaddr_storage result = *address;
    if (address->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
        struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = six->sin6_port};
        memcpy(&four.sin_addr, &six->sin6_addr.s6_addr[12], 4);
        memcpy(&result, &four, sizeof four);
    }
    return result;
}

static size_t v1_write(const struct sockaddr_storage *source,
                       const struct sockaddr_storage *destination, char *out)
{
    char hosts[2][INET6_ADDRSTRLEN];
    const struct sockaddr_in *four[] = {(const struct sockaddr_in *)source,
                                        (const struct sockaddr_in *)destination};
    const struct sockaddr_in6 *six[] = {(const struct sockaddr_in6 *)source,
                                        (const struct sockaddr_in6 *)destination};
    const bool is_four = source->ss_family == AF_INET;
    for (int i = 0; i < 2; i++) {
        if (is_four)
            inet_ntop(AF_INET, &four[i]->sin_addr, hosts[i], sizeof hosts[i]);
        else
            inet_ntop(AF_INET6, &six[i]->sin6_addr, hosts[i], sizeof hosts[i]);
    }
    /* Ports lie at the same place in both. */
    int length =
        snprintf(out, V1_BYTES_MAX + 1, "PROXY %s %s %s %u %u\r\n", is_four ? "TCP4" : "TCP6",
                 hosts[0], hosts[1], ntohs(four[0]->sin_port), ntohs(four[1]->sin_port));
    return (size_t)length;
}

static size_t v2_write(const struct sockaddr_storage *source,
                       const struct sockaddr_storage *destination, uint8_t *out)
{
    const struct sockaddr_in *four[] = {(const struct sockaddr_in *)source,
                                        (const struct sockaddr_in *)destination};
    const struct sockaddr_in6 *six[] = {(const struct sockaddr_in6 *)source,
                                        (const struct sockaddr_in6 *)destination};
    const bool is_four = source->ss_family == AF_INET;
    const size_t address_bytes = is_four ? 4 : 16;
    uint8_t *at = out + V2_HEAD_BYTES;
    for (int i = 0; i < 2; i++) {
        if (is_four)
            memcpy(at, &four[i]->sin_addr, address_bytes);
        else
            memcpy(at, &six[i]->sin6_addr, address_bytes);
        at += address_bytes;
    }
    for (int i = 0; i < 2; i++) {
        memcpy(at, &four[i]->sin_port, 2);
        at += 2;
    }
    memcpy(out, v2_start, sizeof v2_start);
    out[12] = 0x21; /* version 2, PROXY */
    out[13] = is_four ? 0x11 : 0x21;
    out[14] = 0;
    out[15] = is_four ? V2_INET_BYTES : V2_INET6_BYTES;
    return (size_t)(at - out);
}

/* Addresses that cannot be told. */
static size_t unknown_write(int version, uint8_t *out)
{
    static const char line[] = "PROXY UNKNOWN\r\n";
    if (version == 1) {
        memcpy(out, line, strlen(line));
        return strlen(line);
    }
    memcpy(out, v2_start, sizeof v2_start);
    memcpy(out + sizeof v2_start, (const uint8_t[]){0x20, 0, 0, 0}, 4); /* LOCAL */
    return V2_HEAD_BYTES;
}

size_t proxy_header_write(int version, const struct sockaddr_storage *source,
                          const struct sockaddr_storage *destination, void *ret_bytes)
{
    assert(version == 1 || version == 2);
    const struct sockaddr_storage from = unmapped(source);
    const struct sockaddr_storage to = unmapped(destination);
    if (from.ss_family != to.ss_family || (from.ss_family != AF_INET && from.ss_family != AF_INET6))
        return unknown_write(version, ret_bytes);
    return version == 1 ? v1_write(&from, &to, ret_bytes) : v2_write(&from, &to, ret_bytes);
}
