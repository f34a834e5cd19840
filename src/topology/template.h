/* Templates: text with `$name` and `${name}` whose values are known when an instance starts:
 * $instance $cluster $service $port $state $realm $address $home $directory. `$$` is a dollar sign.
 * Names were checked when the configuration was built; one that is not known here stays as it is.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct template_values {
    const char *cluster;
    const char *service;
    const char *realm;
    uint32_t instance;     /* 1 … */
    uint16_t port;         /* the first stated one; 0: none stated */
    const char *state;     /* a folder that the instance has for itself */
    const char *address;   /* its own, 127.77.S.I */
    const char *home;      /* the service's, 127.86.x.y */
    const char *directory; /* the folder that the program runs in; NULL in that name itself */
};

/* A new string (free it), or NULL: no memory, or longer than TEMPLATE_BYTES_MAX. */
enum { TEMPLATE_BYTES_MAX = 128 * 1024 };
char *template_expand(const char *text, const struct template_values *values);
/* The first unknown name in `text` (pointer into it, *ret_length set), or NULL. */
const char *template_unknown(const char *text, size_t *ret_length);
/* All names; ends with NULL. */
extern const char *const template_names[];
