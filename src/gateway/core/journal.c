#include "gateway/core/journal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "proc/message.h"

enum { MARK_BYTES_MAX = 64 }; /* the line that tells of a loss */

struct chunk {
    size_t length;
    uint64_t lines;
    char bytes[MESSAGE_BYTES_MAX];
};

struct journal {
    struct loop *loop;
    int fd;
    struct timer flush; /* runs while anything waits */
    uint64_t dropped;   /* lines, ever */
    uint64_t untold;    /* of these, since the last line that told of them */
    unsigned first;     /* of the chunks that wait; the last of them is being filled */
    unsigned count;
    bool spilling; /* the line in hand has no chunk */
    char spill[JOURNAL_LINE_BYTES_MAX];
    struct chunk chunks[JOURNAL_CHUNKS];
};

struct journal *journal_new(struct loop *loop, int logger_fd)
{
    struct journal *journal = calloc(1, sizeof *journal);
    if (!journal)
        return NULL;
    journal->loop = loop;
    journal->fd = logger_fd;
    return journal;
}

static struct chunk *chunk_last(struct journal *journal)
{
    return &journal->chunks[(journal->first + journal->count - 1) % JOURNAL_CHUNKS];
}

static void chunk_remove_first(struct journal *journal)
{
    struct chunk *chunk = &journal->chunks[journal->first];
    chunk->length = 0;
    chunk->lines = 0;
    journal->count--;
    journal->first = journal->count ? (journal->first + 1) % JOURNAL_CHUNKS : 0;
}

static void lines_drop(struct journal *journal, uint64_t lines)
{
    journal->dropped += lines;
    journal->untold += lines;
}

static int chunk_send(const struct journal *journal, const struct chunk *chunk)
{
    struct message message;
    if (journal->fd < 0)
        return -EPIPE;
    int error = message_init(&message, MESSAGE_CHUNK, "access");
    assert(!error);
    message.bytes = chunk->bytes;
    message.length = chunk->length;
    return message_send(journal->fd, PARTY_GATEWAY, &message);
}

/* Sends until the logger takes no more. */
static void chunks_send(struct journal *journal)
{
    while (journal->count) {
        struct chunk *chunk = &journal->chunks[journal->first];
        int error = chunk_send(journal, chunk);
        if (error == -EAGAIN)
            return;
        if (error)
            lines_drop(journal, chunk->lines);
        chunk_remove_first(journal);
    }
}

static void flush_due(struct timer *timer)
{
    struct journal *journal = timer->owner;
    chunks_send(journal);
    if (journal->count)
        timer_start(journal->loop, timer, JOURNAL_FLUSH_MS, flush_due, journal);
}

static void flush_want(struct journal *journal)
{
    if (!timer_active(&journal->flush) &&
        timer_start(journal->loop, &journal->flush, JOURNAL_FLUSH_MS, flush_due, journal))
        chunks_send(journal); /* no memory for a timer: now */
}

void journal_free(struct journal *journal)
{
    if (!journal)
        return;
    timer_stop(journal->loop, &journal->flush);
    chunks_send(journal);
    free(journal);
}

static bool chunk_has_room(const struct chunk *chunk)
{
    return chunk->length + MARK_BYTES_MAX + JOURNAL_LINE_BYTES_MAX + 1 <= sizeof chunk->bytes;
}

/* The chunk that takes the next line; NULL: all wait for the logger. */
static struct chunk *chunk_for_line(struct journal *journal)
{
    if (journal->count && chunk_has_room(chunk_last(journal)))
        return chunk_last(journal);
    if (journal->count)
        chunks_send(journal);
    if (journal->count == JOURNAL_CHUNKS)
        return NULL;
    journal->count++;
    return chunk_last(journal);
}

char *journal_room(struct journal *journal)
{
    struct chunk *chunk = chunk_for_line(journal);
    journal->spilling = !chunk;
    return chunk ? chunk->bytes + chunk->length : journal->spill;
}

