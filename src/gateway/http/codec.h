/* What the codecs of clients (h1_*, h2_*) do alike with an exchange: its beginning and its end. For
 * their own files. */
#pragma once

#include "gateway/core/stream.h"
#include "gateway/http/exchange.h"

/* Is the client one of the site's `trust`? Looked up once in a generation. */
bool codec_trust(struct client_base *client);
/* A request begins on the client's stream: fills an exchange that is all zero. It has the client's
 * generation, without a reference of its own; `arena` is its from now on. */
void codec_exchange_begin(struct exchange *exchange, const struct codec *codec,
                          struct client_base *client, const struct stream *stream,
                          struct bump *arena);
/* It is over, after `why` unless `whole`: lets the handler go if it is still there, counts, logs,
 * frees the arena. */
void codec_exchange_end(struct exchange *exchange, bool whole, const char *why);
