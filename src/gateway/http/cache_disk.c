#include "gateway/http/cache_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/scoped.h"
#include "gateway/http/cache_disk_index.h"
#include "gateway/http/cache_record.h"

enum { READ_BYTES = 256 * 1024 };
enum job_kind { JOB_WRITE, JOB_LOAD, JOB_TEXT };

struct job {
    TAILQ_ENTRY(job) next;
    enum job_kind kind;
    uint64_t sequence;
    struct cache_object *object; /* JOB_WRITE: a reference */
    struct cache_flight *flight; /* JOB_LOAD */
    uint64_t hash;               /* JOB_LOAD, and of a RECORD_KEY */
    enum record_kind record;     /* JOB_TEXT */
    size_t length;
    char text[];
};

struct cache_disk {
    struct cache_store *store; /* lives while there is work */
    char name[64];             /* its */
    int fd;
    uint64_t bytes;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t work;
    TAILQ_HEAD(, job) jobs;
    uint32_t job_count;
    size_t job_bytes;
    struct disk_index *index;
    uint64_t sequence; /* of the next record */
    uint32_t position; /* block of the next record */
    bool stop, ready, broken;
    bool distrusted;   /* something was taken out before it was known what is there */
    unsigned failures; /* in a row */
    uint64_t reads, writes, skipped, failed;
};

/* ---- failures ------------------------------------------------------------------------------- */

static void disk_failed(struct cache_disk *disk, const char *what, int error)
{
    pthread_mutex_lock(&disk->lock);
    bool first = disk->failures++ == 0;
    bool last = disk->failures == CACHE_DISK_FAILURES_MAX;
    disk->broken |= last;
    disk->failed++;
    pthread_mutex_unlock(&disk->lock);
    if (first || last)
        log_warn("cache-disk-failed", "cache=%s what=%s error=\"%s\" instead=\"%s\"", disk->name,
                 what, strerror(error), last ? "memory alone" : "the service is asked");
}

static void disk_worked(struct cache_disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    disk->failures = 0;
    pthread_mutex_unlock(&disk->lock);
}

/* 0 or an errno; a short one is EIO. */
static int read_all(const struct cache_disk *disk, char *bytes, size_t length, uint64_t offset)
{
    while (length) {
        size_t size = length < READ_BYTES ? length : READ_BYTES;
        ssize_t count = pread(disk->fd, bytes, size, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return count < 0 ? errno : EIO;
        bytes += count;
        offset += (uint64_t)count;
        length -= (size_t)count;
    }
    return 0;
}

static int write_all(const struct cache_disk *disk, const char *bytes, size_t length,
                     uint64_t offset)
{
    while (length) {
        ssize_t count = pwrite(disk->fd, bytes, length, (off_t)offset);
        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0)
            return count < 0 ? errno : EIO;
        bytes += count;
        offset += (uint64_t)count;
        length -= (size_t)count;
    }
    return 0;
}

/* ---- writing: in the disk's thread ----------------------------------------------------------- */

static uint32_t blocks_of(uint64_t bytes)
{
    return (uint32_t)((bytes + RECORD_BLOCK_BYTES - 1) / RECORD_BLOCK_BYTES);
}

/* Room for a record at the ring's place, at its beginning if there is none before its end; what
 * stood there is forgotten. *ret_filler: where the rest of the ring is to be marked as empty. */
static uint32_t place_take(struct cache_disk *disk, uint32_t blocks, uint32_t *ret_filler,
                           uint64_t *ret_filler_bytes)
{
    uint32_t all = disk_index_blocks(disk->index);
    *ret_filler_bytes = 0;
    pthread_mutex_lock(&disk->lock);
    if (disk->position + blocks > all) {
        *ret_filler = disk->position;
        *ret_filler_bytes = (uint64_t)(all - disk->position) * RECORD_BLOCK_BYTES;
        disk_index_forget(disk->index, disk->position, all - disk->position);
        disk->position = 0;
    }
    uint32_t place = disk->position;
    disk_index_forget(disk->index, place, blocks);
    disk->position += blocks;
    pthread_mutex_unlock(&disk->lock);
    return place;
}

/* The record's head says that it goes to the end of the ring. */
static int filler_write(struct cache_disk *disk, uint32_t place, uint64_t bytes)
{
    size_t length;
    char *filler = bytes ? record_write_text(RECORD_FILLER, bytes, 0, "", 0, &length) : NULL;
    int error = filler ? write_all(disk, filler, length, (uint64_t)place * RECORD_BLOCK_BYTES) : 0;
    free(filler);
    return error;
}

