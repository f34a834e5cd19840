#include "conf/directive.h"

#include <assert.h>
#include <string.h>

#define PLANNED .id = DIRECTIVE_PLANNED

const struct directive directives[] = {
    {.name = "cluster",
     .id = DIRECTIVE_CLUSTER,
     .contexts = CONTEXT_TOP,
     .arguments = {{.name = "NAME", .type = VALUE_NAME}},
     .help = "Names the cluster. Without it the cluster is named after the file.",
     .example = "cluster shop;"},
    {.name = "quota",
     .id = DIRECTIVE_QUOTA,
     .contexts = CONTEXT_TOP | CONTEXT_SERVICE,
     .needs_option = true,
     .options = {{.name = "memory",
                  .type = VALUE_SIZE,
                  .low = 1 << 20,
                  .high = 1ull << 50,
                  .help = "memory, swap not included"},
                 {.name = "cpu",
                  .type = VALUE_PERCENT,
                  .low = 1,
                  .high = 1000000,
                  .help = "processor time; 100% is one core"},
                 {.name = "tasks",
                  .type = VALUE_INTEGER,
                  .low = 1,
                  .high = 4194304,
                  .help = "processes and threads"}},
     .help = "A ceiling: at the top level for everything together, in a service for each of its "
             "instances.",
     .example = "quota memory=256m cpu=50% tasks=64;"},
    {.name = "include",
     .id = DIRECTIVE_INCLUDE,
     .contexts = CONTEXT_TOP | CONTEXT_SERVICE | CONTEXT_REALM,
     .many = true,
     .arguments = {{.name = "PATH", .type = VALUE_PATH}},
     .help = "Reads further files as if their text stood here. A pattern reads all that match, in "
             "the order of their names; a relative path starts at the folder of the file that "
             "includes.",
     .example = "include \"services/*.conf\";"},
    {.name = "steering",
     .id = DIRECTIVE_STEERING,
     .contexts = CONTEXT_TOP,
     .arguments =
         {{.name = "HOW", .type = VALUE_CHOICE, .choices = "auto bpf seccomp", .fallback = "auto"}},
     .help = "What gives connections to instances: the kernel by BPF, or by seccomp notification "
             "where BPF is not allowed. auto takes BPF where it can be had.",
     .example = "steering seccomp;"},
    {.name = "log",
     .id = DIRECTIVE_LOG,
     .contexts = CONTEXT_TOP,
     .needs_option = true,
     .options = {{.name = "directory",
                  .type = VALUE_WORD,
                  .help = "where the files lie; without it, in the cluster's state directory"},
                 {.name = "size",
                  .type = VALUE_SIZE,
                  .low = 4096,
                  .high = 1ull << 40,
                  .fallback = "10m",
                  .help = "a file is put aside when it has this size"},
                 {.name = "keep",
                  .type = VALUE_INTEGER,
                  .high = 1000,
                  .fallback = "5",
                  .help = "files put aside that are kept, for each service"}},
     .help = "The files that the output of instances is kept in.",
     .example = "log directory=/var/log/shop size=50m keep=3;"},
    {.name = "service",
     .id = DIRECTIVE_SERVICE,
     .contexts = CONTEXT_TOP | CONTEXT_REALM,
     .block = CONTEXT_SERVICE,
     .many = true,
     .arguments = {{.name = "NAME", .type = VALUE_NAME}},
     .help = "A program, or several copies of it that serve as one.",
     .example = "service web { run node server.js; instances 4; }"},
    {.name = "listen",
     .id = DIRECTIVE_LISTEN,
     .contexts = CONTEXT_TOP | CONTEXT_REALM,
     .many = true,
     .arguments = {{.name = "ADDRESS", .type = VALUE_ADDRESS},
                   {.name = "PROTOCOL",
                    .type = VALUE_CHOICE,
                    .choices = "tcp udp !http !frames !tls"},
                   {.name = "->", .type = VALUE_ARROW},
                   {.name = "SERVICE", .type = VALUE_REFERENCE}},
     .options = {{.name = "port",
                  .type = VALUE_PORT,
                  .help =
                      "the port that the program listens on, where that is another one; without "
                      "it, the service's stated or first learnt one"},
                 {.name = "sticky", .type = VALUE_WORD, .planned = true},
                 {.name = "idle", .type = VALUE_DURATION, .planned = true}},
     .help = "Publishes a service at an address of this machine. A port alone, or with `*`, means "
             "all addresses of IPv4 and IPv6.",
     .example = "listen 8080 tcp -> web;"},
    {.name = "realm",
     .id = DIRECTIVE_REALM,
     .contexts = CONTEXT_TOP,
     .block = CONTEXT_REALM,
     .many = true,
     .arguments = {{.name = "NAME", .type = VALUE_NAME, .many = true}},
     .help =
         "What the block says, once for each name: the services are called s1.logic, s2.logic … "
         "and find each other by their names in the block. $realm is the realm's name, $index "
         "its place among the names.",
     .example = "realm s1 s2 { service logic { run ./logic --realm $realm; } "
                "listen $(7000 + $index) tcp -> logic; }"},
    {.name = "run",
     .id = DIRECTIVE_RUN,
     .contexts = CONTEXT_SERVICE,
     .arguments = {{.name = "PROGRAM", .type = VALUE_PATH},
                   {.name = "ARGUMENT", .type = VALUE_TEMPLATE, .optional = true, .many = true}},
     .help = "The program and its arguments, as they are; no shell reads them.",
     .example = "run node server.js --id $instance;"},
    {.name = "shell",
     .id = DIRECTIVE_SHELL,
     .contexts = CONTEXT_SERVICE,
     .arguments = {{.name = "TEXT", .type = VALUE_PATH}},
     .help =
         "A command line for /bin/sh, instead of `run`. In '…' its dollar signs are the shell's.",
     .example = "shell 'exec node server.js --max \"$LIMIT\" 2>&1';"},
    {.name = "directory",
     .id = DIRECTIVE_DIRECTORY,
     .contexts = CONTEXT_SERVICE,
     .arguments = {{.name = "PATH", .type = VALUE_PATH}},
     .help = "The folder that the program runs in. A relative one, and the default, start at the "
             "folder of the main configuration file.",
     .example = "directory ./api;"},
    {.name = "user",
     .id = DIRECTIVE_USER,
     .contexts = CONTEXT_SERVICE,
     .arguments = {{.name = "NAME", .type = VALUE_WORD}},
     .options = {{.name = "group", .type = VALUE_WORD, .help = "without it, the user's own"}},
     .help = "Who the program runs as. Without it, as enginx itself.",
     .example = "user www-data group=adm;"},
    {.name = "env",
     .id = DIRECTIVE_ENV,
     .contexts = CONTEXT_SERVICE,
     .many = true,
     .arguments = {{.name = "NAME=value", .type = VALUE_ASSIGNMENT, .many = true}},
     .help = "Variables of the program's environment.",
     .example = "env NODE_ENV=production DATA=$state;"},
    {.name = "environment",
     .id = DIRECTIVE_ENVIRONMENT,
     .contexts = CONTEXT_SERVICE,
     .arguments =
         {{.name = "HOW", .type = VALUE_CHOICE, .choices = "inherit clear", .fallback = "inherit"}},
     .help = "What the program's environment starts from: enginx's own, or nothing but PATH and "
             "HOME.",
     .example = "environment clear;"},
    {.name = "umask",
     .id = DIRECTIVE_UMASK,
     .contexts = CONTEXT_SERVICE,
     .arguments = {{.name = "MASK", .type = VALUE_OCTAL, .high = 0777}},
     .help = "Permissions that files which the program makes do not get: umask(2).",
     .example = "umask 027;"},
    {.name = "limit",
     .id = DIRECTIVE_LIMIT,
     .contexts = CONTEXT_SERVICE,
     .many = true,
     .arguments = {{.name = "WHAT",
                    .type = VALUE_CHOICE,
                    .choices = "nofile nproc core memlock stack fsize as data cpu"},
                   {.name = "VALUE", .type = VALUE_SIZE, .choices = "unlimited"}},
     .help = "A limit of each process, as setrlimit(2) knows them. cpu is in seconds.",
     .example = "limit nofile 65536;"},
    {.name = "instances",
     .id = DIRECTIVE_INSTANCES,
     .contexts = CONTEXT_SERVICE,
     .arguments = {{.name = "N",
                    .type = VALUE_RANGE,
                    .low = 1,
                    .high = DIRECTIVE_INSTANCES_MAX,
                    .fallback = "1"}},
     .options = {{.name = "cpu", .type = VALUE_PERCENT, .planned = true},
                 {.name = "idle", .type = VALUE_DURATION, .planned = true}},
     .help = "How many copies of the program run.",
     .example = "instances 4;"},
    {.name = "port",
     .id = DIRECTIVE_PORT,
     .contexts = CONTEXT_SERVICE,
     .many = true,
     .arguments = {{.name = "N", .type = VALUE_PORT, .choices = "none"},
                   {.name = "PROTOCOL",
                    .type = VALUE_CHOICE,
                    .choices = "tcp udp",
                    .optional = true,
                    .fallback = "tcp"}},
     .options = {{.name = "activation",
                  .type = VALUE_CHOICE,
                  .choices = "no yes",
                  .fallback = "no",
                  .help = "enginx opens the port and hands it over: LISTEN_FDS, sd_listen_fds(3)"}},
     .help =
         "A port that the program listens on. Without any the ports are learnt when it listens; "
         "`port none` says that it never does.",
     .example = "port 3000;"},
    {.name = "publish",
     .id = DIRECTIVE_PUBLISH,
     .contexts = CONTEXT_SERVICE,
     .arguments =
         {{.name = "WHETHER", .type = VALUE_CHOICE, .choices = "no yes", .fallback = "no"}},
     .help = "Whether what the program listens on can be reached from other machines as it stands, "
             "without a `listen`.",
     .example = "publish yes;"},
    {.name = "balance",
     .id = DIRECTIVE_BALANCE,
     .contexts = CONTEXT_SERVICE,
     .arguments = {{.name = "POLICY",
                    .type = VALUE_CHOICE,
                    .choices = "least round-robin random weighted hash",
                    .fallback = "least"},
                   {.name = "KEY", .type = VALUE_CHOICE, .choices = "client", .optional = true}},
     .help = "Which instance gets the next connection: the one with the least, the next one, any, "
             "the next one by weight, or always the same one for a client.",
     .example = "balance hash client;"},
    {.name = "weight",
     .id = DIRECTIVE_WEIGHT,
     .contexts = CONTEXT_SERVICE,
     .arguments =
         {{.name = "N", .type = VALUE_INTEGER, .high = DIRECTIVE_WEIGHT_MAX, .many = true}},
     .help = "The weights of instance 1, 2, …, for `balance weighted`, which it implies; those not "
             "named have 1, and 0 gets no connections.",
     .example = "weight 5 3 2;"},
    {.name = "check",
     .id = DIRECTIVE_CHECK,
     .contexts = CONTEXT_SERVICE,
     .arguments = {{.name = "HOW",
                    .type = VALUE_CHOICE,
                    .choices = "listen notify exec !http !tcp !udp !redis",
                    .fallback = "listen"},
                   {.name = "ARGUMENT", .type = VALUE_TEMPLATE, .optional = true, .many = true}},
     .options = {{.name = "every",
                  .type = VALUE_DURATION,
                  .low = 10,
                  .high = 86400000,
                  .fallback = "5s",
                  .help = "from one check to the next"},
                 {.name = "timeout",
                  .type = VALUE_DURATION,
                  .low = 1,
                  .high = 3600000,
                  .fallback = "5s",
                  .help = "a check that takes longer has failed"},
                 {.name = "rise",
                  .type = VALUE_INTEGER,
                  .low = 1,
                  .high = 1000,
                  .fallback = "1",
                  .help = "good checks in a row until it is healthy"},
                 {.name = "fall",
                  .type = VALUE_INTEGER,
                  .low = 1,
                  .high = 1000,
                  .fallback = "3",
                  .help = "bad checks in a row until it is not"}},
     .help =
         "When an instance is healthy: it listens; it says READY=1 (sd_notify(3)); or a command, "
         "its arguments following, ends with 0. With notify, STATUS=, STOPPING=1 and MAINPID= (of "
         "one "
         "of its own processes) are heeded too.",
     .example = "check exec mariadb-admin ping every=2s;"},
    {.name = "start",
     .id = DIRECTIVE_START,
     .contexts = CONTEXT_SERVICE,
     .needs_option = true,
     .options = {{.name = "within",
                  .type = VALUE_DURATION,
                  .low = 100,
                  .high = 86400000,
                  .fallback = "60s",
                  .help = "a start that takes longer has failed"}},
     .help = "How long an instance may take until it is healthy.",
     .example = "start within=5m;"},
    {.name = "restart",
     .id = DIRECTIVE_RESTART,
     .contexts = CONTEXT_SERVICE,
     .arguments = {{.name = "WHEN",
                    .type = VALUE_CHOICE,
                    .choices = "always on-failure never",
                    .fallback = "always"}},
     .options = {{.name = "backoff",
                  .type = VALUE_DURATION_RANGE,
                  .low = 1,
                  .high = 86400000,
                  .fallback = "100ms..30s",
                  .help = "the pause before the first restart, doubled up to the second value"},
                 {.name = "tries",
                  .type = VALUE_INTEGER,
                  .high = 1000000,
                  .fallback = "10",
                  .help = "starts in a row that may go wrong until it is given up; 0: any number"},
                 {.name = "reset",
                  .type = VALUE_DURATION,
                  .low = 1,
                  .high = 86400000,
                  .fallback = "10s",
                  .help =
                      "an instance that was up this long ran well: pauses and tries start anew"}},
     .help = "When an instance that ended is started again.",
     .example = "restart on-failure backoff=1s..1m tries=5;"},
    {.name = "stop",
     .id = DIRECTIVE_STOP,
     .contexts = CONTEXT_SERVICE,
     .arguments = {{.name = "SIGNAL", .type = VALUE_SIGNAL, .fallback = "SIGTERM"}},
     .options = {{.name = "within",
                  .type = VALUE_DURATION,
                  .high = 86400000,
                  .fallback = "30s",
                  .help = "after this time all of its processes are killed"},
                 {.name = "drain",
                  .type = VALUE_DURATION,
                  .low = 1,
                  .high = 86400000,
                  .fallback = "10s",
                  .help = "for open connections to end before the signal, when it is restarted or "
                          "scaled away"}},
     .help = "How an instance is asked to end.",
     .example = "stop SIGQUIT within=10s drain=1m;"},
    {.name = "uses",
     .id = DIRECTIVE_USES,
     .contexts = CONTEXT_SERVICE,
     .many = true,
     .arguments = {{.name = "SERVICE", .type = VALUE_REFERENCE, .many = true}},
     .help =
         "Services that this one connects to: they start before it, and its connections to their "
         "ports lead to them.",
     .example = "uses db cache;"},

    /* What later versions do. */
    {.name = "at",
     PLANNED,
     .contexts = CONTEXT_SERVICE,
     .many = true,
     .syntax = "at ADDRESS [weight=N];",
     .help = "An endpoint of a service that somebody else runs.",
     .example = "at 10.0.0.7:8080 weight=2;"},
    {.name = "speaks",
     PLANNED,
     .contexts = CONTEXT_SERVICE,
     .syntax = "speaks http|fastcgi|…;",
     .help = "The protocol that the gateway speaks with the program.",
     .example = "speaks fastcgi;"},
    {.name = "roll",
     PLANNED,
     .contexts = CONTEXT_SERVICE,
     .syntax = "roll [surge=N] [unavailable=N];",
     .help = "How many instances are replaced at a time when all are.",
     .example = "roll surge=1 unavailable=0;"},
    {.name = "job",
     PLANNED,
     .contexts = CONTEXT_TOP | CONTEXT_REALM,
     .many = true,
     .syntax = "job NAME { … }",
     .help = "A program that runs at times and ends.",
     .example = "job backup { run ./backup; every 1h; }"},
    {.name = "host",
     PLANNED,
     .contexts = CONTEXT_LISTEN,
     .many = true,
     .syntax = "host NAME… { … }",
     .help = "Routes for the requests to these host names.",
     .example = "host shop.example *.shop.example { route / -> web; }"},
    {.name = "route",
     PLANNED,
     .contexts = CONTEXT_LISTEN | CONTEXT_HOST,
     .many = true,
     .syntax = "route PATTERN -> SERVICE [weight=N], …;",
     .help = "Where requests whose path matches go.",
     .example = "route /api/ -> api;"},
    {.name = "certificate",
     PLANNED,
     .contexts = CONTEXT_LISTEN,
     .many = true,
     .syntax = "certificate auto|FILE [key=FILE];",
     .help = "The certificate of a TLS listener.",
     .example = "certificate auto;"},
    {.name = "redirect",
     PLANNED,
     .contexts = CONTEXT_LISTEN | CONTEXT_HOST,
     .syntax = "redirect https|URL;",
     .help = "Sends clients elsewhere.",
     .example = "redirect https;"},
    {.name = "limit",
     PLANNED,
     .contexts = CONTEXT_LISTEN | CONTEXT_HOST | CONTEXT_ROUTE,
     .many = true,
     .syntax = "limit RATE [burst=N] [by=client];",
     .help = "How many requests a client may make.",
     .example = "limit 100/s burst=50 by=client;"},
    {.name = "allow",
     PLANNED,
     .contexts = CONTEXT_LISTEN | CONTEXT_HOST | CONTEXT_ROUTE,
     .many = true,
     .syntax = "allow NETWORK…|all;",
     .help = "Clients that are served.",
     .example = "allow 10.0.0.0/8;"},
    {.name = "deny",
     PLANNED,
     .contexts = CONTEXT_LISTEN | CONTEXT_HOST | CONTEXT_ROUTE,
     .many = true,
     .syntax = "deny NETWORK…|all;",
     .help = "Clients that are refused.",
     .example = "deny all;"},
    {.name = "dns",
     PLANNED,
     .contexts = CONTEXT_TOP,
     .many = true,
     .syntax = "dns ADDRESS { zone NAME; forward ADDRESS…; }",
     .help = "A DNS server for the cluster's names.",
     .example = "dns 53 { zone shop.internal; forward 9.9.9.9; }"},
    {.name = "vpn",
     PLANNED,
     .contexts = CONTEXT_TOP,
     .many = true,
     .syntax = "vpn ADDRESS { network NETWORK; peer NAME key=KEY [allow=SERVICE,…]; }",
     .help = "A VPN server, through which peers reach services.",
     .example = "vpn 51820 { network 10.99.0.0/24; }"},
};

