/* The access log: one line for an exchange that is over, as text (one field after the other, as
 * people know it from web servers) or JSON, with the site's fields; into the worker's journal. */
#pragma once

#include "gateway/http/exchange.h"

void access_log_exchange(const struct exchange *exchange);
