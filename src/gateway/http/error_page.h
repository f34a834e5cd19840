/* Answers of our own when something failed: a few lines of text, or JSON for a client that asks for
 * it, that say who failed and give the request id. What exactly went wrong stands in the log. */
#pragma once

#include "gateway/http/exchange.h"

/* By exchange->blame. The response is over after it (the client may still have to take it). */
void error_page_respond(struct exchange *exchange, uint16_t status);
