#include "gateway/core/key_hash.h"

#include <pthread.h>
#include <string.h>

#include "base/random.h"

struct sip {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotated(uint64_t word, unsigned bits)
{
    return word << bits | word >> (64 - bits);
}

static void rounds(struct sip *sip, int count)
{
    while (count-- > 0) {
        sip->v0 += sip->v1;
        sip->v1 = rotated(sip->v1, 13) ^ sip->v0;
        sip->v0 = rotated(sip->v0, 32);
        sip->v2 += sip->v3;
        sip->v3 = rotated(sip->v3, 16) ^ sip->v2;
        sip->v0 += sip->v3;
        sip->v3 = rotated(sip->v3, 21) ^ sip->v0;
        sip->v2 += sip->v1;
        sip->v1 = rotated(sip->v1, 17) ^ sip->v2;
        sip->v2 = rotated(sip->v2, 32);
    }
}

static void word_add(struct sip *sip, uint64_t word)
{
    sip->v3 ^= word;
    rounds(sip, 2);
    sip->v0 ^= word;
}

/* The bytes as a little-endian number. */
static uint64_t word_of(const unsigned char *bytes, size_t count)
{
    uint64_t word = 0;
    for (size_t i = 0; i < count; i++)
        word |= (uint64_t)bytes[i] << 8 * i;
    return word;
}

uint64_t key_hash(const struct key_secret *secret, const void *bytes, size_t length)
{
    const unsigned char *at = bytes;
    struct sip sip = {secret->first ^ 0x736f6d6570736575, secret->second ^ 0x646f72616e646f6d,
                      secret->first ^ 0x6c7967656e657261, secret->second ^ 0x7465646279746573};
    size_t left = length;
    for (; left >= 8; left -= 8, at += 8)
        word_add(&sip, word_of(at, 8));
    word_add(&sip, word_of(at, left) | (uint64_t)length << 56);
    sip.v2 ^= 0xff;
    rounds(&sip, 4);
    return sip.v0 ^ sip.v1 ^ sip.v2 ^ sip.v3;
}

static struct key_secret secret_of_process;

static void secret_make(void)
{
    struct random_state one, other;
    random_init(&one); /* each from the kernel */
    random_init(&other);
    secret_of_process = (struct key_secret){one.state, other.state};
}

const struct key_secret *key_secret(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, secret_make);
    return &secret_of_process;
}
