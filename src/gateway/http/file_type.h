/* Media types of files by the ends of their names: those of the web are known here, others come
 * from the system's list (/etc/mime.types). Read once, before there are threads. */
#pragma once

#include <stdbool.h>

#include "gateway/http/head.h"

struct file_type {
    struct slice type;
    bool text; /* grows smaller when compressed: variants beside it are looked for */
};

/* Adds what the list has and we do not know; without the list we know what we know. */
void file_types_load(const char *path);
/* By the name's end; "application/octet-stream" for others. */
struct file_type file_type_of(struct slice name);
