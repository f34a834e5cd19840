/* News of bans for the main thread, which tells the supervisor: of so many a second, however many
 * clients flood however many workers; how many more there were is told with the next. All threads
 * put, one takes. Of fixed size; a lock, held for a few loads and stores when somebody is banned.
 */
#pragma once

#include <stdint.h>

#include "upstream/bans.h"

enum { BAN_NEWS_A_SECOND_MAX = 10, BAN_NEWS_LISTENER_BYTES = 128 };

struct ban_told {
    struct ban ban;
    uint32_t seconds;                       /* that it lasts */
    uint32_t untold;                        /* others that were banned before it */
    char listener[BAN_NEWS_LISTENER_BYTES]; /* cut to fit */
};

struct ban_news;

struct ban_news *ban_news_new(void);       /* NULL: no memory, or no descriptor */
void ban_news_free(struct ban_news *news); /* accepts NULL */
/* An eventfd, readable when there are some. */
int ban_news_fd(const struct ban_news *news);
void ban_news_put(struct ban_news *news, const struct ban *ban, const char *listener,
                  uint64_t now_ms);
/* By one thread: calls for each, the oldest first. */
void ban_news_take(struct ban_news *news, void (*call)(const struct ban_told *told));
