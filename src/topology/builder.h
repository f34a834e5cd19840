/* The builder: what is at hand while a topology is built. Private to build.c and the files that it
 * is made of (draft.c, publish.c); lives on the stack of topology_load. */
#pragma once

#include <setjmp.h>

#include "base/table.h"
#include "conf/check.h"
#include "topology/build.h"

struct builder_input { /* what a topology is built from */
    const char *path;  /* for messages */
    const char *text;  /* NULL: to be read from `path` */
    size_t length;
    const char *directory;        /* absolute; NULL: none */
    const char *source_directory; /* what includes of `text` start from; NULL: it has none */
    const char *file;             /* absolute; "": not a file */
    const char *name_override;    /* NULL: none */
    const struct bundle *bundle;  /* what everything is read from; NULL: the disk */
};

struct draft { /* a service being built; lives in the tree's arena */
    struct draft *next;
    struct service service;            /* its texts live in the topology's arena already */
    const struct statement *statement; /* `service NAME { … }` */
    const struct value *uses;          /* names, to be resolved when all services are known */
    size_t uses_count;
    const char *local_name; /* inside its realm; the same as its name outside of one */
};

struct publication { /* a `listen` or `metrics`, done when all services are known */
    struct publication *next;
    const struct statement *statement;
    struct variables variables; /* that hold where it stands, and in its block */
};

struct access_log { /* `access-log` */
    enum access_log_format format;
    const char *const *fields;
};

struct certificate_entry { /* in the tree's arena */
    struct certificate_entry *next;
    struct certificate certificate;
};

struct builder {
    struct topology *topology;
    struct arena *arena;      /* the topology's */
    struct arena *tree_arena; /* freed when the topology is built */
    jmp_buf *trap;            /* where failed allocations go */
    struct diagnostics *diagnostics;
    struct sources sources;
    struct buffer scratch;
    struct tree_reader reader;
    struct checker checker;
    struct variables variables;
    struct table *names;     /* of services, to their drafts */
    struct table *addresses; /* of listeners, to their statements */
    struct table *hosts;     /* of the listener being built: host names, to their places */
    struct table *routes;    /* of the same: routes by what they match, to their places */
    struct table *files;     /* certificates and their kin, read */
    bool reads_files;        /* false: nothing but the text is looked at */
    struct draft *drafts;
    struct draft **drafts_tail;
    struct publication *publications;
    struct publication **publications_tail;
    size_t publication_count;
    const struct statement *first[DIRECTIVE_COUNT]; /* by kind, in the block being read */
    struct service defaults;
    struct service_job job_defaults;        /* a service whose block says nothing */
    struct site site_defaults;              /* a listener whose block says nothing */
    struct access_log access_log;           /* of listeners that do not say otherwise */
    struct certificate_entry *certificates; /* of the listener being built */
    struct certificate_entry **certificates_tail;
    size_t certificate_count;
    const struct guard_jwt **tokens; /* so far */
    size_t token_count, token_room;
    const struct route **own_routes; /* of the listener being built: see struct site */
    size_t own_route_count, own_route_room;
    size_t errors_before;           /* the listener being built */
    const char *template_directory; /* the topology's, as part of a template */
    const char *file_seen;          /* the last source's path, and its copy in the arena */
    const char *file_copy;
};

/* build.c: builds it all. NULL: reported. */
struct topology *builder_run(const struct builder_input *input,
                             const struct topology_options *options,
                             struct diagnostics *diagnostics);
/* load.c: notes in a bundle what topology_load_bundle needs to know of the input. 0 or -errno. */
int input_keep(const struct builder_input *input, const char *source_directory,
               struct bundle *bundle);

_Noreturn void builder_no_memory(struct builder *builder);
/* A copy in the topology's arena. */
const char *builder_text(struct builder *builder, const char *text);
/* An absolute path; a relative one starts at the topology's folder. */
const char *builder_path(struct builder *builder, const char *path, bool template);
/* The path of the file in which a statement stands, as messages name it. */
const char *builder_file(struct builder *builder, const struct statement *statement);
void builder_quota(struct quota *quota, const struct statement *statement);
/* Adds a name to a table of this builder; NULL: it was free, else the place where it stands first.
 */
