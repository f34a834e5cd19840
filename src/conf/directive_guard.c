/* What stands before routes: `allow`, `deny`, `limit`, `auth`. */
#include "conf/directive_private.h"

#define PLACES (CONTEXT_LISTEN | CONTEXT_HOST | CONTEXT_ROUTE)

static const struct directive rows[] = {
    {.name = "allow",
     .id = DIRECTIVE_ALLOW,
     .contexts = PLACES,
     .many = true,
     .arguments = {{.name = "NETWORK",
                    .type = VALUE_NETWORK,
                    .choices = "all",
                    .many = true,
                    .optional = true}},
     .options = {{.name = "file",
                  .type = VALUE_FILE,
                  .many = true,
                  .help = "networks, one a line, `#` begins a comment; may be repeated"}},
     .help = "Clients that are served. Of the `allow` and `deny` of a block the first that matches "
             "decides; whom none speaks of is served. What the blocks around it refuse stays "
             "refused. Of `listen … tcp`, connections; else requests, with 403.",
     .example = "allow 10.0.0.0/8 file=partners.txt;"},
    {.name = "deny",
     .id = DIRECTIVE_DENY,
     .contexts = PLACES,
     .many = true,
     .arguments = {{.name = "NETWORK",
                    .type = VALUE_NETWORK,
                    .choices = "all",
                    .many = true,
                    .optional = true}},
     .options = {{.name = "file",
                  .type = VALUE_FILE,
                  .many = true,
                  .help = "networks, one a line, `#` begins a comment; may be repeated"}},
     .help = "Clients that are refused; see `allow`.",
     .example = "deny all;"},
    {.name = "limit",
     .id = DIRECTIVE_GUARD_LIMIT,
     .contexts = PLACES,
     .many = true,
     .arguments = {{.name = "RATE", .type = VALUE_RATE, .optional = true, .low = 1}},
     .options =
         {{.name = "burst",
           .type = VALUE_INTEGER,
           .low = 1,
           .high = 1000000000,
           .help = "so many at once, after a pause; without it as many as the rate has in its unit "
                   "of time: 100 of 100/s"},
          {.name = "by",
           .type = VALUE_PATTERN,
           .fallback = "client",
           .help = "what has a limit of its own: each client (its address; of IPv6 the /64), "
                   "header:NAME, cookie:NAME, path, host, text with variables of the request, or "
                   "all: one limit for everybody"},
          {.name = "requests",
           .type = VALUE_INTEGER,
           .low = 1,
           .high = 1000000,
           .help = "under way at a time"},
          {.name = "status",
           .type = VALUE_INTEGER,
           .low = 400,
           .high = 599,
           .fallback = "429",
           .help = "of the answer to what is too much"}},
     .help = "How many requests there may be: in the long run RATE, at once `burst`, at the same "
             "time `requests`. All of the gateway's threads count together. What is too much is "
             "answered with 429 and Retry-After.",
     .example = "limit 100/s burst=50 by=client;"},
    {.name = "auth",
     .id = DIRECTIVE_AUTH,
     .contexts = PLACES,
     .many = true,
     .arguments = {{.name = "HOW", .type = VALUE_CHOICE, .choices = "basic request jwt"},
                   {.name = "FILE", .type = VALUE_WORD, .many = true, .optional = true}},
     .options = {{.name = "realm",
                  .type = VALUE_WORD,
                  .fallback = "restricted",
                  .help = "basic: what browsers show when they ask for a password"},
                 {.name = "path",
                  .type = VALUE_WORD,
                  .fallback = "/auth",
                  .help = "request: what the service is asked for"},
                 {.name = "copy",
                  .type = VALUE_LIST,
                  .help = "request: headers of its answer that the route's service gets; what "
                          "clients send under these names it does not get"},
                 {.name = "user",
                  .type = VALUE_HEADER,
                  .help = "request: the header of its answer that is $user"},
                 {.name = "redirect",
                  .type = VALUE_CHOICE,
                  .choices = "on off",
                  .fallback = "off",
                  .help = "request: whether a redirect of the service's goes to the client"},
                 {.name = "cache",
                  .type = VALUE_DURATION,
                  .low = 1,
                  .high = 3600000,
                  .help =
                      "request: how long an answer is remembered; without it each request asks"},
                 {.name = "by",
                  .type = VALUE_PATTERN,
                  .help = "request: what a remembered answer depends on; without it on "
                          "Authorization, Cookie, method, host, path and query"},
                 {.name = "key",
                  .type = VALUE_FILE,
                  .help = "jwt: the file of a public key, or a certificate, in PEM"},
                 {.name = "secret",
                  .type = VALUE_FILE,
                  .help = "jwt: the file of a secret, of 32 bytes at least"},
                 {.name = "jwks", .type = VALUE_FILE, .help = "jwt: the file of a JWK set"},
                 {.name = "issuer", .type = VALUE_WORD, .help = "jwt: who must have made it (iss)"},
                 {.name = "audience", .type = VALUE_WORD, .help = "jwt: whom it must be for (aud)"},
                 {.name = "leeway",
                  .type = VALUE_DURATION,
                  .high = 86400000,
                  .fallback = "0s",
                  .help = "jwt: how much clocks may differ"},
                 {.name = "claim",
                  .type = VALUE_WORD,
                  .many = true,
                  .help = "jwt: NAME=VALUE: what it must say, or have in a list; else 403; "
                          "a.b=VALUE is `b` in `a`; may be repeated"},
                 {.name = "exp",
                  .type = VALUE_CHOICE,
                  .choices = "required optional",
                  .fallback = "required",
                  .help = "jwt: whether it must say when it ends"}},
     .syntax = "auth basic FILE [realm=TEXT]; or auth request -> SERVICE [path=/PATH] "
               "[copy=HEADERS] [user=HEADER] [redirect=on] [cache=DURATION [by=TEXT]]; or auth jwt "
               "key=FILE|secret=FILE|jwks=FILE|-> SERVICE [path=/PATH] [issuer=TEXT] "
               "[audience=TEXT] [leeway=DURATION] [claim=NAME=VALUE]… [exp=optional];",
     .help =
         "Who asks must say who it is. basic: a name and a password of FILE, which has lines as "
         "htpasswd(1) writes them (bcrypt, yescrypt, SHA-crypt, apr1) and is read with the "
         "configuration; else 401. request: a service is asked, which gets the request's head with "
         "X-Original-Method and X-Original-URI: 2xx lets it pass, 401 and 403 are the "
         "client's answer. jwt: a signed token (Authorization: Bearer), whose claims are "
         "$jwt.NAME. $user is the name from then on.",
     .example = "auth basic staff.htpasswd realm=\"Staff only\";"},
};

const struct directive_rows directive_rows_guard = {
    .rows = rows,
    .count = sizeof rows / sizeof rows[0],
    .contexts = PLACES,
};
