#include "upstream/bans.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/random.h"
#include "base/scoped.h"
#include "base/table.h"
#include "upstream/segment.h"

enum { BANS_MAGIC = 0x6e616265, BANS_VERSION = 1, WORD_SEED = 0, IPV6_BITS = 64 };

/* No source of packets has an address of these /64: multicast. */
#define CLIENT_IPV4 0xffff000000000000ull
#define CLIENT_ZERO 0xfffe000000000000ull /* for ::/64, since 0 is nobody */

/* Written by whoever bans: until_ms is 0 meanwhile. Two processes that write the same place at once
 * leave one of both, or a mixture of a client and a time that both were to get. */
struct place {
    _Atomic uint64_t client;
    _Atomic uint64_t until_ms;
    _Atomic uint64_t why;
    uint64_t reserved;
};

struct memory {                     /* behind the header */
    _Atomic uint64_t last_until_ms; /* nobody is banned for longer */
    _Atomic uint64_t made;
    char apart[4080];
    struct place sets[BAN_SETS][BAN_WAYS];
};

struct bans {
    void *base;
    struct memory *memory;
    uint64_t seed;
    pthread_mutex_t adding; /* so that a client is banned once */
};

enum { SEGMENT_BYTES = SEGMENT_HEADER_BYTES + sizeof(struct memory) };

/* ---- the segment ---------------------------------------------------------------------------- */

static struct bans *bans_at(void *base, const struct segment_header *header)
{
    struct bans *bans = calloc(1, sizeof *bans);
    if (!bans) {
        munmap(base, SEGMENT_BYTES);
        return NULL;
    }
    bans->base = base;
    bans->memory = (struct memory *)(void *)((char *)base + SEGMENT_HEADER_BYTES);
    bans->seed = (uint64_t)header->words[WORD_SEED] << 32 | header->words[WORD_SEED + 1];
    pthread_mutex_init(&bans->adding, NULL);
    return bans;
}

int bans_new(struct bans **ret_bans, int *ret_fd)
{
    struct random_state random;
    random_init(&random);
    struct segment_header header = {
        .magic = BANS_MAGIC,
        .version = BANS_VERSION,
        .bytes = SEGMENT_BYTES,
        .words = {[WORD_SEED] = (uint32_t)random.state, (uint32_t)(random.state >> 32)},
    };
    void *base = NULL;
    scoped_fd int fd = -1;
    int error = segment_new("enginx-bans", &header, &base, &fd);
    if (error)
        return error;
    *ret_bans = bans_at(base, &header);
    if (!*ret_bans)
        return -ENOMEM;
    *ret_fd = fd_take(&fd);
    return 0;
}

int bans_open(int fd, struct bans **ret_bans)
{
    void *base = NULL;
    struct segment_header header;
    int error = segment_open(fd, true, BANS_MAGIC, BANS_VERSION, &base, &header);
    if (error)
        return error;
    if (header.bytes != SEGMENT_BYTES) {
        munmap(base, header.bytes);
        return -EPROTO;
    }
    *ret_bans = bans_at(base, &header);
    return *ret_bans ? 0 : -ENOMEM;
}

void bans_close(struct bans *bans)
{
    if (!bans)
        return;
    pthread_mutex_destroy(&bans->adding);
    munmap(bans->base, SEGMENT_BYTES);
    free(bans);
}

/* ---- clients -------------------------------------------------------------------------------- */

static uint64_t client_of_six(const struct in6_addr *address)
{
    uint64_t client = 0;
    uint32_t four;
    if (IN6_IS_ADDR_V4MAPPED(address)) {
        memcpy(&four, &address->s6_addr[12], sizeof four);
        return CLIENT_IPV4 | ntohl(four);
    }
    for (unsigned i = 0; i < IPV6_BITS / 8; i++)
        client = client << 8 | address->s6_addr[i];
    return client ? client : CLIENT_ZERO;
}

uint64_t ban_client(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET6)
        return client_of_six(&((const struct sockaddr_in6 *)address)->sin6_addr);
    if (address->sa_family != AF_INET)
        return 0;
    return CLIENT_IPV4 | ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr);
}

const char *ban_client_text(uint64_t client, char text[BAN_TEXT_BYTES])
{
    struct in_addr four = {htonl((uint32_t)client)};
    struct in6_addr six = {0};
    if ((client & CLIENT_IPV4) == CLIENT_IPV4)
        return inet_ntop(AF_INET, &four, text, BAN_TEXT_BYTES);
    for (unsigned i = 0; client != CLIENT_ZERO && i < IPV6_BITS / 8; i++)
        six.s6_addr[i] = (uint8_t)(client >> (IPV6_BITS - 8 - 8 * i));
    inet_ntop(AF_INET6, &six, text, BAN_TEXT_BYTES);
    return strcat(text, "/64");
}

