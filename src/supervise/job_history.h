/* What became of the last runs of a job, over a supervisor's crash and over upgrades: a file of its
 * own in STATE/jobs, mapped into memory as the records are (records.h), so that noting a run is a
 * store, and kill -9 loses nothing. A ring. The file has a version; one of another version, or one
 * that is broken, is begun anew. Where there can be no file, it is in memory alone. Owned by the
 * job. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { JOB_EXIT_BYTES = 128 };

struct job_run {
    uint64_t begin_wall_ms;
    uint64_t duration_ms;
    uint64_t good;             /* 1: it ended well */
    char exit[JOB_EXIT_BYTES]; /* "exited with status 0" */
};

struct job_history;

/* Opens or makes DIRECTORY/NAME. `ret_error`: 0, or -errno: it is in memory alone. NULL: no memory.
 */
struct job_history *job_history_open(const char *directory, const char *name, int *ret_error);
/* The file stays. Accepts NULL. */
void job_history_close(struct job_history *history);
void job_history_remove(const char *directory, const char *name);

void job_history_add(struct job_history *history, const struct job_run *run);
/* So many runs are over, since the job began to be. */
uint64_t job_history_ended(const struct job_history *history);
/* The run before the last one by so many; NULL: there was none, or it is forgotten. */
const struct job_run *job_history_run(const struct job_history *history, uint64_t back);

/* Removes the files of jobs for which the answer is false; keep NULL: all, and the folder. */
typedef bool job_history_keep(void *owner, const char *name);
void job_histories_keep(const char *directory, job_history_keep *keep, void *owner);