const struct place *builder_claim(struct builder *builder, struct table *names, const char *name,
                                  const struct place *place);

/* An error at a value, or at a statement's name. */
void value_refuse(struct builder *builder, const struct value *value, const char *hint,
                  const char *format, ...) __attribute__((format(printf, 4, 5)));
void statement_refuse(struct builder *builder, const struct statement *statement, const char *hint,
                      const char *format, ...) __attribute__((format(printf, 4, 5)));

/* The first of a kind in a checked block; NULL: none. Not valid ones are found, too. */
const struct statement *statement_find(const struct statement *block, enum directive_id id);
/* The next one of its kind that is valid, from `at` on; NULL: none. */
const struct statement *statement_next(const struct statement *at, enum directive_id id);
/* The first of a kind in the block of the service being read; NULL: none. */
static inline const struct statement *builder_first(const struct builder *builder,
                                                    enum directive_id id)
{
    return builder->first[id];
}
/* A number that an option has, stated or by default; 0: none. */
static inline uint32_t option_number(const struct statement *statement, size_t option)
{
    return (uint32_t)statement->options[option].number;
}

/* The service that `name` means inside of `realm` ("" outside): one of the realm's own first. NULL:
 * reported at `place`. */
const struct draft *draft_resolve(struct builder *builder, const char *name,
                                  const struct place *place, const char *realm);
/* The same for a listener in the block of which `value` stands; also reports a service that listens
 * nowhere. */
const struct draft *draft_published(struct builder *builder, const char *name,
                                    const struct place *place, const struct variables *variables);

/* draft.c: services. */
void draft_defaults(struct builder *builder);
/* Notes the service and checks and reads its block; `variables` hold inside. */
void draft_add(struct builder *builder, const struct statement *statement,
               const struct variables *variables);
/* draft_job.c: when a job runs; its program is drafted as a service's is. */
void job_defaults(struct builder *builder);
void job_gather(struct builder *builder, struct draft *draft);
/* `before-start` and `after-stop`. */
void steps_gather(struct builder *builder, struct draft *draft);
/* All drafts to topology.services, names resolved. */
void drafts_finish(struct builder *builder);

/* draft_gather.c: what may be said several times: env, limit, port, weight, uses. */
void draft_gather(struct builder *builder, struct draft *draft);
/* draft_gateway.c: what only the gateway does with a service. */
void draft_gateway_apply(struct builder *builder, struct service *service,
                         const struct statement *statement);
/* After the whole block: connections are kept only if it says so. A PHP-FPM process serves one
 * connection until that ends, so idle ones of one thread would leave the others without any. */
void draft_speaks_settle(struct builder *builder, struct service *service);
void balance_apply(struct builder *builder, struct service *service,
                   const struct statement *statement);
/* draft_check.c: `check`. */
void check_apply(struct builder *builder, struct service *service,
                 const struct statement *statement);
/* draft_role.c: `role`. */
void instances_apply(struct builder *builder, struct service *service,
                     const struct statement *statement);
/* What can only be said when all of the block is known. */
void scale_check(struct builder *builder, const struct service *service);
void role_apply(struct builder *builder, struct service *service,
                const struct statement *statement);
/* What a listener or a route asks for at this place, can it be had of the service? False: reported.
 */
bool role_wish_check(struct builder *builder, const struct place *place,
                     const struct service *service, enum role_wish wish);
/* draft_remote.c: `at`, and what must not stand beside it. The block's statements are in
 * builder.first. */
void remotes_gather(struct builder *builder, struct draft *draft);

/* publish.c: listeners. */
void publication_add(struct builder *builder, const struct statement *statement,
                     const struct variables *variables);
void publications_finish(struct builder *builder);

/* listener_block.c: what a listener's block says of connections. */
void listener_block_apply(struct builder *builder, const struct publication *publication,
                          const struct statement *block, struct listener *listener);
void certificate_add(struct builder *builder, const struct statement *statement);
/* NULL when the listener has no `tls`. After all certificates were added. */
void listener_tls_settle(struct builder *builder, const struct publication *publication,
                         const struct statement *block, struct listener *listener);