uint64_t ban_client_parse(const char *text)
{
    char address[INET6_ADDRSTRLEN];
    struct in_addr four;
    struct in6_addr six;
    size_t length = strcspn(text, "/");
    if (length >= sizeof address || (text[length] && strcmp(text + length, "/64") != 0))
        return 0;
    memcpy(address, text, length);
    address[length] = 0;
    if (inet_pton(AF_INET6, address, &six) == 1)
        return client_of_six(&six);
    if (text[length] || inet_pton(AF_INET, address, &four) != 1)
        return 0;
    return CLIENT_IPV4 | ntohl(four.s_addr);
}

const char *ban_why_text(enum ban_why why)
{
    static const char *const texts[BAN_WHYS] = {[BAN_CONNECTIONS] = "connections",
                                                [BAN_REQUESTS] = "requests",
                                                [BAN_CONCURRENT] = "concurrent connections",
                                                [BAN_SESSIONS] = "sessions"};
    return why < BAN_WHYS ? texts[why] : "unknown";
}

/* ---- bans ----------------------------------------------------------------------------------- */

static uint64_t get(const _Atomic uint64_t *word)
{
    return atomic_load_explicit(word, memory_order_acquire);
}

static void put(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_release);
}

static struct place *set_of(const struct bans *bans, uint64_t client)
{
    return bans->memory->sets[hash_bytes(&client, sizeof client, bans->seed) % BAN_SETS];
}

/* What this place has of the client; until_ms 0: nothing. */
static struct ban place_read(const struct place *place, uint64_t client)
{
    uint64_t until_ms = get(&place->until_ms);
    if (!until_ms || get(&place->client) != client)
        return (struct ban){0};
    enum ban_why why = (enum ban_why)get(&place->why);
    bool same = get(&place->until_ms) == until_ms;
    return (struct ban){.client = client, .until_ms = same ? until_ms : 0, .why = why};
}

static bool ban_is_of(enum ban_why why, enum ban_use use)
{
    return why != BAN_SESSIONS || use == BAN_USE_DATAGRAMS;
}

uint64_t bans_left_ms(const struct bans *bans, uint64_t client, enum ban_use use, uint64_t now_ms)
{
    if (now_ms >= atomic_load_explicit(&bans->memory->last_until_ms, memory_order_relaxed))
        return 0;
    const struct place *set = set_of(bans, client);
    uint64_t left_ms = 0;
    for (unsigned i = 0; i < BAN_WAYS; i++) {
        struct ban ban = place_read(&set[i], client);
        if (ban.until_ms > now_ms + left_ms && ban_is_of(ban.why, use))
            left_ms = ban.until_ms - now_ms;
    }
    return left_ms;
}

static void last_until_raise(struct memory *memory, uint64_t until_ms)
{
    uint64_t last = get(&memory->last_until_ms);
    while (last < until_ms &&
           !atomic_compare_exchange_weak(&memory->last_until_ms, &last, until_ms))
        ;
}

static void place_write(struct place *place, const struct ban *ban)
{
    put(&place->until_ms, 0);
    put(&place->client, ban->client);
    put(&place->why, ban->why);
    put(&place->until_ms, ban->until_ms);
}

/* The place that is free, or whose ban ends first. */
static struct place *place_for(struct place *set)
{
    struct place *first = set;
    for (unsigned i = 1; i < BAN_WAYS; i++)
        if (get(&set[i].until_ms) < get(&first->until_ms))
            first = &set[i];
    return first;
}

bool bans_add(struct bans *bans, const struct ban *ban, uint64_t now_ms)
{
    enum ban_use use = ban->why == BAN_SESSIONS ? BAN_USE_DATAGRAMS : BAN_USE_STREAMS;
    pthread_mutex_lock(&bans->adding);
    bool is_new = bans_left_ms(bans, ban->client, use, now_ms) == 0;
    if (is_new) {
        place_write(place_for(set_of(bans, ban->client)), ban);
        last_until_raise(bans->memory, ban->until_ms);
        atomic_fetch_add(&bans->memory->made, 1);
    }
    pthread_mutex_unlock(&bans->adding);
    return is_new;
}

bool bans_lift(struct bans *bans, uint64_t client, uint64_t now_ms)
{
    struct place *set = set_of(bans, client);
    bool was = false;
    for (unsigned i = 0; i < BAN_WAYS; i++) {
        uint64_t until_ms = place_read(&set[i], client).until_ms;
        if (until_ms > now_ms) /* it may just become somebody else's */
            was |= atomic_compare_exchange_strong(&set[i].until_ms, &until_ms, 0);
    }
    return was;
}

size_t bans_list(const struct bans *bans, struct ban *list, size_t max, uint64_t now_ms)
{
    size_t count = 0;
    if (now_ms >= get(&bans->memory->last_until_ms)) /* its pages stay as they are */
        return 0;
    for (size_t i = 0; i < (size_t)BAN_SETS * BAN_WAYS; i++) {
        const struct place *place = &bans->memory->sets[i / BAN_WAYS][i % BAN_WAYS];
        struct ban ban = place_read(place, get(&place->client));
        if (ban.until_ms <= now_ms)
            continue;
        if (list && count < max)
            list[count] = ban;
        count++;
    }
    return count;
}

uint64_t bans_made(const struct bans *bans)
{
    return get(&bans->memory->made);
}
