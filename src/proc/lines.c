#include "proc/lines.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/table.h"

enum { LINES_BUCKETS = 256, LINES_FIRST_BYTES = 128 };

struct begun { /* a line without its end */
    LIST_ENTRY(begun) chain;
    uint64_t fed_ms;
    char *text;
    size_t length;
    size_t capacity;
    char source[];
};

LIST_HEAD(bucket, begun);

struct lines {
    lines_emit *emit;
    void *owner;
    size_t held_bytes;
    size_t begun_count;
    struct bucket buckets[LINES_BUCKETS];
};

struct lines *lines_new(lines_emit *emit, void *owner)
{
    struct lines *lines = calloc(1, sizeof *lines);
    if (!lines)
        return NULL;
    lines->emit = emit;
    lines->owner = owner;
    return lines;
}

static struct bucket *bucket_of(struct lines *lines, const char *source)
{
    return &lines->buckets[hash_bytes(source, strlen(source), hash_seed()) % LINES_BUCKETS];
}

static struct begun *begun_find(struct lines *lines, const char *source)
{
    struct begun *begun;
    LIST_FOREACH (begun, bucket_of(lines, source), chain) {
        if (!strcmp(begun->source, source))
            return begun;
    }
    return NULL;
}

static struct begun *begun_new(struct lines *lines, const char *source)
{
    size_t source_bytes = strlen(source) + 1;
    struct begun *begun = calloc(1, sizeof *begun + source_bytes);
    if (!begun)
        return NULL;
    memcpy(begun->source, source, source_bytes);
    LIST_INSERT_HEAD(bucket_of(lines, source), begun, chain);
    lines->begun_count++;
    return begun;
}

static void begun_free(struct lines *lines, struct begun *begun)
{
    LIST_REMOVE(begun, chain);
    lines->begun_count--;
    lines->held_bytes -= begun->capacity;
    free(begun->text);
    free(begun);
}

static void begun_end(struct lines *lines, struct begun *begun)
{
    lines->emit(lines->owner, begun->source, begun->text, begun->length);
    begun_free(lines, begun);
}

/* Room for `more` bytes, which with what is there are at most LINES_LINE_BYTES_MAX. */
static bool begun_reserve(struct lines *lines, struct begun *begun, size_t more)
{
    size_t capacity = begun->capacity ? begun->capacity : LINES_FIRST_BYTES;
    while (capacity < begun->length + more)
        capacity *= 2;
    if (capacity == begun->capacity)
        return true;
    char *text = realloc(begun->text, capacity);
    if (!text)
        return false;
    lines->held_bytes += capacity - begun->capacity;
    begun->text = text;
    begun->capacity = capacity;
    return true;
}

void lines_free(struct lines *lines)
{
    if (!lines)
        return;
    for (size_t i = 0; i < LINES_BUCKETS; i++)
        while (!LIST_EMPTY(&lines->buckets[i]))
            begun_free(lines, LIST_FIRST(&lines->buckets[i]));
    free(lines);
}

/* Holds the rest of a chunk; a begun line that is full goes out and a new one begins. */
static void hold(struct lines *lines, struct begun *begun, const char *source, const char *bytes,
                 size_t length, uint64_t now_ms)
{
    if (!begun)
        begun = begun_new(lines, source);
    if (!begun || !begun_reserve(lines, begun, length)) {
        if (begun && begun->length)
            begun_end(lines, begun);
        else if (begun)
            begun_free(lines, begun);
        lines->emit(lines->owner, source, bytes, length);
        return;
    }
    memcpy(begun->text + begun->length, bytes, length);
    begun->length += length;
    begun->fed_ms = now_ms;
    if (lines->held_bytes > LINES_HELD_BYTES_MAX)
        lines_end_quiet(lines, UINT64_MAX);
}

void lines_feed(struct lines *lines, const char *source, const char *bytes, size_t length,
                uint64_t now_ms)
{
    struct begun *begun = begun_find(lines, source);
    while (length) {
        size_t room = LINES_LINE_BYTES_MAX - (begun ? begun->length : 0);
        const char *newline = memchr(bytes, '\n', length < room + 1 ? length : room + 1);
        size_t part = newline ? (size_t)(newline - bytes) : length < room ? length : room;
        bool ends = newline || length > room; /* a full line waits for one more byte */
        if (ends && !begun) {                 /* the usual case: nothing is copied */
            lines->emit(lines->owner, source, bytes, part);
        } else if (!part) {
            begun_end(lines, begun);
        } else {
            hold(lines, begun, source, bytes, part, now_ms);
            begun = begun_find(lines, source); /* what is held may have gone out */
            if (ends && begun)
                begun_end(lines, begun);
        }
        if (ends)
            begun = NULL;
        part += newline ? 1 : 0;
        bytes += part;
        length -= part;
    }
}

void lines_end(struct lines *lines, const char *source)
{
    struct begun *begun = begun_find(lines, source);
    if (begun)
        begun_end(lines, begun);
}

void lines_end_quiet(struct lines *lines, uint64_t until_ms)
{
    for (size_t i = 0; i < LINES_BUCKETS && lines->begun_count; i++) {
        struct begun *next;
        for (struct begun *begun = LIST_FIRST(&lines->buckets[i]); begun; begun = next) {
            next = LIST_NEXT(begun, chain);
            if (begun->fed_ms <= until_ms)
                begun_end(lines, begun);
        }
    }
}

bool lines_held(const struct lines *lines)
{
    return lines->begun_count > 0;
}
