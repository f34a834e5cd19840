/* Sites: what an HTTP listener does with requests — hosts, their routes, and what a route does — as
 * the configuration says it. Values of a topology: in its arena, immutable, made by site_build.c
 * from a `listen … http` block. Nothing here is compiled: gateway/http/match.h makes a matcher of
 * it.
 *
 * Texts marked "pattern" may hold request variables ($host $path $query $uri $scheme $method
 * $client $request_id $user $1…$9 of a regular expression), which are expanded for each request
 * (gateway/http/expand.h); `$$` is a dollar sign. Names were checked when it was built. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "topology/endpoint_role.h"

enum {
    SITE_HOSTS_MAX = 20000,
    SITE_ROUTES_MAX = 1000000, /* of a listener, all hosts together */
    ROUTE_TARGETS_MAX = 16,
    HEADER_RULES_MAX = 64, /* of a route, with those around it */
    REWRITES_MAX = 64,
    DIRECTORIES_MAX = 256,       /* of routes to files, in the whole topology */
    FOLLOW_DIRECTORIES_MAX = 16, /* `x-sendfile` of a route */
    CACHES_MAX = 64,
    CACHE_STATUSES_MAX = 64, /* of `statuses=` */
    CACHE_BYPASS_MAX = 16,
};

enum path_kind {
    PATH_PREFIX, /* `/api/`: the path starts with it; `/api` matches /api and /api/…, not /apis */
    PATH_EXACT,  /* `=/api` */
    PATH_GLOB,   /* `*.php`, `/files/ *.zip`: `*` is any text, `/` included, `?` one byte */
    PATH_REGEX,  /* `~^/u/([0-9]+)$`: PCRE2 */
};

enum header_action { HEADER_SET, HEADER_ADD, HEADER_REMOVE };

struct header_rule { /* `header request set X-Real-IP $client;` */
    bool response;   /* of the response; else of the request as the upstream gets it */
    enum header_action action;
    const char *name;  /* as written */
    const char *value; /* pattern; NULL: HEADER_REMOVE */
};

/* The protocol of requests to a service, by the choices of `speaks`. */
enum service_speaks { SPEAKS_HTTP, SPEAKS_FASTCGI, SPEAKS_UWSGI, SPEAKS_SCGI, SPEAKS_HTTP2 };

/* Is what it is told a set of CGI variables? */
static inline bool speaks_cgi(enum service_speaks speaks)
{
    return speaks == SPEAKS_FASTCGI || speaks == SPEAKS_UWSGI || speaks == SPEAKS_SCGI;
}

struct route_target { /* `-> api weight=95` */
    uint32_t service; /* index in the topology */
    uint32_t weight;  /* 0 … 1000 */
    enum role_wish role;
};

struct rewrite {             /* at most one of the three is set in a rule */
    const char *strip;       /* `rewrite strip=/api;`: this prefix of the path is taken off */
    const char *prefix;      /* `rewrite prefix=/v1;`: this is put in front of it */
    const char *regex;       /* `rewrite ~^/old/(.*)$ /new/$1;` */
    const char *replacement; /* pattern; of the path, may end in ?query */
};

enum route_kind {
    ROUTE_PROXY,    /* to a service */
    ROUTE_REDIRECT, /* `redirect URL status=308;` */
    ROUTE_RESPOND,  /* `respond 200 "text";` */
    ROUTE_FILES,    /* `-> files ./public` */
};

struct route_files {
    uint32_t directory;   /* index in the topology's directories */
    bool listing;         /* a folder without an index is shown */
    const char *index;    /* the file that stands for a folder */
    const char *fallback; /* below the directory, with `/` in front: for what is not there; NULL */
};

enum { COMPRESSION_CODINGS_MAX = 3, COMPRESSION_TYPES_MAX = 64 };

enum coding { CODING_BROTLI, CODING_ZSTD, CODING_GZIP }; /* as `compress` has them */

struct compression { /* `compress br gzip types=text/… min=1k level=4;` */
    enum coding codings[COMPRESSION_CODINGS_MAX]; /* the one that we like best first */
    size_t coding_count;
    const char *const *types; /* lower case, `*` is any text; ends with NULL */
    uint64_t bytes_min;
    uint8_t level; /* 1 … 9 */
};

struct route_follow {            /* what is done when the service's response asks for it */
    bool accel;                  /* `x-accel-redirect;`: X-Accel-Redirect leads to another route */
    const uint32_t *directories; /* `x-sendfile DIR;`: index in the topology's directories */
    size_t directory_count;
};

struct network { /* 10.0.0.0/8; IPv4 as ::ffff:a.b.c.d, length + 96 */
    uint8_t address[16];
    uint8_t length; /* bits, 0 … 128 */
};

