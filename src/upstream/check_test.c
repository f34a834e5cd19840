#include "upstream/check.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "tls/client.h"
#include "tls/server.h"
#include "upstream/check_rig.h"
#include "upstream/checker.h"

struct fixture {
    struct loop *loop;
    struct rig_server server;
    struct service service;
    struct check_target target;
    bool over;
    bool well;
    char why[CHECK_WHY_BYTES];
};

static int fixture_begin(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->loop = loop_new();
    fixture->service.check_timeout_ms = 500;
    rig_server_start(&fixture->server, fixture->loop, false);
    fixture->target =
        (struct check_target){.service = &fixture->service,
                              .address = (const struct sockaddr *)&fixture->server.address,
                              .address_length = sizeof fixture->server.address};
    *state = fixture;
    return 0;
}

static int fixture_end(void **state)
{
    struct fixture *fixture = *state;
    rig_server_stop(&fixture->server);
    loop_free(fixture->loop);
    free(fixture);
    return 0;
}

static void over(void *owner, bool well, const char *why)
{
    struct fixture *fixture = owner;
    assert_false(fixture->over);
    fixture->over = true;
    fixture->well = well;
    snprintf(fixture->why, sizeof fixture->why, "%s", why);
}

/* Checks; what it found: "" when well. */
static const char *check(struct fixture *fixture, enum check_kind kind)
{
    fixture->service.check = kind;
    fixture->over = false;
    assert_non_null(check_start(fixture->loop, &fixture->target, over, fixture));
    assert_false(fixture->over);
    rig_pass(fixture->loop, 0);
    if (!fixture->over) {
        rig_pass(fixture->loop, 499);
        assert_false(fixture->over);
        rig_pass(fixture->loop, 1);
    }
    assert_true(fixture->over);
    assert_int_equal(fixture->well, fixture->why[0] == '\0');
    return fixture->why;
}

static void deafen(struct fixture *fixture)
{
    rig_server_deafen(&fixture->server);
}

static void tcp_is_well_when_it_accepts(void **state)
{
    struct fixture *fixture = *state;
    fixture->server.silent = true;
    assert_string_equal(check(fixture, CHECK_TCP), "");
    assert_int_equal(fixture->server.accepted, 1);
    deafen(fixture);
    assert_string_equal(check(fixture, CHECK_TCP), "connection refused");
}

static void http_asks_and_judges(void **state)
{
    struct fixture *fixture = *state;
    char expected[256];
    fixture->service.gateway.check_path = "/healthz?full=1";
    fixture->server.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    assert_string_equal(check(fixture, CHECK_HTTP), "");
    snprintf(expected, sizeof expected,
             "GET /healthz?full=1 HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUser-Agent: enginx-check\r\n"
             "Accept: */*\r\nConnection: close\r\n\r\n",
             ntohs(fixture->server.address.sin_port));
    assert_string_equal(fixture->server.asked, expected);
    fixture->service.gateway.check_host = "shop.example";
    fixture->server.answer = "HTTP/1.1 503 Busy\r\n\r\n";
    assert_string_equal(check(fixture, CHECK_HTTP), "status 503");
    assert_non_null(strstr(fixture->server.asked, "\r\nHost: shop.example\r\n"));
    fixture->server.answer = NULL;
    assert_string_equal(check(fixture, CHECK_HTTP), "no answer in 500 ms");
    fixture->server.closes = true;
    assert_string_equal(check(fixture, CHECK_HTTP), "it closed without an answer");
    fixture->service.gateway.check_match = "ok";
    fixture->server.answer = "HTTP/1.1 200 OK\r\n\r\nno k";
    assert_string_equal(check(fixture, CHECK_HTTP), "its body does not hold \"ok\"");
}

static void an_endless_answer_is_cut(void **state)
{
    struct fixture *fixture = *state;
    fixture->service.gateway.check_match = "never";
    fixture->server.answer = "HTTP/1.1 200 OK\r\n\r\nand on and on and on";
    fixture->server.endless = true;
    assert_string_equal(check(fixture, CHECK_HTTP),
                        "its first 64 KiB do not hold what they should");
}

