/* A conversation with the control server that nobody waits for: the same as control/client.h does,
 * in an event loop. For commands that go on with something else meanwhile (`enginx top`). */
#pragma once

#include <jansson.h>

#include "event/loop.h"

struct conversation;

/* Called for each object that comes: {"progress": …}, then {"ok": …} or {"error": …}, which is the
 * last. NULL: the other end went away without a last word, or said what is no JSON. The object
 * stays the caller's. After the last call the conversation is over and must not be touched any
 * more. */
typedef void conversation_heard(void *owner, const json_t *object);

/* Sends the request (taken over). 0; -errno: nobody is there, or takes it, and nothing is called.
 * *ret_conversation is the caller's until the last call. */
int conversation_begin(struct loop *loop, const char *state_directory, json_t *request,
                       conversation_heard *heard, void *owner,
                       struct conversation **ret_conversation);
/* Breaks it off; nothing is called any more. Accepts NULL. */
void conversation_end(struct conversation *conversation);
