/* The answer to a request for one file that is there: conditions, ranges, compressed variants. Its
 * body is file_send.h's. For files.c, which finds out what file is meant. */
#pragma once

#include "gateway/core/generation.h"
#include "gateway/http/exchange.h"
#include "gateway/http/file_cache.h"

/* Answers with a file (FILE_REGULAR) of that folder, and takes the reference over. */
void file_answer(struct exchange *exchange, const struct plan_directory *directory,
                 struct file *file);

/* ---- parts, for other answers of files.c ---- */

/* As file_find, in the worker's cache, which is there already. */
struct file *files_find(struct exchange *exchange, const struct plan_directory *directory,
                        const char *name, size_t length);

struct file_fields { /* of an answer's head; as many as it may have */
    struct field fields[8];
    uint32_t count;
};
void file_fields_put(struct file_fields *fields, struct slice name, struct slice value,
                     enum field_id id);

/* An answer without a body; `file` is let go. */
void file_bodiless(struct exchange *exchange, const struct file_fields *answer, uint16_t status,
                   enum body_kind body, struct file *file);
/* NULL: no memory, answered so; the file is let go then. */
struct file_send *file_send_new(struct exchange *exchange, struct file *file, uint32_t pieces);
void file_refuse(struct exchange *exchange, uint16_t status, enum exchange_blame blame,
                 const char *why);
void file_refuse_memory(struct exchange *exchange);
