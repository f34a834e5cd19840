#include "upstream/check.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/scoped.h"
#include "tls/client.h"
#include "tls/session.h"
#include "upstream/check_h2.h"
#include "upstream/checker.h"
#include "upstream/role_answer.h"

enum { REQUEST_BYTES_MAX = 16 * 1024, PIECE_BYTES = 16 * 1024 };

/* connect → (TLS) → request → answer. A check that only connects is over when it stands; one by
 * datagrams asks and reads alike. */
struct check {
    struct loop *loop;
    const struct service *service;
    check_over *over;
    void *owner;
    int fd;
    struct watch watch;
    struct timer timer;
    struct deferred failing; /* it failed while it was started */
    int error;               /* why */
    bool role;               /* it asks for the role */
    bool datagram;
    uint32_t timeout_ms;
    bool connect_only;
    bool connected;
    struct tls_session *tls; /* NULL: plain */
    struct buffer request;
    size_t plain; /* so much of it goes before TLS begins */
    size_t sent;
    struct buffer answer;
    struct check_h2 *h2; /* it speaks HTTP/2; NULL: something else */
    size_t judged;       /* of the answer, by that */
    char why[CHECK_WHY_BYTES];
};

static void check_free(struct check *check)
{
    watch_stop(check->loop, &check->watch);
    timer_stop(check->loop, &check->timer);
    deferred_stop(check->loop, &check->failing);
    tls_session_free(check->tls);
    fd_drop(&check->fd);
    buffer_done(&check->request);
    buffer_done(&check->answer);
    check_h2_free(check->h2);
    free(check);
}

void check_stop(struct check *check)
{
    if (check)
        check_free(check);
}

static void check_end(struct check *check, bool well)
{
    check_over *over = check->over;
    void *owner = check->owner;
    char why[CHECK_WHY_BYTES];
    memcpy(why, check->why, sizeof why);
    if (well && !check->role)
        why[0] = 0;
    check_free(check);
    over(owner, well, why);
}

/* "connection refused", as in the middle of a sentence. */
static void why_error(struct check *check, int error)
{
    snprintf(check->why, sizeof check->why, "%s", strerror(error));
    check->why[0] = (char)tolower((unsigned char)check->why[0]);
}

static void check_fail(struct check *check, int error)
{
    if (error == EPROTO && check->tls)
        snprintf(check->why, sizeof check->why, "TLS: %s", tls_session_why(check->tls));
    else if (error == EAGAIN)
        snprintf(check->why, sizeof check->why, "its queue of connections is full");
    else
        why_error(check, error);
    check_end(check, false);
}

/* ---- the question --------------------------------------------------------------------------- */

static void put_host(struct buffer *request, const struct check_target *target)
{
    const struct sockaddr_in *v4 = (const void *)target->address;
    const struct sockaddr_in6 *v6 = (const void *)target->address;
    char text[INET6_ADDRSTRLEN] = "localhost";
    unsigned port = 0;
    if (v4->sin_family == AF_INET) {
        inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text);
        port = ntohs(v4->sin_port);
    } else if (v4->sin_family == AF_INET6) {
        inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text);
        port = ntohs(v6->sin6_port);
    }
    const char *host = target->host ? target->host : text;
    bool colons = strchr(host, ':') != NULL;
    unsigned usual = target->tls ? 443 : 80;
    buffer_printf(request, colons ? "[%s]" : "%s", host);
    if (port && port != usual)
        buffer_printf(request, ":%u", port);
}

static void put_http(struct buffer *request, const struct check_target *target)
{
    const struct service_gateway *gateway = &target->service->gateway;
    buffer_printf(request,
                  "GET %s HTTP/1.1\r\nHost: ", gateway->check_path ? gateway->check_path : "/");
    if (gateway->check_host)
        buffer_puts(request, gateway->check_host);
    else
        put_host(request, target);
    buffer_puts(request,
                "\r\nUser-Agent: enginx-check\r\nAccept: */*\r\nConnection: close\r\n\r\n");
}

