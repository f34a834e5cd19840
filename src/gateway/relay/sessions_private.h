/* What the files of relay/sessions.h share: sessions.c (their life and their datagrams) and
 * sessions_will.c (leaving them to the gateway that takes over). */
#pragma once

#include <sys/queue.h>

#include "gateway/relay/datagrams.h"
#include "gateway/relay/keyed.h"
#include "gateway/relay/sessions.h"
#include "gateway/relay/sources.h"

struct session {
    struct keyed keyed;
    TAILQ_ENTRY(session) line;
    struct watch watch;
    struct sessions *of;
    struct endpoint *endpoint; /* begun */
    struct source *source;     /* NULL: none */
    struct tally_traffic *service;
    union client_address peer; /* who wrote last: gets the answers */
    struct asked asked;
    int fd;
    uint32_t moved_ms; /* loop time, low bits: of the last datagram */
    uint32_t lined_ms; /* when it was last put at the end of the line */
    bool answered;
};

struct sessions {
    struct worker *worker;
    struct generation_use *use; /* of the newest generation; held */
    const struct plan_listener *plan;
    struct tally_traffic *tally; /* the listener's */
    struct watch watch;
    struct keyed_table table;
    struct sources sources;
    TAILQ_HEAD(, session) line; /* the quietest first */
    struct timer quiet;
    const struct endpoint *failed; /* just now: not the next choice; else NULL */
    int fd;
};

/* ---- sessions.c ---- */

/* NULL: no memory, or nobody to make room. */
struct session *session_room(struct sessions *sessions);
/* Gives back one that was not begun. */
void session_unroom(struct session *session);
/* Hears what comes from its endpoint. 0 or -errno. */
int session_watch(struct session *session);
/* Counts and lists it; its endpoint and socket are set. */
void session_begin(struct session *session, const struct key *key);
void session_end(struct session *session, enum endpoint_outcome outcome);
