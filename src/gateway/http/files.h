/* What a worker needs to answer with files; made when the first is asked for. */
#pragma once

#include "gateway/core/opener.h"
#include "gateway/core/worker.h"
#include "gateway/http/exchange.h"
#include "gateway/http/file_cache.h"

enum { FILES_SCRATCH_BYTES = 64 * 1024 };

struct files_worker {
    struct opener opener;
    struct file_cache *cache;
    char scratch[FILES_SCRATCH_BYTES]; /* for whoever is being called */
};

/* NULL: no memory. */
struct files_worker *files_worker(struct worker *worker);
void files_worker_free(struct files_worker *files);
/* Answers with the file of that name, ended by 0, below a folder of the generation. */
void files_serve(struct exchange *exchange, uint32_t directory, const char *name);