/* A header that says that this is no client's connection (proxy-protocol.txt §2: UNKNOWN, LOCAL).
 */
static void put_proxy_header(struct buffer *request, const struct service *service)
{
    static const char local[] = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    if (service->gateway.proxy_protocol == 1)
        buffer_puts(request, "PROXY UNKNOWN\r\n");
    else if (service->gateway.proxy_protocol == 2)
        buffer_append(request, local, sizeof local - 1);
}

static void put_role(struct buffer *request, const struct service *service)
{
    char bytes[ROLE_QUESTION_BYTES_MAX];
    const struct service_role *role = &service->role;
    if (role->check == ROLE_CHECK_REDIS)
        buffer_puts(request, "ROLE\r\n");
    else
        buffer_append(request, bytes, role_question_postgres(role->user, role->database, bytes));
}

static void put_h2(struct check *check, const struct check_target *target)
{
    struct buffer authority;
    buffer_init(&authority, REQUEST_BYTES_MAX);
    put_host(&authority, target);
    check->h2 = check_h2_new(target->service, authority.data ? authority.data : "", target->tls,
                             &check->request);
    check->request.overflowed |= !check->h2;
    buffer_done(&authority);
}

static void put_request(struct check *check, const struct check_target *target)
{
    struct buffer *request = &check->request;
    const struct service *service = target->service;
    if (!check->role && service->check == CHECK_UDP && service->gateway.check_send)
        buffer_puts(request, service->gateway.check_send);
    if (check->datagram || check->connect_only)
        return;
    put_proxy_header(request, service);
    check->plain = request->length;
    if (check->role)
        put_role(request, service);
    else if (check_h2_speaks(service))
        put_h2(check, target);
    else if (service->check == CHECK_HTTP)
        put_http(request, target);
    else if (service->check == CHECK_REDIS)
        buffer_puts(request, "PING\r\n");
}

/* ---- the answer ----------------------------------------------------------------------------- */

/* What it says, cut at its line's end. */
static void why_said(struct check *check)
{
    char line[64];
    size_t length = strcspn(check->answer.data, "\r\n");
    snprintf(line, sizeof line, "%.*s", (int)length, check->answer.data);
    for (char *byte = line; *byte; byte++)
        if (!isprint((unsigned char)*byte))
            *byte = '?';
    snprintf(check->why, sizeof check->why, "it said \"%s\"", line);
}

/* A server that wants a password is one that answers. */
static enum check_verdict redis_read(struct check *check, bool end)
{
    static const char *const good[] = {"+PONG", "-NOAUTH"};
    const struct buffer *answer = &check->answer;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        size_t length = strlen(good[i]);
        size_t have = answer->length < length ? answer->length : length;
        if (have > 0 && memcmp(answer->data, good[i], have) != 0)
            continue;
        if (have == length)
            return CHECK_WELL;
        if (!end)
            return CHECK_MORE;
    }
    if (answer->length > 0)
        why_said(check);
    else
        snprintf(check->why, sizeof check->why, "it closed without an answer");
    return CHECK_ILL;
}

static enum check_verdict udp_read(struct check *check)
{
    const char *expected = check->service->gateway.check_expect;
    size_t length = expected ? strlen(expected) : 0;
    if (length == 0 ||
        (check->answer.length >= length && memcmp(check->answer.data, expected, length) == 0))
        return CHECK_WELL;
    if (check->answer.length == 0)
        snprintf(check->why, sizeof check->why, "its answer was empty");
    else
        why_said(check);
    return CHECK_ILL;
}

static enum check_verdict role_read(struct check *check, bool end)
{
    struct role_answer answer;
    const struct buffer *bytes = &check->answer;
    enum check_verdict verdict =
        check->service->role.check == ROLE_CHECK_REDIS
            ? role_answer_redis(bytes->data, bytes->length, end, &answer, check->why)
            : role_answer_postgres(bytes->data, bytes->length, end, &answer, check->why);
    if (verdict == CHECK_WELL)
        snprintf(check->why, sizeof check->why, "%s %u", endpoint_role_name(answer.role),
                 answer.term);
    return verdict;
}