static void redis_answers_a_ping(void **state)
{
    struct fixture *fixture = *state;
    fixture->server.answer = "+PONG\r\n";
    assert_string_equal(check(fixture, CHECK_REDIS), "");
    assert_string_equal(fixture->server.asked, "PING\r\n");
    fixture->server.answer = "-NOAUTH Authentication required.\r\n";
    assert_string_equal(check(fixture, CHECK_REDIS), "");
    fixture->server.answer = "-LOADING \x1b[2Jdataset\r\n";
    assert_string_equal(check(fixture, CHECK_REDIS), "it said \"-LOADING ?[2Jdataset\"");
    fixture->server.answer = "+PON";
    assert_string_equal(check(fixture, CHECK_REDIS), "no answer in 500 ms");
    fixture->server.closes = true;
    assert_string_equal(check(fixture, CHECK_REDIS), "it said \"+PON\"");
}

static void udp_answers(void **state)
{
    struct fixture *fixture = *state;
    rig_server_stop(&fixture->server);
    rig_server_start(&fixture->server, fixture->loop, true);
    fixture->server.answer = "hello there";
    fixture->service.gateway.check_send = "hi?";
    assert_string_equal(check(fixture, CHECK_UDP), "");
    assert_string_equal(fixture->server.asked, "hi?");
    fixture->service.gateway.check_expect = "hello";
    assert_string_equal(check(fixture, CHECK_UDP), "");
    fixture->service.gateway.check_expect = "hello where";
    assert_string_equal(check(fixture, CHECK_UDP), "it said \"hello there\"");
    fixture->service.gateway.check_send = NULL; /* an empty datagram */
    fixture->service.gateway.check_expect = NULL;
    fixture->server.accepted = 0;
    fixture->server.answer = "";
    assert_string_equal(check(fixture, CHECK_UDP), "");
    assert_int_equal(fixture->server.accepted, 1);
    fixture->server.answer = NULL;
    assert_string_equal(check(fixture, CHECK_UDP), "no answer in 500 ms");
    deafen(fixture);
    assert_string_equal(check(fixture, CHECK_UDP), "connection refused");
}

static void a_proxy_header_says_that_it_is_nobody(void **state)
{
    struct fixture *fixture = *state;
    fixture->service.gateway.proxy_protocol = 1;
    fixture->server.answer = "+PONG\r\n";
    assert_string_equal(check(fixture, CHECK_REDIS), "");
    assert_string_equal(fixture->server.asked, "PROXY UNKNOWN\r\nPING\r\n");
    fixture->service.gateway.proxy_protocol = 2;
    assert_string_equal(check(fixture, CHECK_REDIS), "");
    assert_memory_equal(fixture->server.asked, "\r\n\r\n", 5); /* its fifth byte is 0 */
}

static void unix_sockets_are_checked(void **state)
{
    struct fixture *fixture = *state;
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    snprintf(path.sun_path, sizeof path.sun_path, "/tmp/check-test-%d", (int)getpid());
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (void *)&path, sizeof path), 0);
    fixture->target.address = (const struct sockaddr *)&path;
    fixture->target.address_length = sizeof path;
    assert_string_equal(check(fixture, CHECK_TCP), "connection refused");
    assert_int_equal(listen(fd, 0), 0);
    assert_string_equal(check(fixture, CHECK_TCP), "");
    assert_string_equal(check(fixture, CHECK_TCP), "its queue of connections is full");
    close(fd);
    unlink(path.sun_path);
    assert_string_equal(check(fixture, CHECK_TCP), "no such file or directory");
}

static void a_check_may_be_stopped_at_any_time(void **state)
{
    struct fixture *fixture = *state;
    fixture->service.check = CHECK_HTTP;
    struct check *running = check_start(fixture->loop, &fixture->target, over, fixture);
    rig_pass(fixture->loop, 100); /* asked */
    check_stop(running);
    fixture->target.address_length = 1; /* cannot be connected to */
    running = check_start(fixture->loop, &fixture->target, over, fixture);
    check_stop(running);
    check_stop(NULL);
    rig_pass(fixture->loop, 1000);
    assert_false(fixture->over);
    assert_string_equal(check(fixture, CHECK_TCP), "invalid argument");
}

