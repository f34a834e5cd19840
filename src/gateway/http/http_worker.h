/* What HTTP needs once per worker: recycled memory, room to parse into, the connections of clients,
 * and those of them that go on at the end of this turn. For http/'s own files. */
#pragma once

#include "base/clock.h"
#include "event/loop.h"
#include "gateway/core/worker.h"
#include "gateway/http/bump.h"
#include "gateway/http/head.h"
#include "gateway/http/match.h"

enum {
    ARENA_CHUNKS_KEPT = 512,
    SPARE_EXCHANGES_MAX = 512,
    DATE_BYTES = 30, /* "Thu, 01 Jan 2026 00:00:00 GMT" */
};

struct h1_connection;
struct h1_exchange;
struct h2_worker;
struct files_worker;
struct passwords_worker;
struct cache_mailbox;
struct compress_worker;
struct jwks_worker;

struct http_worker {
    struct bump_store *arenas;
    struct field request_fields[HEAD_FIELDS_MAX];
    struct field response_fields[HEAD_FIELDS_MAX];
    char match_scratch[MATCH_SCRATCH_BYTES];
    LIST_HEAD(, h1_connection) connections;
    struct h2_worker *h2; /* NULL: none yet */
    struct h1_exchange *spares;
    unsigned spare_count;
    struct h1_connection *resume_first; /* what waits for the end of the turn */
    struct h1_connection **resume_last;
    struct deferred resume;
    struct files_worker *files;          /* NULL: none were asked for yet */
    struct passwords_worker *passwords;  /* the same */
    struct cache_mailbox *cache_mailbox; /* NULL: nobody waited for another's answer yet */
    struct compress_worker *compress;    /* NULL: nothing was compressed yet */
    struct jwks_worker *jwks;            /* NULL: no keys of services were asked for yet */
    bool draining;
    char date[DATE_BYTES];    /* of the second */
    uint64_t stderr_until_ms; /* FastCGI's STDERR is logged in bounds: of this second, so many */
    unsigned stderr_lines;
    uint64_t date_ms; /* loop time when it was made; 0: never */
};

/* The time as HTTP says it, at most a tenth of a second old. */
struct slice http_date(struct worker *worker);