static enum check_verdict h2_read(struct check *check, bool end)
{
    size_t from = check->judged;
    check->judged = check->answer.length;
    return check_h2_read(check->h2, check->answer.data ? check->answer.data + from : "",
                         check->answer.length - from, end, &check->request, check->why);
}

static enum check_verdict check_read(struct check *check, bool end)
{
    if (check->role)
        return role_read(check, end);
    if (check->h2)
        return h2_read(check, end);
    switch (check->service->check) {
    case CHECK_HTTP:
        return check_http_read(check->service, check->answer.data, check->answer.length, end,
                               check->why);
    case CHECK_REDIS:
        return redis_read(check, end);
    case CHECK_UDP:
        return udp_read(check);
    case CHECK_GRPC:
    case CHECK_TCP:
    case CHECK_LISTEN:
    case CHECK_NOTIFY:
    case CHECK_EXEC:
        break;
    }
    return CHECK_WELL;
}

/* ---- going on ------------------------------------------------------------------------------- */

static ssize_t check_send(struct check *check, bool *wants_write)
{
    const char *bytes = check->request.data + check->sent;
    size_t left = check->request.length - check->sent;
    if (check->tls && check->sent >= check->plain)
        return tls_session_write(check->tls, bytes, left, wants_write);
    if (check->tls)
        left = check->plain - check->sent;
    ssize_t sent = send(check->fd, bytes, left, MSG_NOSIGNAL);
    *wants_write = true;
    return sent < 0 ? -errno : sent;
}

static ssize_t check_receive(struct check *check, void *bytes, size_t size, bool *wants_write)
{
    if (check->tls)
        return tls_session_read(check->tls, bytes, size, wants_write);
    ssize_t count = recv(check->fd, bytes, size, 0);
    *wants_write = false;
    return count < 0 ? -errno : count;
}

enum step { STEP_ON, STEP_BLOCKED, STEP_OVER }; /* OVER: the check is gone */

static enum step step_blocked(struct check *check, bool wants_write)
{
    int error = watch_change(check->loop, &check->watch, wants_write ? WATCH_WRITE : WATCH_READ);
    if (error == 0)
        return STEP_BLOCKED;
    check_fail(check, -error);
    return STEP_OVER;
}

