#include "gateway/guard/passwords.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/log.h"
#include "gateway/guard/password_hash.h"
#include "gateway/http/http_worker.h"
#include "topology/htpasswd.h"

enum { HELPERS = 2, SECRET_BYTES = 32, MARK_BYTES = 32, WAYS = 8, SETS = PASSWORDS_KEPT / WAYS };

struct mark { /* what was asked, as a keyed hash */
    uint8_t bytes[MARK_BYTES];
};

struct password_wait {
    LIST_ENTRY(password_wait) next;          /* of its job, then of its worker's answers */
    struct passwords_worker *worker;         /* NULL: gone */
    void (*answer)(void *owner, bool right); /* NULL: cancelled */
    void *owner;
    bool right;
};

LIST_HEAD(waits, password_wait);

struct job {
    TAILQ_ENTRY(job) next; /* queued; while it is done it is in `under_way` */
    struct mark mark;
    char *password; /* wiped when it was looked at */
    char *hash;
    bool nobody; /* there is no such user: whatever comes of it is wrong */
    struct waits waits;
};

TAILQ_HEAD(jobs, job);

struct kept { /* an answer of before */
    struct mark mark;
    uint64_t until_ms; /* 0: free */
    bool right;
};

struct passwords_worker { /* of a worker; answers come under the lock */
    struct worker *worker;
    struct watch watch;
    int fd; /* an eventfd: there are answers */
    struct waits answers;
};

/* One for the process; everything under its lock. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct jobs queued, under_way;
    unsigned waiting; /* all struct password_wait that there are */
    bool begun;
    uint8_t secret[SECRET_BYTES];
    struct kept kept[SETS][WAYS];
} passwords = {.lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER};

/* ---- what was found before ------------------------------------------------------------------- */

static bool part_add(EVP_MD_CTX *context, const char *text)
{
    uint32_t length = text ? (uint32_t)strlen(text) : UINT32_MAX;
    return EVP_DigestSignUpdate(context, &length, sizeof length) == 1 &&
           (!text || EVP_DigestSignUpdate(context, text, length) == 1);
}

/* With the parts' lengths, so that ("ab", "c") and ("a", "bc") differ. False: no memory. */
static bool mark_make(const struct password_question *question, struct mark *ret_mark)
{
    EVP_PKEY *key =
        EVP_PKEY_new_raw_private_key(EVP_PKEY_HMAC, NULL, passwords.secret, SECRET_BYTES);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t length = MARK_BYTES;
    bool made = key && context && EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
                part_add(context, question->user) && part_add(context, question->password) &&
                part_add(context, question->hash) &&
                EVP_DigestSignFinal(context, ret_mark->bytes, &length) == 1;
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    return made;
}

static bool same_mark(const struct mark *one, const struct mark *other)
{
    return CRYPTO_memcmp(one->bytes, other->bytes, MARK_BYTES) == 0;
}

static struct kept *set_of(const struct mark *mark)
{
    uint32_t number;
    memcpy(&number, mark->bytes, sizeof number);
    return passwords.kept[number % SETS];
}

static const struct kept *kept_find(const struct mark *mark, uint64_t now_ms)
{
    const struct kept *set = set_of(mark);
    for (unsigned i = 0; i < WAYS; i++)
        if (set[i].until_ms > now_ms && same_mark(&set[i].mark, mark))
            return &set[i];
    return NULL;
}

/* The one that would be forgotten first makes room; wrong ones are many, and go before right ones
 * since they are kept for less time. */
static void kept_add(const struct mark *mark, bool right, uint64_t now_ms)
{
    struct kept *set = set_of(mark), *least = set;
    for (unsigned i = 1; i < WAYS; i++)
        if (set[i].until_ms < least->until_ms)
            least = &set[i];
    *least = (struct kept){.mark = *mark,
                           .until_ms = now_ms + (right ? PASSWORDS_GOOD_MS : PASSWORDS_BAD_MS)};
    least->right = right;
}

/* ---- helpers: threads that do nothing else ----------------------------------------------------
 */

static void job_free(struct job *job)
{
    if (job->password)
        explicit_bzero(job->password, strlen(job->password));
    free(job->password);
    free(job->hash);
    free(job);
}

static void waits_answer(struct job *job, bool right)
{
    for (struct password_wait *wait; (wait = LIST_FIRST(&job->waits));) {
        LIST_REMOVE(wait, next);
        if (!wait->worker) {
            passwords.waiting--;
            free(wait);
            continue;
        }
        uint64_t one = 1;
        wait->right = right;
        LIST_INSERT_HEAD(&wait->worker->answers, wait, next);
        if (write(wait->worker->fd, &one, sizeof one) < 0 && errno != EAGAIN)
            log_error("bell-broken", "error=\"%s\"", strerror(errno));
    }
}

static void *helper_run(void *argument)
{
    (void)argument;
    pthread_setname_np(pthread_self(), "password");
    pthread_mutex_lock(&passwords.lock);
    for (;;) {
        struct job *job;
        while (!(job = TAILQ_FIRST(&passwords.queued)))
            pthread_cond_wait(&passwords.work, &passwords.lock);
        TAILQ_REMOVE(&passwords.queued, job, next);
        TAILQ_INSERT_TAIL(&passwords.under_way, job, next);
        pthread_mutex_unlock(&passwords.lock);
        bool right = password_hash_matches(job->password, job->hash) && !job->nobody;
        uint64_t now_ms = clock_monotonic_ms();
        pthread_mutex_lock(&passwords.lock);
        TAILQ_REMOVE(&passwords.under_way, job, next);
        kept_add(&job->mark, right, now_ms);
        waits_answer(job, right);
        job_free(job);
    }
    return NULL;
}

