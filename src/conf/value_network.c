#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "conf/value_private.h"

enum { HOST_BYTES_MAX = 253, LABEL_BYTES_MAX = 63, FOUR_BITS = 96, NETWORK_BITS = 128 };

static bool port_read(const char *text, uint16_t *ret_port)
{
    static const struct value_spec spec = {.type = VALUE_PORT};
    uint64_t port;
    if (value_number_read(&spec, text, strlen(text), &port) != READING_DONE)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

static bool address_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                          struct value_problem *problem)
{
    static const struct value_spec port_spec = {.type = VALUE_PORT};
    char host[INET6_ADDRSTRLEN] = "*";
    const char *colon = strrchr(text, ':');
    const char *port_text = colon ? colon + 1 : text;
    struct value_address address = {.family = AF_UNSPEC};
    uint64_t port;
    if (colon) {
        bool brackets = text[0] == '[' && colon > text && colon[-1] == ']';
        size_t length = (size_t)(colon - text) - (brackets ? 2 : 0);
        if (length >= sizeof host)
            return value_wrong(spec, text, problem);
        snprintf(host, sizeof host, "%.*s", (int)length, text + brackets);
        if (brackets)
            address.family = AF_INET6;
        else if (strcmp(host, "*") != 0)
            address.family = AF_INET;
    }
    if (address.family != AF_UNSPEC && inet_pton(address.family, host, &address.v6) != 1)
        return value_wrong(spec, text, problem);
    enum reading reading = value_number_read(&port_spec, port_text, strlen(port_text), &port);
    if (reading == READING_WRONG)
        return value_wrong(spec, text, problem);
    if (reading != READING_DONE)
        return value_reading_finish(&port_spec, port_text, reading, problem);
    address.port = (uint16_t)port;
    ret_value->address = address;
    return true;
}

/* An address of either family, as 16 bytes; *ret_bits of them say nothing. False: it is none. */
static bool bytes_read(const char *text, size_t length, uint8_t address[16], uint8_t *ret_bits)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    char host[INET6_ADDRSTRLEN];
    if (length >= sizeof host)
        return false;
    memcpy(host, text, length);
    host[length] = 0;
    *ret_bits = 0;
    if (inet_pton(AF_INET6, host, address) == 1)
        return true;
    *ret_bits = FOUR_BITS;
    memcpy(address, mapped, sizeof mapped);
    return inet_pton(AF_INET, host, address + sizeof mapped) == 1;
}

/* The bits behind `length` that are set, taken away; true when there were any. */
static bool host_bits_clear(uint8_t address[16], unsigned length)
{
    bool any = false;
    for (unsigned bit = length; bit < NETWORK_BITS; bit++) {
        uint8_t mask = (uint8_t)(0x80 >> (bit % 8));
        any |= address[bit / 8] & mask;
        address[bit / 8] &= (uint8_t)~mask;
    }
    return any;
}

static bool network_shifted(const struct value_network *network, const char *text, bool four,
                            struct value_problem *problem)
{
    char shown[INET6_ADDRSTRLEN] = "";
    inet_ntop(four ? AF_INET : AF_INET6, network->address + (four ? 12 : 0), shown, sizeof shown);
    snprintf(problem->message, sizeof problem->message,
             "`%.*s` has bits beyond the network's length", VALUE_SHOWN_BYTES_MAX, text);
    snprintf(problem->hint, sizeof problem->hint, "the network is %s/%u", shown,
             network->length - (four ? FOUR_BITS : 0u));
    return false;
}

static bool network_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                          struct value_problem *problem)
{
    struct value_spec bits_spec = {.type = VALUE_INTEGER};
    struct value_network network;
    uint8_t skipped;
    size_t length = strcspn(text, "/");
    if (!bytes_read(text, length, network.address, &skipped))
        return value_wrong(spec, text, problem);
    uint64_t bits = bits_spec.high = (uint64_t)NETWORK_BITS - skipped;
    if (text[length] && value_number_read(&bits_spec, text + length + 1, strlen(text + length + 1),
                                          &bits) != READING_DONE)
        return value_wrong(spec, text, problem);
    network.length = (uint8_t)(skipped + bits);
    if (host_bits_clear(network.address, network.length))
        return network_shifted(&network, text, skipped != 0, problem);
    ret_value->network = network;
    return true;
}

/* Labels of letters, digits, `-` and `_`, with dots between them. */
static bool name_good(const char *text, size_t length)
{
    size_t label = 0;
    if (length && text[length - 1] == '.') /* of the root: the same name */
        length--;
    if (!length || length > HOST_BYTES_MAX)
        return false;
    for (size_t i = 0; i < length; i++) {
        label = text[i] == '.' ? 0 : label + 1;
        bool good = text[i] == '.'
                        ? i && text[i - 1] != '.'
                        : isalnum((unsigned char)text[i]) || text[i] == '-' || text[i] == '_';
        if (!good || label > LABEL_BYTES_MAX)
            return false;
    }
    return text[length - 1] != '.';
}

static bool six_good(const char *text, size_t length)
{
    uint8_t address[16], skipped;
    return length > 2 && text[0] == '[' && text[length - 1] == ']' &&
           bytes_read(text + 1, length - 2, address, &skipped) && !skipped;
}

static bool host_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                       struct value_problem *problem)
{
    const char *name = text[0] == '*' && text[1] == '.' ? text + 2 : text;
    size_t length = strlen(name);
    ret_value->text = text;
    return strcmp(text, "*") == 0 || name_good(name, length) || six_good(text, length) ||
           value_wrong(spec, text, problem);
}

static bool endpoint_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                           struct value_problem *problem)
{
    static const char prefix[] = "unix:";
    struct value_endpoint endpoint = {0};
    if (strncmp(text, prefix, strlen(prefix)) == 0) {
        endpoint.path = text + strlen(prefix);
        ret_value->endpoint = endpoint;
        return *endpoint.path || value_wrong(spec, text, problem);
    }
    const char *colon = strrchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : 0;
    bool six = six_good(text, length);
    if (!colon || !port_read(colon + 1, &endpoint.port) || (!six && !name_good(text, length)))
        return value_wrong(spec, text, problem);
    endpoint.host = text + six;
    endpoint.host_length = (uint16_t)(length - (six ? 2 : 0));
    ret_value->endpoint = endpoint;
    return true;
}

static bool bytes_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                        struct value_problem *problem)
{
    static const struct value_spec at_spec = {.type = VALUE_INTEGER, .high = UINT8_MAX};
    static const struct value_spec count_spec = {.type = VALUE_INTEGER, .low = 1, .high = 16};
    size_t length = strcspn(text, ":");
    uint64_t at, count;
    if (!text[length] || value_number_read(&at_spec, text, length, &at) != READING_DONE ||
        value_number_read(&count_spec, text + length + 1, strlen(text + length + 1), &count) !=
            READING_DONE)
        return value_wrong(spec, text, problem);
    ret_value->range.low = at;
    ret_value->range.high = count;
    return true;
}

bool value_network_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                         struct value_problem *problem)
{
    switch ((int)spec->type) {
    case VALUE_ADDRESS:
        return address_parse(spec, text, ret_value, problem);
    case VALUE_NETWORK:
        return network_parse(spec, text, ret_value, problem);
    case VALUE_ENDPOINT:
        return endpoint_parse(spec, text, ret_value, problem);
    case VALUE_HOST:
        return host_parse(spec, text, ret_value, problem);
    case VALUE_BYTES:
        return bytes_parse(spec, text, ret_value, problem);
    default:
        break;
    }
    assert(false && "not a value of networks");
    return false;
}