struct route_cache {           /* `cache pages ttl=10m …;` */
    uint32_t store;            /* index in the topology's caches */
    const uint16_t *statuses;  /* that ttl_ms is for; ends with 0 */
    const char *key;           /* pattern; NULL: scheme, host and target */
    const char *const *bypass; /* patterns; ends with NULL */
    uint64_t ttl_ms;           /* 0: what says no freshness is not stored */
    uint64_t stale_ms;   /* beyond its time, when the service fails; unless the answer says it */
    uint64_t refresh_ms; /* the same while a new one is fetched */
    uint32_t lock_ms;    /* 0: nobody waits */
    bool obey;           /* what clients' Cache-Control says counts */
    const struct network *purgers; /* whose PURGE is obeyed */
    size_t purger_count;
};

struct route_match_header { /* `header="X-Beta: yes"`; value NULL: it is there at all */
    const char *name;
    const char *value;
};

struct guard; /* guard.h */

struct route {
    enum path_kind path_kind;
    const char *path;           /* without its `=` or `~` */
    const char *const *methods; /* ends with NULL; NULL: all */
    const struct route_match_header *headers;
    size_t header_count;

    enum route_kind kind;
    const struct route_target *targets; /* ROUTE_PROXY */
    size_t target_count;
    enum service_speaks speaks; /* what all of them speak */
    const char *root;     /* of a service that speaks FastCGI: where its scripts lie; NULL: HTTP */
    const char *index;    /* with root: "index.php", or "/index.php" for all that is no script */
    const char *split;    /* with root: what a script's name ends with */
    const char *location; /* ROUTE_REDIRECT: pattern; `https` becomes https://$host$uri */
    uint16_t status;      /* of a redirect or response */
    const char *body;     /* ROUTE_RESPOND: pattern; NULL: empty */
    const char *type;     /* Content-Type of the body */
    const struct route_files *files;   /* ROUTE_FILES */
    const struct route_follow *follow; /* ROUTE_PROXY; NULL: nothing is */
    bool internal;                     /* clients do not reach it */
    const struct route_cache *cache;   /* ROUTE_PROXY; NULL: none */

    const struct rewrite *rewrites; /* in their order; the host's first */
    size_t rewrite_count;
    const struct header_rule *headers_change; /* in their order: listener's, host's, route's */
    size_t headers_change_count;
    const struct guard *guards; /* in the order in which they are asked */
    size_t guard_count;
    const struct compression *compression; /* NULL: none */
    uint64_t body_bytes_max;               /* 0: the listener's */
    uint32_t response_ms;                  /* timeout response= of the route; 0: the service's */
    const char *name; /* for metrics and logs: "shop.example /api/"; unique in the site */
    const char *file;
    size_t line;
};

struct site_host {
    const char *const
        *names; /* lower case; "shop.example", "*.shop.example", "*"; ends with NULL */
    const struct route *routes;
    size_t route_count;
};

enum access_log_format { ACCESS_OFF, ACCESS_TEXT, ACCESS_JSON };

/* The names that `access-log … fields=` may list; ends with NULL. */
extern const char *const access_log_fields[];

struct certificate {              /* `certificate shop.pem key=shop.key;` */
    const char *certificate_file; /* absolute; PEM, the chain after it */
    const char *key_file;
};

enum client_certificate {
    CLIENT_CERTIFICATE_NONE,
    CLIENT_CERTIFICATE_OPTIONAL,
    CLIENT_CERTIFICATE_REQUIRE
};

struct listener_tls {                       /* of `listen … tls` */
    const struct certificate *certificates; /* the first is for names that none has */
    size_t certificate_count;
    int version_min;                /* 12 or 13 */
    const char *ciphers;            /* of TLS 1.2, OpenSSL's syntax; NULL: sane ones */
    enum client_certificate client; /* client certificates */
    const char *client_ca_file;
    bool tickets;
};

struct site {                      /* of a `listen … http` */
    const struct site_host *hosts; /* what stands in no `host` block is host "*", the last */
    size_t host_count;
    /* Of the gateway's own requests, which guards make; in no host. */
    const struct route *const *own_routes;
    size_t own_route_count;
    enum access_log_format access_log;
    const char *const *access_fields; /* names, ends with NULL; NULL: the usual ones */
    const struct network *trusted;    /* proxies whose X-Forwarded-* are believed */
    size_t trusted_count;
    bool http2;
    uint32_t header_ms; /* for a whole request head, from its first byte */
    uint32_t body_ms;   /* between two reads of a body */
    uint32_t send_ms;   /* between two writes that the client takes */
    uint32_t idle_ms;   /* kept alive without a request */
    uint32_t tunnel_ms; /* WebSocket and other upgrades: without a byte either way */
    uint32_t header_bytes_max;
    uint32_t header_count_max;
    uint64_t body_bytes_max; /* 0: no bound */
    uint32_t rate_bytes_min; /* bodies slower than so many bytes/s are cut; 0: none */
};