/* 0 or -errno; under the lock. Signals are the main thread's. */
static int helpers_start(void)
{
    sigset_t all, before;
    int started = 0, error = 0;
    if (passwords.begun)
        return 0;
    if (RAND_bytes(passwords.secret, SECRET_BYTES) != 1)
        return -EIO;
    TAILQ_INIT(&passwords.queued);
    TAILQ_INIT(&passwords.under_way);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (int i = 0; i < HELPERS && !error; i++) {
        pthread_t thread;
        error = pthread_create(&thread, NULL, helper_run, NULL);
        started += !error;
        if (!error)
            pthread_detach(thread);
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    passwords.begun = started > 0;
    return started ? 0 : -error;
}

/* ---- a worker's side ------------------------------------------------------------------------- */

static void answers_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct passwords_worker *own = watch->owner;
    uint64_t count;
    if (read(own->fd, &count, sizeof count) < 0 && errno != EAGAIN)
        log_error("bell-broken", "error=\"%s\"", strerror(errno));
    for (;;) {
        pthread_mutex_lock(&passwords.lock);
        struct password_wait *wait = LIST_FIRST(&own->answers);
        if (wait) {
            LIST_REMOVE(wait, next);
            passwords.waiting--;
        }
        pthread_mutex_unlock(&passwords.lock);
        if (!wait)
            return;
        if (wait->answer)
            wait->answer(wait->owner, wait->right);
        free(wait);
    }
}

static struct passwords_worker *worker_own(struct worker *worker)
{
    struct passwords_worker *own = worker->http->passwords;
    if (own)
        return own;
    own = calloc(1, sizeof *own);
    if (!own)
        return NULL;
    own->worker = worker;
    own->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    LIST_INIT(&own->answers);
    if (own->fd < 0 ||
        watch_start(worker->loop, &own->watch, own->fd, WATCH_READ, answers_ready, own) < 0) {
        if (own->fd >= 0)
            close(own->fd);
        free(own);
        return NULL;
    }
    return worker->http->passwords = own;
}

static void orphan(struct jobs *jobs, const struct passwords_worker *own)
{
    struct job *job;
    struct password_wait *wait;
    TAILQ_FOREACH (job, jobs, next) {
        LIST_FOREACH (wait, &job->waits, next) {
            if (wait->worker == own)
                wait->worker = NULL;
        }
    }
}

void passwords_worker_free(struct passwords_worker *own)
{
    if (!own)
        return;
    pthread_mutex_lock(&passwords.lock);
    orphan(&passwords.queued, own);
    orphan(&passwords.under_way, own);
    for (struct password_wait *wait; (wait = LIST_FIRST(&own->answers));) {
        LIST_REMOVE(wait, next);
        passwords.waiting--;
        free(wait);
    }
    pthread_mutex_unlock(&passwords.lock);
    watch_stop(own->worker->loop, &own->watch);
    close(own->fd);
    free(own);
}

void passwords_cancel(struct password_wait *wait)
{
    wait->answer = NULL; /* only its worker's thread looks at it */
}

/* ---- questions ------------------------------------------------------------------------------ */

static struct job *job_find(struct jobs *jobs, const struct mark *mark)
{
    struct job *job;
    TAILQ_FOREACH (job, jobs, next) {
        if (same_mark(&job->mark, mark))
            return job;
    }
    return NULL;
}

static struct job *job_new(const struct password_question *question, const struct mark *mark)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        return NULL;
    job->mark = *mark;
    job->nobody = !question->hash;
    job->password = strdup(question->password);
    job->hash = strdup(question->hash ? question->hash : question->like);
    LIST_INIT(&job->waits);
    if (job->password && job->hash)
        return job;
    job_free(job);
    return NULL;
}

/* Under the lock. */
static enum password_answer wait_begin(struct passwords_worker *own,
                                       const struct password_question *question,
                                       const struct mark *mark, struct password_wait **ret_wait)
{
    if (passwords.waiting >= PASSWORDS_WAITING_MAX)
        return PASSWORD_BUSY;
    struct job *job = job_find(&passwords.under_way, mark);
    if (!job)
        job = job_find(&passwords.queued, mark);
    struct job *made = job ? NULL : job_new(question, mark);
    struct password_wait *wait = job || made ? calloc(1, sizeof *wait) : NULL;
    if (!wait) {
        if (made)
            job_free(made);
        return PASSWORD_BUSY;
    }
    *wait =
        (struct password_wait){.worker = own, .answer = question->answer, .owner = question->owner};
    passwords.waiting++;
    LIST_INSERT_HEAD(job ? &job->waits : &made->waits, wait, next);
    if (made) {
        TAILQ_INSERT_TAIL(&passwords.queued, made, next);
        pthread_cond_signal(&passwords.work);
    }
    *ret_wait = wait;
    return PASSWORD_WAITS;
}

enum password_answer passwords_ask(struct worker *worker, const struct password_question *question,
                                   struct password_wait **ret_wait)
{
    struct passwords_worker *own = worker_own(worker);
    enum password_answer answer = PASSWORD_BUSY;
    struct mark mark;
    if (!question->hash && !question->like)
        return PASSWORD_WRONG;
    if (!own)
        return PASSWORD_BUSY;
    pthread_mutex_lock(&passwords.lock);
    if (helpers_start() == 0 && mark_make(question, &mark)) {
        const struct kept *kept = kept_find(&mark, loop_now(worker->loop));
        if (kept)
            answer = kept->right ? PASSWORD_RIGHT : PASSWORD_WRONG;
        else
            answer = wait_begin(own, question, &mark, ret_wait);
    }
    pthread_mutex_unlock(&passwords.lock);
    return answer;
}
