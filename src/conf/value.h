/* Values: a word's text as what a directive's row in the table says that it is. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/lexer.h"
#include "conf/variables.h"

enum value_type {
    VALUE_END, /* no further argument in the row */
    VALUE_WORD,
    VALUE_TEMPLATE,   /* text that may keep variables of run time */
    VALUE_PATH,       /* a template that is not empty */
    VALUE_ASSIGNMENT, /* NAME=value, a template */
    VALUE_NAME,       /* a new name: letters, digits, `-` and `_` */
    VALUE_REFERENCE,  /* a name that is defined elsewhere; may have dots: s1.logic */
    VALUE_CHOICE,     /* one of the row's choices and nothing else */
    VALUE_INTEGER,
    VALUE_RANGE,          /* of integers: 4 or 1..8 */
    VALUE_OCTAL,          /* 027 */
    VALUE_DURATION,       /* 500ms 10s 5m 2h */
    VALUE_DURATION_RANGE, /* 100ms..30s */
    VALUE_SIZE,           /* 64k 256m 2g; bytes */
    VALUE_PERCENT,        /* 50% */
    VALUE_RATE,           /* 100/s 50/m 10/h; kept as events an hour */
    VALUE_PORT,           /* 1 to 65535 */
    VALUE_ADDRESS,        /* 8080, 127.0.0.1:8080, [::1]:8080, *:8080 */
    VALUE_SIGNAL,         /* SIGTERM, TERM or SIGRTMIN+3 */
    VALUE_ARROW,          /* -> */
    VALUE_FILE,           /* the path of a file that is read with the configuration */
    VALUE_PATTERN,        /* text that may keep variables of a request */
    VALUE_TARGET,         /* a part of `api weight=95, canary weight=5` */
    VALUE_LIST,           /* words with commas between them: a,b,c */
    VALUE_NETWORK,        /* 10.0.0.0/8, fd00::/8, 192.0.2.1 */
    VALUE_ENDPOINT,       /* HOST:PORT, [::1]:PORT or unix:PATH */
    VALUE_HOST,           /* a host name, *.example.org or * */
    VALUE_METHODS,        /* GET,POST */
    VALUE_HEADER,         /* the name of a field of HTTP */
    VALUE_HEADER_MATCH,   /* `Name`, or `Name: value` */
    VALUE_STATUS,         /* 200 or 200-399 */
    VALUE_BYTES,          /* AT:COUNT, of a datagram */
    VALUE_FACTOR,         /* 1.25; kept as hundredths */
};

enum { NAME_BYTES_MAX = 63 };

struct value_spec {   /* a row's argument or option */
    const char *name; /* how help calls it: "N", "within" */
    enum value_type type;
    bool optional;
    bool many;    /* one or more: of the last argument, or of one that `->` follows; of an option */
    bool planned; /* recognised, but not in this version */
    uint64_t low; /* bounds in the type's unit: ms, bytes, percent; high 0: the type's own */
    uint64_t high;
    const char *choices; /* words that are allowed (too), separated by spaces; `!word` is planned */
    const char *fallback; /* the default, as it would be written; NULL: none */
    const char *help;
};

struct value_address {
    sa_family_t family; /* AF_INET, AF_INET6; AF_UNSPEC: any address of both */
    uint16_t port;
    union {
        struct in_addr v4;
        struct in6_addr v6;
    };
};

struct value_network { /* IPv4 as ::ffff:a.b.c.d, its length 96 more */
    uint8_t address[16];
    uint8_t length; /* bits, 0 to 128 */
};

struct value_endpoint {
    const char *host; /* not ended by a 0; NULL: `path` */
    uint16_t host_length;
    uint16_t port;
    const char *path; /* of a Unix socket */
};

struct value_header {   /* of VALUE_HEADER_MATCH */
    const char *text;   /* begins with the name */
    const char *wanted; /* NULL: any */
    uint16_t name_length;
};

struct value {
    const struct word *word; /* NULL: the default */
    uint32_t skip;           /* bytes of the word in front of the value: `within=` */
    int16_t choice;          /* which of the spec's choices; -1: none of them */
    bool given;              /* in the text, or by default; false: nothing is known */
    union {
        const char *text; /* words, templates, names */
        uint64_t number;
        struct {
            uint64_t low, high;
        } range;
        int signal;
        struct value_address address;
        struct value_network network;
        struct value_endpoint endpoint;
        struct value_header header;
    };
    const struct value *next; /* of an option that may be given again; NULL: the last */
};

enum { VALUE_MESSAGE_BYTES = 256, VALUE_HINT_BYTES = 512 };
struct value_problem {
    char message[VALUE_MESSAGE_BYTES];
    char hint[VALUE_HINT_BYTES];
    bool planned; /* the value is known, and not in this version: what follows it cannot be checked
                   */
};

/* Parses `text` (which must outlive the value) into *ret_value. False: *ret_problem says why. */
bool value_parse(const struct value_spec *spec, const char *text, struct value *ret_value,
                 struct value_problem *ret_problem);
/* What is allowed, in words: "1 to 1024", "least, round-robin or random". */
const char *value_allowed(const struct value_spec *spec, char *text, size_t size);
/* Is the text one of the spec's choices, or nearly? */
bool value_choice_near(const struct value_spec *spec, const char *text);
/* What may stand in the text besides itself. */
enum expansion value_expansion(enum value_type type);
/* What stands for such a value where syntax is shown: "N", "DURATION". */
const char *value_sign(enum value_type type);
