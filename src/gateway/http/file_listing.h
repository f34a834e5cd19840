/* The page that shows a folder (`listing=on`): folders first, by name; size and time. Names are
 * outside text: what HTML or a URL could mistake is written otherwise. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum {
    LISTING_ENTRIES_MAX = 4096, /* the page says when there are more */
    LISTING_BYTES_MAX = 4 * 1024 * 1024,
};

/* `path`: as the client asked for it, decoded, without slashes at either end. `inner`: a folder
 * above is served, too. Reads the folder's descriptor, which it takes over, and blocks as long as a
 * disk does. *ret_page is to be freed. 0 or -errno. */
int file_listing_make(int folder_fd, const char *path, bool inner, char **ret_page,
                      size_t *ret_length);