/* In front of the line that was just written behind the chunk's end. */
static void loss_tell(struct journal *journal, struct chunk *chunk, size_t line_bytes)
{
    char mark[MARK_BYTES_MAX];
    char *line = chunk->bytes + chunk->length;
    int length =
        *line == '{'
            ? snprintf(mark, sizeof mark, "{\"lost_lines\":%" PRIu64 "}\n", journal->untold)
            : snprintf(mark, sizeof mark, "# %" PRIu64 " lines lost: the logger was behind\n",
                       journal->untold);
    assert(length > 0 && length < MARK_BYTES_MAX);
    memmove(line + length, line, line_bytes);
    memcpy(line, mark, (size_t)length);
    chunk->length += (size_t)length;
    journal->untold = 0;
}

void journal_commit(struct journal *journal, size_t length)
{
    assert(length <= JOURNAL_LINE_BYTES_MAX);
    if (journal->spilling) {
        lines_drop(journal, 1);
        return;
    }
    struct chunk *chunk = chunk_last(journal);
    if (journal->untold)
        loss_tell(journal, chunk, length);
    chunk->length += length;
    chunk->bytes[chunk->length++] = '\n';
    chunk->lines++;
    flush_want(journal);
}

uint64_t journal_dropped(const struct journal *journal)
{
    return journal->dropped;
}

/* ---- escaping ------------------------------------------------------------------------------- */

static const char cut_mark[] = "…";

enum { ESCAPE_BYTES_MAX = 6 };

/* What the bytes at `text` become: their text in `out`, its length; how many there were. */
static size_t escape_one(const unsigned char *text, size_t left, char out[ESCAPE_BYTES_MAX],
                         size_t *ret_read)
{
    static const char digits[] = "0123456789abcdef";
    static const char shorts[] = "b\bf\fn\nr\rt\t\"\"\\\\";
    unsigned char byte = *text;
    *ret_read = utf8_sequence(text, left);
    for (const char *pair = shorts; *pair; pair += 2) {
        if ((unsigned char)pair[1] != byte)
            continue;
        out[0] = '\\';
        out[1] = pair[0];
        return 2;
    }
    if (*ret_read && byte >= ' ' && byte != 0x7f) {
        memcpy(out, text, *ret_read);
        return *ret_read;
    }
    *ret_read = 1;
    memcpy(out, "\\u00", 4);
    out[4] = digits[byte >> 4];
    out[5] = digits[byte & 15];
    return ESCAPE_BYTES_MAX;
}

/* Bytes that stay as they are. */
static const bool plain[256] = {[' ' ... '!'] = true, ['#' ... '['] = true, [']' ... '~'] = true};

static size_t plain_run(const unsigned char *text, size_t length)
{
    size_t run = 0;
    while (run < length && plain[text[run]])
        run++;
    return run;
}

struct escaping {
    char *out;
    size_t room;
    size_t written;
    size_t cut; /* the last place where it may be cut, so that the mark fits */
};

/* What follows does not fit. */
static size_t escaping_cut(const struct escaping *escaping)
{
    size_t mark = sizeof cut_mark - 1;
    if (escaping->room < mark)
        return escaping->written;
    memcpy(escaping->out + escaping->cut, cut_mark, mark);
    return escaping->cut + mark;
}

/* False: not all of it fits. `step`: it may be cut everywhere (1), or not at all (`length`). */
static bool escaping_put(struct escaping *escaping, const void *bytes, size_t length, size_t step)
{
    size_t left = escaping->room - escaping->written, mark = sizeof cut_mark - 1;
    size_t fits = length <= left ? length : step == 1 ? left : 0;
    memcpy(escaping->out + escaping->written, bytes, fits);
    size_t begin = escaping->written;
    escaping->written += fits;
    if (escaping->written + mark <= escaping->room)
        escaping->cut = escaping->written;
    else if (step == 1 && begin + mark <= escaping->room)
        escaping->cut = escaping->room - mark;
    return fits == length;
}

size_t journal_escape(char *out, size_t room, const char *bytes, size_t length)
{
    const unsigned char *text = (const unsigned char *)bytes;
    struct escaping escaping = {.out = out, .room = room};
    for (size_t at = 0; at < length;) {
        char one[ESCAPE_BYTES_MAX];
        size_t read = plain_run(text + at, length - at);
        bool fits = true;
        if (read) {
            fits = escaping_put(&escaping, text + at, read, 1);
        } else {
            size_t become = escape_one(text + at, length - at, one, &read);
            fits = escaping_put(&escaping, one, become, become);
        }
        if (!fits)
            return escaping_cut(&escaping);
        at += read;
    }
    return escaping.written;
}
