#include "upstream/hosts.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/scoped.h"

struct host {
    const char *name; /* in the text */
    uint32_t place;   /* in the file, which is the order of its addresses */
    struct sockaddr_storage address;
};

struct hosts {
    char *text;         /* cut into words */
    struct host *hosts; /* by name, then by place */
    size_t count;
    size_t room;
};

static bool address_parse(const char *text, struct sockaddr_storage *ret_address)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    memset(ret_address, 0, sizeof *ret_address);
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1)
        memcpy(ret_address, &v4, sizeof v4);
    else if (inet_pton(AF_INET6, text, &v6.sin6_addr) == 1)
        memcpy(ret_address, &v6, sizeof v6);
    else
        return false;
    return true;
}

static bool host_add(struct hosts *hosts, const char *name, const struct sockaddr_storage *address)
{
    if (hosts->count == HOSTS_NAMES_MAX || strlen(name) >= HOST_NAME_BYTES)
        return true;
    if (hosts->count == hosts->room) {
        size_t room = hosts->room ? hosts->room * 2 : 32;
        struct host *larger = reallocarray(hosts->hosts, room, sizeof *larger);
        if (!larger)
            return false;
        hosts->hosts = larger;
        hosts->room = room;
    }
    hosts->hosts[hosts->count] = (struct host){name, (uint32_t)hosts->count, *address};
    hosts->count++;
    return true;
}

static bool line_parse(struct hosts *hosts, char *line)
{
    line[strcspn(line, "#")] = '\0';
    char *rest = NULL;
    const char *word = strtok_r(line, " \t\r", &rest);
    struct sockaddr_storage address;
    if (!word || !address_parse(word, &address))
        return true;
    while ((word = strtok_r(NULL, " \t\r", &rest)))
        if (!host_add(hosts, word, &address))
            return false;
    return true;
}

static int by_name(const void *left, const void *right)
{
    const struct host *a = left;
    const struct host *b = right;
    int order = strcasecmp(a->name, b->name);
    return order ? order : a->place < b->place ? -1 : a->place > b->place;
}

struct hosts *hosts_parse(const char *text, size_t length)
{
    struct hosts *hosts = calloc(1, sizeof *hosts);
    if (!hosts)
        return NULL;
    hosts->text = malloc(length + 1);
    if (!hosts->text) {
        hosts_free(hosts);
        return NULL;
    }
    memcpy(hosts->text, text, length);
    hosts->text[length] = '\0';
    char *rest = NULL;
    for (char *line = strtok_r(hosts->text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
        if (!line_parse(hosts, line)) {
            hosts_free(hosts);
            return NULL;
        }
    if (hosts->count > 1)
        qsort(hosts->hosts, hosts->count, sizeof *hosts->hosts, by_name);
    return hosts;
}

struct hosts *hosts_read(const char *path)
{
    scoped_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    scoped_memory char *text = NULL;
    size_t length = 0;
    while (fd >= 0 && length < HOSTS_BYTES_MAX) {
        enum { PIECE = 65536 };
        char *larger = realloc(text, length + PIECE);
        if (!larger)
            return NULL;
        text = larger;
        ssize_t count = read(fd, text + length, PIECE);
        if (count <= 0)
            break;
        length += (size_t)count;
    }
    return hosts_parse(text ? text : "", length);
}

void hosts_free(struct hosts *hosts)
{
    if (!hosts)
        return;
    free(hosts->text);
    free(hosts->hosts);
    free(hosts);
}

static size_t first_of(const struct hosts *hosts, const char *name)
{
    size_t low = 0;
    size_t high = hosts->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcasecmp(hosts->hosts[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

size_t hosts_find(const struct hosts *hosts, const char *name,
                  struct sockaddr_storage *ret_addresses, size_t max)
{
    if (strcasecmp(name, "localhost") == 0 && max > 0) {
        address_parse("127.0.0.1", ret_addresses);
        return 1;
    }
    size_t found = 0;
    for (size_t i = first_of(hosts, name);
         i < hosts->count && found < max && strcasecmp(hosts->hosts[i].name, name) == 0; i++)
        ret_addresses[found++] = hosts->hosts[i].address;
    return found;
}