/* ---- TLS ------------------------------------------------------------------------------------ */

static char identity[2][4096]; /* a certificate, a key: PEM */

static const char *identity_read(void *owner, const char *path, size_t *ret_length)
{
    (void)owner;
    const char *text = identity[strcmp(path, "key") == 0];
    *ret_length = strlen(text);
    return text;
}

static void identity_make(void)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    BIO *bios[2] = {BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem())};
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    PEM_write_bio_X509(bios[0], certificate);
    PEM_write_bio_PrivateKey(bios[1], key, NULL, NULL, 0, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        int length = BIO_read(bios[i], identity[i], sizeof identity[i] - 1);
        assert_true(length > 0);
        identity[i][length] = '\0';
        BIO_free(bios[i]);
    }
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void checks_go_through_tls(void **state)
{
    struct fixture *fixture = *state;
    static const struct certificate certificate = {"certificate", "key"};
    static const struct listener_tls listener = {
        .certificates = &certificate, .certificate_count = 1, .version_min = 12};
    char why[256] = "";
    identity_make();
    fixture->service.gateway.tls = (struct service_tls){.on = true};
    struct tls_client *client = NULL;
    int error = tls_client_new(&fixture->service.gateway.tls, NULL, identity_read, NULL, &client,
                               why, sizeof why);
    assert_string_equal(why, "");
    assert_int_equal(error, 0);
    fixture->server.answer = "HTTP/1.1 200 OK\r\n\r\n";

    assert_string_equal(check(fixture, CHECK_HTTP), ""); /* no client: it is connected to */
    assert_string_equal(fixture->server.asked, "");
    fixture->target.tls = client;
    const char *found = check(fixture, CHECK_HTTP); /* it speaks no TLS */
    assert_ptr_equal(strstr(found, "TLS: "), found);
    fixture->service.gateway.proxy_protocol = 1; /* which goes before TLS */
    fixture->server.closes = false;
    fixture->server.answer = NULL;
    check(fixture, CHECK_HTTP);
    assert_memory_equal(fixture->server.asked, "PROXY UNKNOWN\r\n\x16\x03", 17);
    fixture->service.gateway.proxy_protocol = 0;
    fixture->server.answer = "HTTP/1.1 200 OK\r\n\r\n";

    struct tls_tickets *tickets = tls_tickets_new(-1);
    error = tls_server_new(&listener, NULL, identity_read, NULL, tickets, &fixture->server.tls, why,
                           sizeof why);
    assert_int_equal(error, 0);
    assert_string_equal(check(fixture, CHECK_HTTP), "");
    assert_ptr_equal(strstr(fixture->server.asked, "GET / HTTP/1.1\r\n"), fixture->server.asked);
    assert_string_equal(check(fixture, CHECK_TCP), "");
    fixture->server.answer = "HTTP/1.1 500 No\r\n\r\n";
    assert_string_equal(check(fixture, CHECK_HTTP), "status 500");
    fixture->server.silent = true;
    assert_string_equal(check(fixture, CHECK_TCP), "no answer in 500 ms"); /* no handshake */

    rig_server_stop(&fixture->server);
    tls_server_free(fixture->server.tls);
    tls_tickets_free(tickets);
    tls_client_free(client);
    rig_server_start(&fixture->server, fixture->loop, false);
}

int main(void)
{
#define WITH_SERVER(test) cmocka_unit_test_setup_teardown(test, fixture_begin, fixture_end)
    const struct CMUnitTest tests[] = {
        WITH_SERVER(tcp_is_well_when_it_accepts),
        WITH_SERVER(http_asks_and_judges),
        WITH_SERVER(an_endless_answer_is_cut),
        WITH_SERVER(redis_answers_a_ping),
        WITH_SERVER(udp_answers),
        WITH_SERVER(a_proxy_header_says_that_it_is_nobody),
        WITH_SERVER(unix_sockets_are_checked),
        WITH_SERVER(a_check_may_be_stopped_at_any_time),
        WITH_SERVER(checks_go_through_tls),
    };
    return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