const struct network *networks_take(struct builder *builder, const struct statement *statement,
                                    size_t *ret_count);
/* listener_path.c: who moves the bytes of `listen … tcp` or `udp`. `service` is NULL when names of
 * TLS clients choose it. */
void listener_path_settle(struct builder *builder, const struct publication *publication,
                          const struct service *service, struct listener *listener);

/* site_build.c: the block of `listen … http`. */
void site_defaults(struct builder *builder);
struct access_log access_log_take(struct builder *builder, const struct statement *statement);
/* Lower case, ended by NULL; those that builder.hosts has already are reported and left out. */
const char *const *host_names_take(struct builder *builder, const struct value *values,
                                   size_t count);
/* Empties builder.hosts and builder.routes: each listener has its own. */
void site_tables_renew(struct builder *builder);
const struct site *site_build(struct builder *builder, const struct publication *publication,
                              const struct statement *block);

/* Places of the arguments and options of `listen` in its row. */
enum { LISTEN_ADDRESS, LISTEN_PROTOCOL, LISTEN_TLS, LISTEN_ARROW, LISTEN_SERVICE };
enum {
    LISTEN_OPTION_PORT,
    LISTEN_OPTION_PATH,
    LISTEN_OPTION_IDLE,
    LISTEN_OPTION_STICKY,
    LISTEN_OPTION_TOKEN,
    LISTEN_OPTION_ROLE,
};
/* Of the service behind `->`. */
static inline enum role_wish listen_role(const struct statement *statement)
{
    const struct value *role = &statement->options[LISTEN_OPTION_ROLE];
    return role->given ? (enum role_wish)(role->choice + 1) : ROLE_WISH_ANY;
}
static inline bool listen_has_tls(const struct statement *statement)
{
    return statement->argument_count > LISTEN_TLS && statement->arguments[LISTEN_TLS].choice == 0;
}

/* What routes have from the blocks around them; NULL `outer`: of the listener. */
struct site_scope {
    const struct header_rule *headers;
    size_t header_count;
    const struct rewrite *rewrites;
    size_t rewrite_count;
    const struct guard *guards;
    size_t guard_count;
    const struct route_cache *cache;       /* NULL: none */
    const struct compression *compression; /* NULL: none */
};
/* cache_build.c: `cache` of the top level, and that of listeners, hosts and routes. */
void cache_add(struct builder *builder, const struct statement *statement);
const struct route_cache *route_cache_build(struct builder *builder,
                                            const struct statement *statement, uint32_t captures);
/* site_rules.c: `header` and `rewrite`. `captures`: how many a regular expression around has
 * (UINT32_MAX: not known here). */
void site_scope_make(struct builder *builder, const struct statement *block,
                     const struct site_scope *outer, uint32_t captures,
                     struct site_scope *ret_scope);
void captures_check(struct builder *builder, const struct value *value, uint32_t captures);

/* guard_build.c: `allow`, `deny`, `limit` and their kin, onto those of the blocks around. `where`:
 * what names the block in its listener, "" for the listener's own. */
struct guard_place {
    const struct publication *publication;
    const char *where;
    uint32_t captures; /* as site_scope_make has it */
};
void guards_make(struct builder *builder, const struct guard_place *place,
                 const struct statement *block, struct site_scope *scope);
/* guard_cors.c: `cors`, false: reported; and `security-headers`, as header rules of the scope. */
bool cors_make(struct builder *builder, const struct statement *at, struct guard *ret_guard);
void security_headers_make(struct builder *builder, const struct guard_place *place,
                           const struct statement *block, struct site_scope *scope);
/* guard_auth.c: `auth`. False: reported. */
bool auth_make(struct builder *builder, const struct guard_place *place, const struct statement *at,
               struct guard *ret_guard);
/* Where the gateway's own requests to the service of `value` go. NULL: reported. */
const struct route *own_route_make(struct builder *builder, const struct guard_place *place,
                                   const struct value *value);
/* guard_request.c: `auth request`. */
bool auth_request_make(struct builder *builder, const struct guard_place *place,
                       const struct statement *at, struct guard *ret_guard);
