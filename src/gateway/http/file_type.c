#include "gateway/http/file_type.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/scoped.h"
#include "base/table.h"

enum { EXTENSION_BYTES = 16, LINE_BYTES = 4096 };

struct known {
    const char *extension;
    struct file_type type;
};

#define TEXT(extension, type)                                                                      \
    {                                                                                              \
        extension,                                                                                 \
        {                                                                                          \
            SLICE(type), true                                                                      \
        }                                                                                          \
    }
#define OTHER(extension, type)                                                                     \
    {                                                                                              \
        extension,                                                                                 \
        {                                                                                          \
            SLICE(type), false                                                                     \
        }                                                                                          \
    }

static const struct known known[] = {
    /* sorted */
    OTHER("7z", "application/x-7z-compressed"),
    OTHER("aac", "audio/aac"),
    OTHER("apk", "application/vnd.android.package-archive"),
    TEXT("atom", "application/atom+xml"),
    OTHER("avif", "image/avif"),
    TEXT("bmp", "image/bmp"),
    OTHER("br", "application/octet-stream"),
    OTHER("bz2", "application/x-bzip2"),
    TEXT("css", "text/css; charset=utf-8"),
    TEXT("csv", "text/csv; charset=utf-8"),
    OTHER("deb", "application/vnd.debian.binary-package"),
    TEXT("eot", "application/vnd.ms-fontobject"),
    OTHER("epub", "application/epub+zip"),
    OTHER("flac", "audio/flac"),
    OTHER("gif", "image/gif"),
    OTHER("gz", "application/gzip"),
    TEXT("htm", "text/html; charset=utf-8"),
    TEXT("html", "text/html; charset=utf-8"),
    TEXT("ico", "image/vnd.microsoft.icon"),
    TEXT("ics", "text/calendar; charset=utf-8"),
    OTHER("jpeg", "image/jpeg"),
    OTHER("jpg", "image/jpeg"),
    TEXT("js", "text/javascript; charset=utf-8"),
    TEXT("json", "application/json"),
    TEXT("jsonld", "application/ld+json"),
    OTHER("jxl", "image/jxl"),
    TEXT("m3u8", "application/vnd.apple.mpegurl"),
    OTHER("m4a", "audio/mp4"),
    TEXT("map", "application/json"),
    TEXT("md", "text/markdown; charset=utf-8"),
    TEXT("mjs", "text/javascript; charset=utf-8"),
    OTHER("mp3", "audio/mpeg"),
    OTHER("mp4", "video/mp4"),
    OTHER("mpeg", "video/mpeg"),
    OTHER("oga", "audio/ogg"),
    OTHER("ogg", "audio/ogg"),
    OTHER("ogv", "video/ogg"),
    OTHER("opus", "audio/ogg"),
    TEXT("otf", "font/otf"),
    OTHER("pdf", "application/pdf"),
    OTHER("png", "image/png"),
    TEXT("rss", "application/rss+xml"),
    TEXT("rtf", "application/rtf"),
    TEXT("svg", "image/svg+xml"),
    OTHER("tar", "application/x-tar"),
    OTHER("tgz", "application/gzip"),
    OTHER("tif", "image/tiff"),
    OTHER("tiff", "image/tiff"),
    OTHER("ts", "video/mp2t"),
    TEXT("ttf", "font/ttf"),
    TEXT("txt", "text/plain; charset=utf-8"),
    TEXT("vtt", "text/vtt; charset=utf-8"),
    TEXT("wasm", "application/wasm"),
    OTHER("wav", "audio/wav"),
    OTHER("weba", "audio/webm"),
    OTHER("webm", "video/webm"),
    TEXT("webmanifest", "application/manifest+json"),
    OTHER("webp", "image/webp"),
    OTHER("woff", "font/woff"),
    OTHER("woff2", "font/woff2"),
    TEXT("xhtml", "application/xhtml+xml"),
    TEXT("xml", "text/xml; charset=utf-8"),
    OTHER("xz", "application/x-xz"),
    OTHER("zip", "application/zip"),
    OTHER("zst", "application/zstd"),
};
enum { KNOWN_COUNT = sizeof known / sizeof known[0] };

static struct table *system_types; /* lives as long as the process */

static int known_compare(const void *key, const void *entry)
{
    return strcmp(key, ((const struct known *)entry)->extension);
}

static const struct known *known_find(const char *extension)
{
    const struct known *found =
        bsearch(extension, known, KNOWN_COUNT, sizeof known[0], known_compare);
    return found || !system_types ? found : table_get(system_types, extension);
}

/* ---- the system's list: "text/x-c  c h" -------------------------------------------------------
 */

static bool compressible(const char *type)
{
    return strncmp(type, "text/", 5) == 0 || strstr(type, "+xml") || strstr(type, "json") ||
           strstr(type, "javascript");
}

static void extension_add(const char *type, const char *extension)
{
    if (strlen(extension) >= EXTENSION_BYTES || known_find(extension))
        return;
    struct known *entry = calloc(1, sizeof *entry);
    char *name = strdup(extension), *text = strdup(type);
    if (entry && name && text) {
        *entry = (struct known){name, {{text, (uint32_t)strlen(text)}, compressible(type)}};
        if (table_add(system_types, name, entry, NULL) == 0)
            return;
    }
    free(entry), free(name), free(text);
}

static void line_take(char *line)
{
    char *rest = NULL;
    line[strcspn(line, "#")] = 0;
    const char *type = strtok_r(line, " \t\r\n", &rest);
    const char *extension;
    while (type && (extension = strtok_r(NULL, " \t\r\n", &rest)))
        extension_add(type, extension);
}

void file_types_load(const char *path)
{
    scoped_file FILE *list = fopen(path, "re");
    char line[LINE_BYTES];
    if (!system_types)
        system_types = table_new();
    while (list && system_types && fgets(line, sizeof line, list))
        line_take(line);
}

struct file_type file_type_of(struct slice name)
{
    static const struct file_type other = {SLICE("application/octet-stream"), false};
    char extension[EXTENSION_BYTES];
    size_t at = name.length;
    while (at && name.bytes[at - 1] != '.' && name.bytes[at - 1] != '/')
        at--;
    size_t length = name.length - at;
    if (!at || name.bytes[at - 1] != '.' || length >= sizeof extension)
        return other;
    for (size_t i = 0; i < length; i++)
        extension[i] = (char)tolower((unsigned char)name.bytes[at + i]);
    extension[length] = 0;
    const struct known *found = known_find(extension);
    return found ? found->type : other;
}
