/* The records: what a supervisor must know of its instances after it was killed. A file in the
 * state directory, mapped into memory, so that writing is a store and a kill -9 loses nothing. One
 * record a slot, one a service. It is also what other processes of enginx read states from, without
 * a message. The owner is the supervisor; the file has a version, and one of another version is put
 * aside and begun anew (adoption then finds nothing). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RECORD_NAME_BYTES = 136, RECORDS_VERSION = 5, RECORD_PORTS_MAX = 8, RECORD_WHY_BYTES = 248 };

struct service_record {
    char name[RECORD_NAME_BYTES]; /* "": free */
    uint64_t definition;
    uint32_t wanted; /* instances, as of the last `scale` */
    uint32_t stated; /* what the file said then */
    uint32_t block;  /* of instance addresses; the first of its blocks */
    uint32_t blocks;
    /* Revisions count up with each rollout (rollout.h). */
    uint32_t revisions;                 /* so many there were */
    uint32_t revision;                  /* that the last one leads, or led to */
    uint32_t revision_before;           /* that it started from */
    uint32_t rollout;                   /* enum rollout_outcome, of the last or the one under way */
    uint64_t rollout_wall_ms;           /* when it began; once it is over, when it ended */
    char rollout_why[RECORD_WHY_BYTES]; /* why it went back; "" */
    /* One more than the revisions whose `before-start once` steps are done: of the two that count.
     * Where versions before had the end of a text that is never so long. */
    uint32_t prepared[2];
};

struct instance_record {
    char service[RECORD_NAME_BYTES]; /* "": free */
    uint32_t number;
    uint32_t epoch;
    uint32_t state; /* enum lifecycle_state */
    uint32_t restarts;
    int32_t pid;
    int32_t exit_status;  /* wait(2) status of the last end; -1: none yet */
    uint64_t start_ticks; /* with pid: that process and no other */
    uint64_t since_wall_ms;
    uint64_t up_wall_ms;    /* when it came up */
    uint16_t held;          /* drained on request */
    uint16_t step;          /* the process is its step of that number, from 1 on; 0: the program */
    uint32_t out_of_memory; /* the last end was the kernel's doing, for want of memory */
    int32_t session;     /* of the first process of this start: finds the others without cgroups */
    uint32_t revision;   /* of its service, that it was started from */
    uint64_t definition; /* the same: service.definition */
};

struct records;

/* Opens or makes STATE/records with room for so many; a file with less room grows. 0 or -errno. */
int records_open(const char *path, uint32_t services_max, uint32_t slots_max,
                 struct records **ret_records, bool *ret_fresh);
void records_close(struct records *records);
/* Of the file, without opening it for use; 0: it is none. */
uint32_t records_version(const char *path);

struct service_record *records_service(struct records *records, uint32_t index);
uint32_t records_service_number(struct records *records, const struct service_record *record);
struct instance_record *records_instance(struct records *records, uint32_t slot);
uint32_t records_services_max(const struct records *records);
uint32_t records_slots_max(const struct records *records);

/* A mark of how the logger was started that is still in use; 0: none. */
uint32_t *records_logger(struct records *records);

enum { RECORD_ELDERS_MAX = 2 };

struct gateway_record {
    uint32_t generation; /* of the configuration: counts up with each that was put to use */
    int32_t pid;         /* 0: none was started */
    uint64_t start_ticks;
    uint32_t lane; /* of the tally */
    uint32_t left; /* 1: its supervisor left in order; the next starts a gateway of its own */
    struct elder_record { /* gateways that another has taken over from (front_elder.c) */
        int32_t pid;      /* 0: none */
        uint32_t lane;
        uint64_t start_ticks;
    } elders[RECORD_ELDERS_MAX];
};
struct gateway_record *records_gateway(struct records *records);

/* Frees the records of services for which the answer is false, at the beginning: what was in the
 * file once, and is not any more, should not use them up. */
typedef bool records_keep(void *owner, const char *name);
void records_services_keep(struct records *records, records_keep *keep, void *owner);
/* The record of that name, or NULL. */
struct service_record *records_service_find(struct records *records, const char *name);
/* The same, else a free one, given that name; NULL: full, or no memory. */
struct service_record *records_service_take(struct records *records, const char *name);
/* Frees it; its number may become another service's. */
void records_service_drop(struct records *records, struct service_record *record);