const size_t directive_count = sizeof directives / sizeof directives[0];

const struct directive *directive_find(const char *name, unsigned contexts)
{
    for (size_t i = 0; i < directive_count; i++)
        if (directives[i].name[0] == name[0] && (directives[i].contexts & contexts) &&
            strcmp(directives[i].name, name) == 0)
            return &directives[i];
    return NULL;
}

const struct directive *directive_by_id(enum directive_id id)
{
    for (size_t i = 0; i < directive_count; i++)
        if (directives[i].id == id)
            return &directives[i];
    assert(false && "an id without a row");
    return NULL;
}

const char *context_place(enum context context)
{
    switch (context) {
    case CONTEXT_TOP:
        return "at the top level";
    case CONTEXT_SERVICE:
        return "in `service`";
    case CONTEXT_REALM:
        return "in `realm`";
    case CONTEXT_LISTEN:
        return "in the block of `listen`";
    case CONTEXT_HOST:
        return "in `host`";
    case CONTEXT_ROUTE:
        return "in `route`";
    case CONTEXT_DNS:
        return "in `dns`";
    case CONTEXT_VPN:
        return "in `vpn`";
    }
    return "nowhere";
}

/* An argument's name, or its choices where nothing else is allowed. */
static void spec_syntax(const struct value_spec *spec, FILE *out)
{
    if (spec->type != VALUE_CHOICE && spec->choices)
        fprintf(out, "%s|", spec->name);
    else if (!spec->choices)
        fprintf(out, "%s", spec->name);
    bool skip = false, first = true;
    for (const char *at = spec->choices; at && *at; at++) {
        if (at == spec->choices || at[-1] == ' ') {
            skip = *at == '!';
            fputs(skip || first ? "" : "|", out);
            first = false;
        }
        if (!skip && *at != ' ')
            fputc(*at, out);
    }
    fputs(spec->many ? "…" : "", out);
}

void directive_syntax(const struct directive *directive, FILE *out)
{
    if (directive->syntax) {
        fputs(directive->syntax, out);
        return;
    }
    fputs(directive->name, out);
    for (size_t i = 0; i < DIRECTIVE_ARGUMENTS_MAX && directive->arguments[i].type; i++) {
        const struct value_spec *spec = &directive->arguments[i];
        fputs(spec->optional ? " [" : " ", out);
        spec_syntax(spec, out);
        fputs(spec->optional ? "]" : "", out);
    }
    for (size_t i = 0; i < DIRECTIVE_OPTIONS_MAX && directive->options[i].type; i++) {
        const struct value_spec *spec = &directive->options[i];
        if (spec->planned)
            continue;
        fprintf(out, " [%s=", spec->name);
        fputs(spec->type == VALUE_CHOICE ? "" : value_sign(spec->type), out);
        if (spec->type == VALUE_CHOICE)
            spec_syntax(spec, out);
        fputs("]", out);
    }
    fputs(directive->block ? " { … }" : ";", out);
}
