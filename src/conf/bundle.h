/* A bundle: every file that a configuration was read from — its sources, what `include` patterns
 * matched, certificates and keys — in one sealed memfd(2), so that the gateway, which may open no
 * file, builds the same topology with the same code from the same bytes.
 *
 * Made by the supervisor while it loads (topology_options.collect), sent to the gateway as a
 * descriptor, read there in place of the disk (topology_load_bundle). Immutable once sealed. */
#pragma once

#include <stddef.h>

enum bundle_kind {
    BUNDLE_ROOT,        /* name: the main file, as messages name it; bytes: see topology/build.c */
    BUNDLE_SOURCE,      /* name: a path; bytes: the text */
    BUNDLE_MATCHES,     /* name: an include pattern; bytes: paths, each ended by a 0 */
    BUNDLE_FILE,        /* name: a path; bytes: of a certificate, a key, … */
    BUNDLE_ENVIRONMENT, /* name: NAME; bytes: its value; those that `$env.NAME` asked for */
    BUNDLE_KINDS,
};

enum { BUNDLE_BYTES_MAX = 64 * 1024 * 1024, BUNDLE_FILE_BYTES_MAX = 1024 * 1024 };

struct bundle;

struct bundle *bundle_new(void); /* NULL: no memory */
void bundle_free(struct bundle *bundle);
/* Copies; a second one of the same kind and name is dropped. 0, -ENOMEM, -EFBIG. */
int bundle_add(struct bundle *bundle, enum bundle_kind kind, const char *name, const void *bytes,
               size_t length);
/* A new sealed memfd with everything in it; the caller's. The fd or -errno. */
int bundle_seal(const struct bundle *bundle);

/* A sealed copy of one that was written to a file, from where `fd` stands; the caller's. The fd or
 * -errno (-EFBIG: more than BUNDLE_BYTES_MAX). Whether it is one is for bundle_open to say. */
int bundle_copy(int fd);

/* Maps what another process sealed; `fd` stays the caller's and may be closed. 0 or -errno
 * (-EPROTO: not a bundle; every offset in it was checked). */
int bundle_open(int fd, struct bundle **ret_bundle);
/* Valid until bundle_free; followed by a 0 that *ret_length (may be NULL) does not count. NULL: not
 * in it. */
const char *bundle_find(const struct bundle *bundle, enum bundle_kind kind, const char *name,
                        size_t *ret_length);
/* The n-th of a kind (NULL: no such), its name in *ret_name. */
const char *bundle_nth(const struct bundle *bundle, enum bundle_kind kind, size_t n,
                       const char **ret_name, size_t *ret_length);
