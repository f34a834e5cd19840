#include "gateway/core/ban_news.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct ban_news {
    pthread_mutex_t lock;
    int fd;
    uint64_t second; /* that is counted in */
    uint32_t untold;
    unsigned count;   /* in this second */
    unsigned waiting; /* not taken yet */
    struct ban_told told[BAN_NEWS_A_SECOND_MAX];
};

struct ban_news *ban_news_new(void)
{
    struct ban_news *news = calloc(1, sizeof *news);
    if (!news)
        return NULL;
    pthread_mutex_init(&news->lock, NULL);
    news->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (news->fd >= 0)
        return news;
    ban_news_free(news);
    return NULL;
}

void ban_news_free(struct ban_news *news)
{
    if (!news)
        return;
    if (news->fd >= 0)
        close(news->fd);
    pthread_mutex_destroy(&news->lock);
    free(news);
}

int ban_news_fd(const struct ban_news *news)
{
    return news->fd;
}

static bool room(struct ban_news *news, uint64_t now_ms)
{
    uint64_t second = now_ms / 1000;
    if (second > news->second) { /* threads' clocks may differ by a turn of their loops */
        news->second = second;
        news->count = 0;
    }
    return news->count < BAN_NEWS_A_SECOND_MAX && news->waiting < BAN_NEWS_A_SECOND_MAX;
}

static void told_fill(struct ban_told *told, const struct ban *ban, const char *listener,
                      uint64_t now_ms)
{
    told->ban = *ban;
    told->seconds = (uint32_t)((ban->until_ms - now_ms) / 1000);
    snprintf(told->listener, sizeof told->listener, "%s", listener);
}

void ban_news_put(struct ban_news *news, const struct ban *ban, const char *listener,
                  uint64_t now_ms)
{
    pthread_mutex_lock(&news->lock);
    bool rings = room(news, now_ms);
    if (rings) {
        struct ban_told *told = &news->told[news->waiting++];
        told_fill(told, ban, listener, now_ms);
        told->untold = news->untold;
        news->untold = 0;
        news->count++;
    } else if (news->untold < UINT32_MAX) {
        news->untold++;
    }
    pthread_mutex_unlock(&news->lock);
    if (rings)
        eventfd_write(news->fd, 1);
}

void ban_news_take(struct ban_news *news, void (*call)(const struct ban_told *told))
{
    struct ban_told told[BAN_NEWS_A_SECOND_MAX];
    eventfd_t rung;
    eventfd_read(news->fd, &rung);
    pthread_mutex_lock(&news->lock);
    unsigned count = news->waiting;
    for (unsigned i = 0; i < count; i++)
        told[i] = news->told[i];
    news->waiting = 0;
    pthread_mutex_unlock(&news->lock);
    for (unsigned i = 0; i < count; i++)
        call(&told[i]);
}
