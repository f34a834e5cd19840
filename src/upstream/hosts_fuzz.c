/* Fuzz target: any bytes are a hosts file; its first word that is asked for is found or is not. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "upstream/hosts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sockaddr_storage addresses[3];
    char name[64] = "";
    size_t length = size < sizeof name - 1 ? size : sizeof name - 1;
    char *exact = malloc(size ? size : 1);
    memcpy(exact, data, size);
    memcpy(name, data, length);
    name[strcspn(name, " \t\r\n#")] = '\0';
    struct hosts *hosts = hosts_parse(exact, size);
    free(exact);
    if (!hosts)
        abort();
    if (hosts_find(hosts, name, addresses, 3) > 3 || hosts_find(hosts, "a", addresses, 1) > 1)
        abort();
    hosts_free(hosts);
    return 0;
}