/* guard_jwt.c: `auth jwt`; and all of them, at the end, to topology.tokens. */
bool auth_jwt_make(struct builder *builder, const struct guard_place *place,
                   const struct statement *at, struct guard *ret_guard);
void auth_jwts_finish(struct builder *builder);
bool auth_path_good(struct builder *builder, const struct value *value);
bool auth_realm_good(struct builder *builder, const struct value *value);
/* Options of `auth` in its row. */
enum {
    AUTH_REALM,
    AUTH_PATH,
    AUTH_COPY,
    AUTH_USER,
    AUTH_REDIRECT,
    AUTH_CACHE,
    AUTH_BY,
    AUTH_KEY,
    AUTH_SECRET,
    AUTH_JWKS,
    AUTH_ISSUER,
    AUTH_AUDIENCE,
    AUTH_LEEWAY,
    AUTH_CLAIM,
    AUTH_EXP,
    AUTH_OPTIONS
};
/* guard_access.c: `allow` and `deny` of a block; NULL: it has none, or reported. */
const struct access_list *access_make(struct builder *builder, const struct statement *block);
/* guard_build.c: how many at once `100/s` allows for: as many as it has in its unit. */
uint32_t rate_burst(const struct value *rate);

/* ---- listener_flood.c ---- */

enum { FLOOD_CONNECTIONS, FLOOD_REQUESTS, FLOOD_CONCURRENT, FLOOD_BAN, FLOOD_EXCEPT };
/* Of a checked `flood`, or NULL. */
const struct flood *flood_take(struct builder *builder, const struct statement *at);

/* route_build.c: `route`, and `redirect` and `respond` of a host. `host`: its first name. */
bool route_build(struct builder *builder, const struct publication *publication,
                 const struct statement *statement, const char *host,
                 const struct site_scope *scope, struct route *ret_route);
/* Of `listen … http -> SERVICE`. */
bool route_of_listener(struct builder *builder, const struct publication *publication,
                       const struct site_scope *scope, struct route *ret_route);
/* route_target.c: what stands behind `->`; false: reported. */
bool route_targets_build(struct builder *builder, const struct publication *publication,
                         const struct value *values, size_t count, struct route *route);
struct script_options {
    const struct value *root, *index, *split;
};
/* route_script.c: of services that speak FastCGI; false: reported. */
bool route_script_build(struct builder *builder, const struct statement *statement, bool fastcgi,
                        const struct script_options *options, struct route *route);

/* route_files.c: `-> files DIR`. A service that is called `files` goes before. */
bool route_leads_to_files(const struct builder *builder, const struct value *target);
bool route_files_build(struct builder *builder, const struct value *values, size_t count,
                       const struct value *index, struct route *route);

/* Each folder has one place in the topology, however many routes lead to it. False: reported. */
bool directory_place(struct builder *builder, const struct value *value, const char *path,
                     uint32_t *ret_place);
/* site_compress.c: what a block says of compression; else `outer`. NULL: none. */
const struct compression *compression_make(struct builder *builder, const struct statement *block,
                                           const struct compression *outer);
/* route_follow.c: `internal`, `x-accel-redirect`, `x-sendfile`; `block` is the route's. False:
 * reported. */
bool route_follow_build(struct builder *builder, const struct statement *block,
                        struct route *route);

/* regex.c: is it one? The number of its captures; reported at the value, whose text has it behind
 * a `~`. */
bool regex_check(struct builder *builder, const struct value *value, uint32_t *ret_captures);

/* files.c: certificates and their kin. An absolute path in the topology's arena; the file was read.
 * NULL: reported. */
enum file_kind { FILE_CERTIFICATE, FILE_KEY, FILE_AUTHORITIES };
const char *builder_pem(struct builder *builder, const struct value *value, enum file_kind kind);
/* Another file of the configuration, whole; ended by a 0; in the tree's arena. NULL: reported, or
 * no files are looked at. */
const char *builder_file_read(struct builder *builder, const struct value *value,
                              size_t *ret_length);
/* The same for a file that no value names. */
const char *builder_pem_system(struct builder *builder, const struct statement *statement,
                               const char *path);