static int record_put(struct cache_disk *disk, const char *head, size_t length, struct slice body,
                      uint32_t *ret_place)
{
    uint32_t filler = 0;
    uint64_t filler_bytes;
    *ret_place = place_take(disk, blocks_of(length + body.length), &filler, &filler_bytes);
    uint64_t offset = (uint64_t)*ret_place * RECORD_BLOCK_BYTES;
    int error = filler_write(disk, filler, filler_bytes);
    if (!error)
        error = write_all(disk, head, length, offset);
    if (!error)
        error = write_all(disk, body.bytes, body.length, offset + length);
    if (error)
        disk_failed(disk, "write", error);
    else
        disk_worked(disk);
    return error;
}

static void answer_write(struct cache_disk *disk, const struct job *job)
{
    const struct cache_object *object = job->object;
    size_t length;
    uint32_t place;
    if (atomic_load(&object->dead))
        return;
    char *head = record_write(object, job->sequence, &length);
    if (!head)
        return;
    struct slice body = {object->body->bytes, (uint32_t)object->body->length};
    int error = record_put(disk, head, length, body, &place);
    free(head);
    if (error)
        return;
    pthread_mutex_lock(&disk->lock);
    if (!atomic_load(&object->dead)) {
        disk_index_add(disk->index, place, blocks_of(length + body.length), object->key.hash,
                       job->sequence);
        disk->writes++;
    }
    pthread_mutex_unlock(&disk->lock);
}

static void text_write(struct cache_disk *disk, const struct job *job)
{
    size_t length;
    uint32_t place;
    char *head =
        record_write_text(job->record, job->hash, job->sequence, job->text, job->length, &length);
    if (head)
        record_put(disk, head, length, SLICE(""), &place);
    free(head);
}

/* ---- reading: in the disk's thread ----------------------------------------------------------- */

static struct cache_object *answer_make(struct cache_disk *disk, const struct record *record,
                                        const char *rest)
{
    struct record_answer *answer = malloc(sizeof *answer);
    struct cache_object *object = NULL;
    if (answer && record_read(record, rest, answer)) {
        answer->setup.store = disk->store;
        answer->setup.body = cache_body_new(disk->store, answer->body.length);
        if (answer->setup.body &&
            cache_body_add(answer->setup.body, answer->body.bytes, answer->body.length))
            object = cache_object_new(&answer->setup);
        cache_body_unref(answer->setup.body);
    }
    free(answer);
    return object;
}

/* A record's answer; NULL: it is broken, or there is no room. */
static struct cache_object *answer_read(struct cache_disk *disk, const struct disk_found *found)
{
    uint64_t offset = (uint64_t)found->place * RECORD_BLOCK_BYTES;
    struct cache_object *object = NULL;
    struct record record;
    int error = read_all(disk, (char *)&record, sizeof record, offset);
    bool good = !error && record_head_good(&record) && record.sequence == found->sequence &&
                record.bytes <= (uint64_t)found->blocks * RECORD_BLOCK_BYTES;
    size_t length = good ? (size_t)record.bytes - sizeof record : 0;
    char *rest = good ? malloc(length + 1) : NULL;
    if (rest)
        error = read_all(disk, rest, length, offset + sizeof record);
    if (rest && !error)
        object = answer_make(disk, &record, rest);
    free(rest);
    if (error)
        disk_failed(disk, "read", error);
    else
        disk_worked(disk);
    return object;
}

static bool purged(struct cache_disk *disk, const struct cache_object *object, uint64_t sequence)
{
    pthread_mutex_lock(&disk->lock);
    bool is = disk_index_purged(disk->index, object, sequence);
    pthread_mutex_unlock(&disk->lock);
    return is;
}

static void answer_load(struct cache_disk *disk, const struct disk_found *found)
{
    struct cache_object *object = answer_read(disk, found);
    bool there = false;
    if (object && !purged(disk, object, found->sequence)) {
        cache_store_put_read(disk->store, object);
        pthread_mutex_lock(&disk->lock); /* was it taken out meanwhile? */
        there = disk_index_has(disk->index, found);
        disk->reads++;
        pthread_mutex_unlock(&disk->lock);
        if (!there || purged(disk, object, found->sequence))
            cache_store_remove(disk->store, object);
    } else {
        pthread_mutex_lock(&disk->lock);
        if (disk_index_has(disk->index, found))
            disk_index_forget(disk->index, found->place, 1);
        pthread_mutex_unlock(&disk->lock);
    }
    cache_object_unref(object);
}

