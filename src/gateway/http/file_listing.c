#include "gateway/http/file_listing.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buffer.h"
#include "base/scoped.h"

struct entry {
    char *name;
    bool folder;
    bool sized; /* neither a folder nor a link, whose end is not looked at */
    uint64_t size;
    time_t modified;
};

struct listing {
    struct entry *entries;
    size_t count;
    bool more;
};

/* ---- reading the folder -----------------------------------------------------------------------
 */

static void listing_done(struct listing *listing)
{
    for (size_t i = 0; i < listing->count; i++)
        free(listing->entries[i].name);
    free(listing->entries);
}

/* 0 or -ENOMEM; what is gone meanwhile, or nothing to be served, is left out. */
static int entry_add(struct listing *listing, int folder_fd, const char *name)
{
    struct stat status;
    if (fstatat(folder_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return 0;
    bool link = S_ISLNK(status.st_mode), folder = S_ISDIR(status.st_mode);
    if (!link && !folder && !S_ISREG(status.st_mode))
        return 0;
    char *copy = strdup(name);
    if (!copy)
        return -ENOMEM;
    listing->entries[listing->count++] = (struct entry){.name = copy,
                                                        .folder = folder,
                                                        .sized = !link && !folder,
                                                        .size = (uint64_t)status.st_size,
                                                        .modified = status.st_mtime};
    return 0;
}

static int entry_compare(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    if (a->folder != b->folder)
        return a->folder ? -1 : 1;
    return strcmp(a->name, b->name);
}

static int entries_read(int folder_fd, struct listing *listing)
{
    scoped_fd int fd = folder_fd;
    scoped_dir DIR *folder = fdopendir(fd);
    if (!folder)
        return -errno;
    fd_take(&fd);
    listing->entries = calloc(LISTING_ENTRIES_MAX, sizeof *listing->entries);
    int error = listing->entries ? 0 : -ENOMEM;
    const struct dirent *found;
    while (!error && (found = readdir(folder))) {
        if (found->d_name[0] == '.') /* hidden ones are not served either */
            continue;
        listing->more = listing->count == LISTING_ENTRIES_MAX;
        if (listing->more)
            break;
        error = entry_add(listing, dirfd(folder), found->d_name);
    }
    if (!error)
        qsort(listing->entries, listing->count, sizeof *listing->entries, entry_compare);
    return error;
}

/* ---- the page ---------------------------------------------------------------------------------
 */

static void put_html(struct buffer *page, const char *text)
{
    for (const char *at = text; *at; at++) {
        if (*at == '&' || *at == '<' || *at == '>' || *at == '"' || *at == '\'')
            buffer_printf(page, "&#%d;", *at);
        else if ((unsigned char)*at < ' ' || *at == 127)
            buffer_puts(page, "&#65533;");
        else
            buffer_append(page, at, 1);
    }
}

static void put_url(struct buffer *page, const char *text)
{
    static const char plain[] = "-._~";
    for (const char *at = text; *at; at++) {
        bool word = (*at >= '0' && *at <= '9') || ((*at | 0x20) >= 'a' && (*at | 0x20) <= 'z');
        if (word || strchr(plain, *at))
            buffer_append(page, at, 1);
        else
            buffer_printf(page, "%%%02X", (unsigned char)*at);
    }
}

static void put_size(struct buffer *page, uint64_t size)
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB", "EB"};
    size_t unit = 0;
    double value = (double)size;
    for (; value >= 999.5 && unit < sizeof units / sizeof units[0] - 1; unit++)
        value /= 1024;
    buffer_printf(page, unit && value < 9.95 ? "%.1f %s" : "%.0f %s", value, units[unit]);
}

static void put_entry(struct buffer *page, const struct entry *entry)
{
    const char *slash = entry->folder ? "/" : "";
    char date[32] = "";
    struct tm parts;
    if (gmtime_r(&entry->modified, &parts))
        strftime(date, sizeof date, "%Y-%m-%d %H:%M", &parts);
    buffer_puts(page, "<tr><td><a href=\"./");
    put_url(page, entry->name);
    buffer_printf(page, "%s\">", slash);
    put_html(page, entry->name);
    buffer_printf(page, "%s</a></td><td>", slash);
    if (entry->sized)
        put_size(page, entry->size);
    buffer_printf(page, "</td><td>%s</td></tr>\n", date);
}

static const char style[] =
    "<style>:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;"
    "margin:2rem auto;padding:0 1rem}h1{font-size:1.2rem;font-weight:600;overflow-wrap:anywhere}"
    "table{width:100%;border-collapse:collapse}td{padding:.3rem .6rem;border-top:1px solid "
    "#8884}td:nth-child(n+2){text-align:right;white-space:nowrap;opacity:.7;"
    "font-variant-numeric:tabular-nums}a{text-decoration:none;overflow-wrap:anywhere}"
    "a:hover{text-decoration:underline}tr:hover{background:#8881}</style>\n";

static void put_page(struct buffer *page, const char *path, bool inner,
                     const struct listing *listing)
{
    buffer_puts(page, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                      "<meta name=\"viewport\" content=\"width=device-width\"><title>/");
    put_html(page, path);
    buffer_puts(page, "</title>\n");
    buffer_puts(page, style);
    buffer_puts(page, "</head><body><h1>/");
    put_html(page, path);
    buffer_puts(page, "</h1>\n<table>\n");
    if (inner)
        buffer_puts(page, "<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    for (size_t i = 0; i < listing->count; i++)
        put_entry(page, &listing->entries[i]);
    buffer_puts(page, "</table>\n");
    if (listing->more)
        buffer_printf(page, "<p>There are more; the first %d found are shown.</p>\n",
                      LISTING_ENTRIES_MAX);
    buffer_puts(page, "</body></html>\n");
}

int file_listing_make(int folder_fd, const char *path, bool inner, char **ret_page,
                      size_t *ret_length)
{
    struct listing listing = {0};
    struct buffer page;
    buffer_init(&page, LISTING_BYTES_MAX);
    int error = entries_read(folder_fd, &listing);
    if (!error)
        put_page(&page, path, inner, &listing);
    if (!error && page.overflowed)
        error = -ENOMEM;
    listing_done(&listing);
    if (error) {
        buffer_done(&page);
        return error;
    }
    *ret_page = page.data; /* taken over: the buffer is not used any more */
    *ret_length = page.length;
    return 0;
}