static enum step step_connect(struct check *check)
{
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(check->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        error = errno;
    if (error) {
        check_fail(check, error);
        return STEP_OVER;
    }
    check->connected = true;
    if (check->connect_only) {
        check_end(check, true);
        return STEP_OVER;
    }
    return STEP_ON;
}

static enum step step_send(struct check *check)
{
    while (check->sent < check->request.length) {
        bool wants_write = true;
        ssize_t sent = check_send(check, &wants_write);
        if (sent == -EAGAIN)
            return step_blocked(check, wants_write);
        if (sent < 0) {
            check_fail(check, (int)-sent);
            return STEP_OVER;
        }
        check->sent += (size_t)sent;
    }
    return STEP_ON;
}

/* An empty datagram is sent once, too. */
static enum step step_send_datagram(struct check *check)
{
    if (check->sent > 0)
        return STEP_ON;
    check->sent = 1;
    if (send(check->fd, check->request.data, check->request.length, MSG_NOSIGNAL) >= 0)
        return STEP_ON;
    check_fail(check, errno);
    return STEP_OVER;
}

static enum step step_judge(struct check *check, bool end)
{
    enum check_verdict verdict = check_read(check, end);
    if (verdict == CHECK_MORE && (end || check->answer.length >= CHECK_ANSWER_BYTES_MAX)) {
        snprintf(check->why, sizeof check->why, "its answer has no end");
        verdict = CHECK_ILL;
    }
    if (verdict == CHECK_MORE)
        return STEP_ON;
    check_end(check, verdict == CHECK_WELL);
    return STEP_OVER;
}

static enum step step_receive(struct check *check)
{
    static char piece[PIECE_BYTES]; /* of the one thread that checks */
    bool wants_write = false;
    size_t room = CHECK_ANSWER_BYTES_MAX - check->answer.length;
    size_t size = room < sizeof piece ? room : sizeof piece;
    ssize_t count = check_receive(check, piece, size, &wants_write);
    if (check->tls && !check->role && check->service->check == CHECK_TCP &&
        tls_session_done(check->tls)) {
        check_end(check, true);
        return STEP_OVER;
    }
    if (count == -EAGAIN)
        return step_blocked(check, wants_write);
    if (count < 0) {
        /* What came before a reset may be enough. */
        if (check->answer.length > 0 && count == -ECONNRESET)
            return step_judge(check, true);
        check_fail(check, (int)-count);
        return STEP_OVER;
    }
    buffer_append(&check->answer, piece, (size_t)count);
    if (check->answer.overflowed) {
        check_fail(check, ENOMEM);
        return STEP_OVER;
    }
    return step_judge(check, count == 0 && !check->datagram);
}

static void check_ready(struct watch *watch, unsigned events)
{
    (void)events;
    struct check *check = watch->owner;
    enum step step = check->connected ? STEP_ON : step_connect(check);
    if (step == STEP_ON)
        step = check->datagram ? step_send_datagram(check) : step_send(check);
    while (step == STEP_ON) {
        bool more = check->h2 && check->sent < check->request.length; /* an acknowledgement */
        step = more ? step_send(check) : step_receive(check);
    }
}

static void check_late(struct timer *timer)
{
    struct check *check = timer->owner;
    snprintf(check->why, sizeof check->why, "no %s in %u ms",
             check->connected ? "answer" : "connection", check->timeout_ms);
    check_end(check, false);
}

/* ---- the beginning -------------------------------------------------------------------------- */

static void check_failing(struct deferred *deferred)
{
    struct check *check = deferred->owner;
    check_fail(check, check->error);
}

/* TLS without a client for it: that it accepts is all that can be said. */
static bool is_connect_only(const struct check_target *target)
{
    const struct service *service = target->service;
    if (target->role || service->check == CHECK_UDP || target->tls)
        return false;
    return service->check == CHECK_TCP || service->gateway.tls.on;
}

static int check_connect(struct check *check, const struct check_target *target)
{
    int kind = check->datagram ? SOCK_DGRAM : SOCK_STREAM;
    check->fd = socket(target->address->sa_family, kind | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (check->fd < 0)
        return -errno;
    if (kind == SOCK_STREAM && target->address->sa_family != AF_UNIX) {
        int on = 1; /* else the question waits for the acknowledgement of what went before it */
        (void)setsockopt(check->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    if (connect(check->fd, target->address, target->address_length) < 0 && errno != EINPROGRESS)
        return -errno;
    if (target->tls) {
        const char *name = tls_client_name(target->tls);
        check->tls = tls_session_connect(target->tls, check->fd, name ? name : target->host);
        if (!check->tls)
            return -ENOMEM;
    }
    return watch_start(check->loop, &check->watch, check->fd, WATCH_WRITE, check_ready, check);
}

struct check *check_start(struct loop *loop, const struct check_target *target, check_over *over,
                          void *owner)
{
    struct check *check = calloc(1, sizeof *check);
    if (!check)
        return NULL;
    *check = (struct check){
        .loop = loop,
        .service = target->service,
        .over = over,
        .owner = owner,
        .fd = -1,
        .role = target->role,
        .timeout_ms =
            target->role ? target->service->role.timeout_ms : target->service->check_timeout_ms,
        .datagram = !target->role && target->service->check == CHECK_UDP,
        .connect_only = is_connect_only(target),
    };
    buffer_init(&check->request, REQUEST_BYTES_MAX);
    buffer_init(&check->answer, CHECK_ANSWER_BYTES_MAX);
    put_request(check, target);
    int error = check->request.overflowed ? -EMSGSIZE : check_connect(check, target);
    if (!error)
        error = timer_start(loop, &check->timer, check->timeout_ms, check_late, check);
    if (error) {
        check->error = -error;
        deferred_start(loop, &check->failing, check_failing, check);
    }
    return check;
}