static void key_load(struct cache_disk *disk, uint64_t hash)
{
    struct disk_found found[CACHE_DISK_VARIANTS_MAX];
    pthread_mutex_lock(&disk->lock);
    uint32_t count = disk_index_find(disk->index, hash, found, CACHE_DISK_VARIANTS_MAX);
    pthread_mutex_unlock(&disk->lock);
    for (uint32_t i = 0; i < count; i++) /* the newest first: what it replaced finds it there */
        answer_load(disk, &found[i]);
}

/* ---- opening: in the disk's thread ----------------------------------------------------------- */

static bool stopping(struct cache_disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    bool stop = disk->stop;
    pthread_mutex_unlock(&disk->lock);
    return stop;
}

/* A gateway that ends may still have it. */
static bool file_lock(struct cache_disk *disk)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    while (fcntl(disk->fd, F_OFD_SETLK, &lock) < 0) {
        const struct timespec pause = {.tv_nsec = CACHE_DISK_LOCK_MS * 1000000L};
        if (errno != EAGAIN && errno != EACCES && errno != EINTR)
            return false;
        if (stopping(disk))
            return false;
        nanosleep(&pause, NULL);
    }
    return true;
}

/* All of its size is there before anything is written: it cannot grow full later. */
static int file_prepare(struct cache_disk *disk)
{
    if (!file_lock(disk))
        return ECANCELED;
    if (ftruncate(disk->fd, (off_t)disk->bytes) < 0)
        return errno;
    if (fallocate(disk->fd, 0, 0, (off_t)disk->bytes) < 0 && errno != EOPNOTSUPP)
        return errno;
    return 0;
}

/* What a text record says. */
static void text_learn(struct cache_disk *disk, const struct record *record, uint64_t offset)
{
    char text[CACHE_PURGE_BYTES_MAX];
    if (record->kind == RECORD_KEY) {
        disk_index_key_purged(disk->index, record->hash, record->sequence);
        return;
    }
    struct cache_purge purge;
    if (record->texts_bytes <= sizeof text &&
        !read_all(disk, text, (size_t)record->texts_bytes, offset + sizeof *record) &&
        record_good(record, text) && cache_purge_read(text, (size_t)record->texts_bytes, &purge))
        disk_index_purge(disk->index, &purge, record->sequence);
    else /* it cannot be known what it took out */
        disk_index_floor(disk->index, record->sequence);
}

/* How many blocks there are of what stands here; 1: nothing that is known. */
static uint32_t place_learn(struct cache_disk *disk, const struct record *record, uint32_t place)
{
    uint32_t left = disk_index_blocks(disk->index) - place;
    if (!record_head_good(record))
        return 1;
    if (record->kind == RECORD_FILLER)
        return record->hash / RECORD_BLOCK_BYTES <= left && record->hash
                   ? (uint32_t)(record->hash / RECORD_BLOCK_BYTES)
                   : 1;
    if (record->bytes > (uint64_t)left * RECORD_BLOCK_BYTES)
        return 1;
    uint32_t blocks = blocks_of(record->bytes);
    if (record->sequence >= disk->sequence) {
        disk->sequence = record->sequence + 1;
        disk->position = place + blocks;
    }
    if (record->kind == RECORD_ANSWER)
        disk_index_add(disk->index, place, blocks, record->hash, record->sequence);
    else
        text_learn(disk, record, (uint64_t)place * RECORD_BLOCK_BYTES);
    return blocks;
}

/* Reads the heads of all records. Nobody else uses the index yet. */
static int file_scan(struct cache_disk *disk)
{
    enum { SCAN_BLOCKS = 64 };
    char *bytes = malloc((size_t)SCAN_BLOCKS * RECORD_BLOCK_BYTES);
    uint32_t all = disk_index_blocks(disk->index), at = 0, have = 0, start = 0;
    int error = bytes ? 0 : ENOMEM;
    disk->sequence = 1;
    while (!error && at < all && !stopping(disk)) {
        if (at >= start + have) { /* read on; a long record's body is skipped */
            start = at;
            have = all - at < SCAN_BLOCKS ? all - at : SCAN_BLOCKS;
            error = read_all(disk, bytes, (size_t)have * RECORD_BLOCK_BYTES,
                             (uint64_t)at * RECORD_BLOCK_BYTES);
            if (error)
                break;
        }
        struct record record;
        memcpy(&record, bytes + (size_t)(at - start) * RECORD_BLOCK_BYTES, sizeof record);
        at += place_learn(disk, &record, at);
    }
    free(bytes);
    disk_index_settle(disk->index);
    return error;
}

static void text_add(struct cache_disk *disk, enum record_kind kind, uint64_t hash,
                     const char *text, size_t length);

/* Nothing that is there is used. Under the lock. */
static void all_forget(struct cache_disk *disk)
{
    char text[CACHE_PURGE_BYTES_MAX];
    const struct cache_purge all = {.kind = PURGE_ALL};
    disk_index_floor(disk->index, disk->sequence);
    text_add(disk, RECORD_PURGE, 0, text, cache_purge_write(&all, text));
}

static void disk_open(struct cache_disk *disk)
{
    int error = file_prepare(disk);
    if (!error)
        error = file_scan(disk);
    pthread_mutex_lock(&disk->lock);
    disk->ready = !error;
    disk->broken = error != 0;
    if (disk->ready && disk->distrusted)
        all_forget(disk);
    uint32_t objects = disk_index_count(disk->index);
    pthread_mutex_unlock(&disk->lock);
    if (error && error != ECANCELED)
        log_warn("cache-disk-failed", "cache=%s what=open error=\"%s\" instead=\"memory alone\"",
                 disk->name, strerror(error));
    else if (!error)
        log_info("cache-disk", "cache=%s objects=%u bytes=%llu", disk->name, objects,
                 (unsigned long long)disk->bytes);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void job_free(struct job *job)
{
    cache_object_unref(job->object);
    if (job->flight)
        cache_flight_end(job->flight, FLIGHT_STORED);
    free(job);
}

static void job_do(struct cache_disk *disk, const struct job *job)
{
    pthread_mutex_lock(&disk->lock);
    bool usable = disk->ready && !disk->broken;
    pthread_mutex_unlock(&disk->lock);
    if (!usable)
        return;
    switch (job->kind) {
    case JOB_WRITE:
        answer_write(disk, job);
        return;
    case JOB_LOAD:
        key_load(disk, job->hash);
        return;
    case JOB_TEXT:
        text_write(disk, job);
        return;
    }
}

static struct job *job_wait(struct cache_disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    while (TAILQ_EMPTY(&disk->jobs) && !disk->stop)
        pthread_cond_wait(&disk->work, &disk->lock);
    struct job *job = TAILQ_FIRST(&disk->jobs);
    if (job) {
        TAILQ_REMOVE(&disk->jobs, job, next);
        disk->job_count--;
        disk->job_bytes -= job->length;
    }
    pthread_mutex_unlock(&disk->lock);
    return job;
}

static void *disk_run(void *argument)
{
    struct cache_disk *disk = argument;
    struct job *job;
    pthread_setname_np(pthread_self(), "cache-disk");
    disk_open(disk);
    while ((job = job_wait(disk))) {
        job_do(disk, job);
        job_free(job); /* may be what the store lived for: then `stop` is set by it */
    }
    fd_drop(&disk->fd);
    disk_index_free(disk->index);
    pthread_mutex_destroy(&disk->lock);
    pthread_cond_destroy(&disk->work);
    free(disk);
    return NULL;
}

static int thread_start(struct cache_disk *disk)
{
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    int error = pthread_create(&thread, &attributes, disk_run, disk);
    pthread_attr_destroy(&attributes);
    return error;
}

struct cache_disk *cache_disk_new(struct cache_store *store, int fd, uint64_t bytes)
{
    struct cache_disk *disk = calloc(1, sizeof *disk);
    uint32_t blocks = (uint32_t)(bytes / RECORD_BLOCK_BYTES);
    struct disk_index *index = disk ? disk_index_new(blocks) : NULL;
    if (!index) {
        close(fd);
        free(disk);
        errno = ENOMEM;
        return NULL;
    }
    disk->store = store;
    snprintf(disk->name, sizeof disk->name, "%s", cache_store_name(store));
    disk->fd = fd;
    disk->bytes = (uint64_t)blocks * RECORD_BLOCK_BYTES;
    disk->index = index;
    pthread_mutex_init(&disk->lock, NULL);
    pthread_cond_init(&disk->work, NULL);
    TAILQ_INIT(&disk->jobs);
    int error = thread_start(disk);
    if (!error)
        return disk;
    fd_drop(&disk->fd);
    disk_index_free(index);
    free(disk);
    errno = error;
    return NULL;
}

void cache_disk_free(struct cache_disk *disk)
{
    if (!disk)
        return;
    pthread_mutex_lock(&disk->lock);
    disk->stop = true;
    pthread_cond_signal(&disk->work);
    pthread_mutex_unlock(&disk->lock);
}

/* ---- jobs, by any thread --------------------------------------------------------------------- */

/* What waits to be written stays in memory: a quarter of the store's at most. */
static size_t queue_max(const struct cache_disk *disk)
{
    uint64_t quarter = cache_store_memory_max(disk->store) / 4;
    return quarter < CACHE_DISK_QUEUE_BYTES ? (size_t)quarter : CACHE_DISK_QUEUE_BYTES;
}

/* Under the lock. False: there are too many. */
static bool job_add(struct cache_disk *disk, struct job *job)
{
    if (!disk->ready || disk->broken || disk->job_count >= CACHE_DISK_QUEUE_MAX ||
        (job->length && disk->job_bytes + job->length > queue_max(disk)))
        return false;
    job->sequence = disk->sequence++;
    disk->job_count++;
    disk->job_bytes += job->length;
    TAILQ_INSERT_TAIL(&disk->jobs, job, next);
    pthread_cond_signal(&disk->work);
    return true;
}

void cache_disk_write(struct cache_disk *disk, struct cache_object *object)
{
    size_t length = object->bytes + object->body->length;
    struct job *job = malloc(sizeof *job);
    if (!job)
        return;
    *job = (struct job){.kind = JOB_WRITE, .object = object, .length = length};
    cache_object_ref(object);
    pthread_mutex_lock(&disk->lock);
    bool fits = length / RECORD_BLOCK_BYTES + 2 < disk_index_blocks(disk->index) / 4;
    bool added = fits && job_add(disk, job);
    disk->skipped += !added;
    pthread_mutex_unlock(&disk->lock);
    if (!added)
        job_free(job);
}

bool cache_disk_has(struct cache_disk *disk, const struct cache_key *key)
{
    struct disk_found found;
    pthread_mutex_lock(&disk->lock);
    bool has = disk->ready && !disk->broken && disk_index_find(disk->index, key->hash, &found, 1);
    pthread_mutex_unlock(&disk->lock);
    return has;
}

bool cache_disk_load(struct cache_disk *disk, const struct cache_key *key,
                     struct cache_flight *flight)
{
    struct job *job = malloc(sizeof *job);
    if (!job)
        return false;
    *job = (struct job){.kind = JOB_LOAD, .hash = key->hash, .flight = flight};
    pthread_mutex_lock(&disk->lock);
    bool added = job_add(disk, job);
    pthread_mutex_unlock(&disk->lock);
    if (!added)
        free(job); /* the flight is the caller's */
    return added;
}

/* A record of something taken out must be written, or all that is older is forgotten. */
static void text_add(struct cache_disk *disk, enum record_kind kind, uint64_t hash,
                     const char *text, size_t length)
{
    struct job *job = malloc(sizeof *job + length);
    if (job) {
        *job = (struct job){.kind = JOB_TEXT, .record = kind, .hash = hash, .length = length};
        if (length)
            memcpy(job->text, text, length);
    }
    if (job && job_add(disk, job))
        return;
    disk_index_floor(disk->index, disk->sequence);
    free(job);
}

void cache_disk_invalidate(struct cache_disk *disk, const struct cache_key *key)
{
    pthread_mutex_lock(&disk->lock);
    disk->distrusted |= !disk->ready;
    if (disk->ready && disk_index_key_forget(disk->index, key->hash))
        text_add(disk, RECORD_KEY, key->hash, "", 0);
    pthread_mutex_unlock(&disk->lock);
}

void cache_disk_purge(struct cache_disk *disk, const struct cache_purge *purge)
{
    char text[CACHE_PURGE_BYTES_MAX];
    size_t length = cache_purge_write(purge, text);
    pthread_mutex_lock(&disk->lock);
    disk->distrusted |= !disk->ready;
    if (disk->ready) {
        disk_index_purge(disk->index, purge, disk->sequence);
        text_add(disk, RECORD_PURGE, 0, text, length);
    }
    pthread_mutex_unlock(&disk->lock);
}

void cache_disk_figures(struct cache_disk *disk, struct cache_figures *figures)
{
    pthread_mutex_lock(&disk->lock);
    figures->disk_bytes = disk->bytes;
    figures->disk_objects = disk->ready ? disk_index_count(disk->index) : 0;
    figures->disk_reads = disk->reads;
    figures->disk_writes = disk->writes;
    figures->disk_skipped = disk->skipped;
    figures->disk_failures = disk->failed;
    pthread_mutex_unlock(&disk->lock);
}
