/* Servers and clients of tls/ against each other, over socket pairs in one thread. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "tls/session.h"

enum { FILES_MAX = 32, BULK_BYTES = 3 * 1024 * 1024 };

/* ---- files in memory ---------------------------------------------------------------------------
 */

static struct {
    char path[64];
    char *bytes;
    size_t length;
} files[FILES_MAX];
static size_t file_count;

static const char *file_read(void *owner, const char *path, size_t *ret_length)
{
    (void)owner;
    for (size_t i = 0; i < file_count; i++) {
        if (strcmp(files[i].path, path) != 0)
            continue;
        *ret_length = files[i].length;
        return files[i].bytes;
    }
    return NULL;
}

static void file_keep(const char *path, BIO *bio)
{
    char *bytes;
    long length = BIO_get_mem_data(bio, &bytes);
    assert_true(file_count < FILES_MAX);
    snprintf(files[file_count].path, sizeof files[0].path, "%s", path);
    files[file_count].bytes = strndup(bytes, (size_t)length);
    files[file_count++].length = (size_t)length;
    BIO_free(bio);
}

static void extension_add(X509 *certificate, int id, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, id, value);
    assert_non_null(extension);
    X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
}

/* A self-signed certificate PATH.crt and its key PATH.key; `names`: "DNS:a.example,DNS:*.b" */
static void identity_make(const char *path, const char *names)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), (long)file_count + 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME *subject = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)path, -1, -1, 0);
    X509_set_issuer_name(certificate, subject);
    extension_add(certificate, NID_basic_constraints, "critical,CA:TRUE");
    if (names)
        extension_add(certificate, NID_subject_alt_name, names);
    assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
    char name[64];
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, certificate);
    snprintf(name, sizeof name, "%s.crt", path);
    file_keep(name, bio);
    bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
    snprintf(name, sizeof name, "%s.key", path);
    file_keep(name, bio);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static int files_make(void **state)
{
    (void)state;
    identity_make("first", "DNS:first.example,DNS:also.example");
    identity_make("wild", "DNS:*.wild.example");
    identity_make("user", NULL);
    return 0;
}

static int files_forget(void **state)
{
    (void)state;
    for (size_t i = 0; i < file_count; i++)
        free(files[i].bytes);
    return 0;
}

static const struct certificate certificates[] = {{"first.crt", "first.key"},
                                                  {"wild.crt", "wild.key"}};

/* ---- a pair ------------------------------------------------------------------------------------
 */

struct pair {
    struct tls_tickets *tickets;
    struct tls_server *server;
    struct tls_client *client;
    struct tls_session *accepted;
    struct tls_session *connected;
    int fds[2];
    ssize_t accepted_result; /* of its last read */
    ssize_t connected_result;
};

static void pair_server(struct pair *pair, const struct listener_tls *settings, const char *alpn)
{
    char why[256] = "";
    if (!pair->tickets)
        pair->tickets = tls_tickets_new(-1);
    assert_non_null(pair->tickets);
    int error = tls_server_new(settings, alpn, file_read, NULL, pair->tickets, &pair->server, why,
                               sizeof why);
    assert_string_equal(why, "");
    assert_int_equal(error, 0);
}

static void pair_client(struct pair *pair, const struct service_tls *settings, const char *alpn)
{
    char why[256] = "";
    int error = tls_client_new(settings, alpn, file_read, NULL, &pair->client, why, sizeof why);
    assert_string_equal(why, "");
    assert_int_equal(error, 0);
}

static void pair_connect(struct pair *pair, const char *name)
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair->fds),
                     0);
    pair->accepted = tls_session_accept(pair->server, pair->fds[0]);
    pair->connected = tls_session_connect(pair->client, pair->fds[1], name);
    assert_non_null(pair->accepted);
    assert_non_null(pair->connected);
}

/* Both sides try to read until neither gets further; what they read is nothing or the last result.
 */
static void pair_turn(struct pair *pair)
{
    char bytes[64];
    bool write;
    for (int i = 0; i < 10; i++) {
        pair->connected_result = tls_session_read(pair->connected, bytes, sizeof bytes, &write);
        pair->accepted_result = tls_session_read(pair->accepted, bytes, sizeof bytes, &write);
    }
}

static void pair_hang_up(struct pair *pair)
{
    tls_session_free(pair->accepted);
    tls_session_free(pair->connected);
    close(pair->fds[0]);
    close(pair->fds[1]);
}

static void pair_done(struct pair *pair)
{
    pair_hang_up(pair);
    tls_server_free(pair->server);
    tls_client_free(pair->client);
    tls_tickets_free(pair->tickets);
}

static const struct listener_tls two_names = {
    .certificates = certificates, .certificate_count = 2, .version_min = 12, .tickets = true};

/* ---- tests -------------------------------------------------------------------------------------
 */

static void certificate_by_name(const char *name, const char *ca)
{
    struct pair pair = {0};
    struct service_tls settings = {.on = true, .verify = true, .ca_file = ca};
    pair_server(&pair, &two_names, NULL);
    pair_client(&pair, &settings, NULL);
    pair_connect(&pair, name);
    pair_turn(&pair);
    assert_true(tls_session_done(pair.accepted));
    assert_int_equal(pair.connected_result, -EAGAIN);
    assert_string_equal(tls_session_version(pair.accepted), "TLSv1.3");
    assert_string_equal(tls_session_sni(pair.accepted), name);
    pair_done(&pair);
}

static void server_chooses_by_name(void **state)
{
    (void)state;
    certificate_by_name("first.example", "first.crt");
    certificate_by_name("ALSO.example", "first.crt");
    certificate_by_name("any.wild.example", "wild.crt");
}

static void client_refuses(const char *name, const char *ca, const char *expected)
{
    struct pair pair = {0};
    struct service_tls settings = {.on = true, .verify = true, .ca_file = ca};
    pair_server(&pair, &two_names, NULL);
    pair_client(&pair, &settings, NULL);
    pair_connect(&pair, name);
    pair_turn(&pair);
    assert_int_equal(pair.connected_result, -EPROTO);
    assert_string_equal(tls_session_why(pair.connected), expected);
    pair_done(&pair);
}

static void client_verifies(void **state)
{
    (void)state;
    client_refuses("other.example", "first.crt", "hostname mismatch");
    client_refuses("deep.any.wild.example", "wild.crt", "self-signed certificate");
    client_refuses("first.example", "wild.crt", "self-signed certificate");
}

static void client_need_not_verify(void **state)
{
    (void)state;
    struct pair pair = {0};
    struct service_tls settings = {.on = true};
    pair_server(&pair, &two_names, NULL);
    pair_client(&pair, &settings, NULL);
    pair_connect(&pair, "other.example");
    pair_turn(&pair);
    assert_int_equal(pair.connected_result, -EAGAIN);
    assert_true(tls_session_done(pair.connected));
    pair_done(&pair);
}

static void protocols_agree(void **state)
{
    (void)state;
    struct pair pair = {0};
    struct service_tls settings = {.on = true};
    size_t length;
    pair_server(&pair, &two_names, "\x08http/1.1");
    pair_client(&pair, &settings, "\x02h2\x08http/1.1");
    pair_connect(&pair, "first.example");
    pair_turn(&pair);
    const char *name = tls_session_alpn(pair.accepted, &length);
    assert_int_equal(length, 8);
    assert_memory_equal(name, "http/1.1", 8);
    pair_done(&pair);
}

static void no_common_protocol_is_refused(void **state)
{
    (void)state;
    struct pair pair = {0};
    struct service_tls settings = {.on = true};
    pair_server(&pair, &two_names, "\x08http/1.1");
    pair_client(&pair, &settings, "\x02h2");
    pair_connect(&pair, "first.example");
    pair_turn(&pair);
    assert_int_equal(pair.connected_result, -EPROTO);
    pair_done(&pair);
}

static bool resumes(struct pair *pair)
{
    pair_connect(pair, "first.example");
    pair_turn(pair);
    bool resumed = tls_session_resumed(pair->accepted);
    assert_true(tls_session_done(pair->accepted));
    pair_hang_up(pair);
    return resumed;
}

/* A second server, as in another process that shares the keys' memory. */
static void tickets_outlive_a_server(void **state)
{
    (void)state;
    int memory = memfd_create("tickets", MFD_CLOEXEC);
    assert_int_equal(ftruncate(memory, TLS_TICKETS_BYTES), 0);
    struct pair pair = {.tickets = tls_tickets_new(memory)};
    struct service_tls settings = {.on = true};
    pair_server(&pair, &two_names, NULL);
    pair_client(&pair, &settings, NULL);
    assert_false(resumes(&pair));
    assert_true(resumes(&pair));
    tls_server_free(pair.server);
    tls_tickets_free(pair.tickets);
    pair.tickets = tls_tickets_new(memory);
    pair_server(&pair, &two_names, NULL);
    assert_true(resumes(&pair));
    tls_tickets_rotate(pair.tickets);
    assert_true(resumes(&pair)); /* the old key still opens */
    for (int i = 0; i < TLS_TICKET_KEYS; i++)
        tls_tickets_rotate(pair.tickets);
    assert_false(resumes(&pair));
    tls_server_free(pair.server);
    tls_client_free(pair.client);
    tls_tickets_free(pair.tickets);
    close(memory);
}

static void client_certificates(void **state)
{
    (void)state;
    struct listener_tls settings = two_names;
    settings.client = CLIENT_CERTIFICATE_REQUIRE;
    settings.client_ca_file = "user.crt";
    struct service_tls with = {.on = true, .certificate_file = "user.crt", .key_file = "user.key"};
    struct service_tls without = {.on = true};
    struct pair pair = {0};
    pair_server(&pair, &settings, NULL);
    pair_client(&pair, &with, NULL);
    pair_connect(&pair, "first.example");
    pair_turn(&pair);
    assert_true(tls_session_done(pair.accepted));
    assert_string_equal(tls_session_peer(pair.accepted), "/CN=user");
    pair_done(&pair);

    pair = (struct pair){0};
    pair_server(&pair, &settings, NULL);
    pair_client(&pair, &without, NULL);
    pair_connect(&pair, "first.example");
    pair_turn(&pair);
    assert_int_equal(pair.accepted_result, -EPROTO);
    pair_done(&pair);
}

/* A ticket from a listener that asks for nothing is of no use where certificates are required. */
static void tickets_do_not_cross_listeners(void **state)
{
    (void)state;
    struct listener_tls strict = two_names;
    strict.client = CLIENT_CERTIFICATE_REQUIRE;
    strict.client_ca_file = "user.crt";
    struct service_tls settings = {.on = true};
    struct pair pair = {0};
    pair_server(&pair, &two_names, NULL);
    pair_client(&pair, &settings, NULL);
    assert_false(resumes(&pair));
    tls_server_free(pair.server);
    pair_server(&pair, &strict, NULL);
    pair_connect(&pair, "first.example");
    pair_turn(&pair);
    assert_false(tls_session_done(pair.accepted));
    assert_true(pair.accepted_result == -EPROTO);
    pair_done(&pair);
}

static void bytes_pass_and_ends_are_told_apart(void **state)
{
    (void)state;
    struct pair pair = {0};
    struct service_tls settings = {.on = true};
    pair_server(&pair, &two_names, NULL);
    pair_client(&pair, &settings, NULL);
    pair_connect(&pair, "first.example");
    pair_turn(&pair);
    char *sent = malloc(BULK_BYTES), *got = malloc(BULK_BYTES);
    for (size_t i = 0; i < BULK_BYTES; i++)
        sent[i] = (char)(i * 2654435761u >> 13);
    size_t out = 0, in = 0;
    bool write;
    for (int i = 0; i < 100000 && in < BULK_BYTES; i++) {
        ssize_t count = tls_session_write(pair.accepted, sent + out, BULK_BYTES - out, &write);
        out += count > 0 ? (size_t)count : 0;
        count = tls_session_read(pair.connected, got + in, BULK_BYTES - in, &write);
        in += count > 0 ? (size_t)count : 0;
    }
    assert_int_equal(in, BULK_BYTES);
    assert_memory_equal(sent, got, BULK_BYTES);
    free(sent);
    free(got);
    char byte;
    assert_int_equal(tls_session_shutdown(pair.accepted), 0);
    assert_int_equal(tls_session_read(pair.connected, &byte, 1, &write), 0); /* close_notify */
    shutdown(pair.fds[1], SHUT_WR);                                          /* FIN without one */
    assert_int_equal(tls_session_read(pair.accepted, &byte, 1, &write), -ECONNRESET);
    pair_done(&pair);
}

static void server_refused(const struct certificate *certificate, const char *ciphers,
                           const char *expected)
{
    struct listener_tls settings = {.certificates = certificate,
                                    .certificate_count = 1,
                                    .version_min = 12,
                                    .ciphers = ciphers,
                                    .tickets = true};
    struct tls_tickets *tickets = tls_tickets_new(-1);
    struct tls_server *server = NULL;
    char why[256] = "";
    assert_true(
        tls_server_new(&settings, NULL, file_read, NULL, tickets, &server, why, sizeof why) < 0);
    assert_non_null(strstr(why, expected));
    tls_tickets_free(tickets);
}

static void bad_files_are_named(void **state)
{
    (void)state;
    server_refused(&(struct certificate){"none.crt", "first.key"}, NULL, "none.crt cannot be read");
    server_refused(&(struct certificate){"first.key", "first.key"}, NULL,
                   "first.key: there is no certificate in PEM in it");
    server_refused(&(struct certificate){"first.crt", "first.crt"}, NULL,
                   "first.crt: there is no private key");
    server_refused(&(struct certificate){"first.crt", "wild.key"}, NULL,
                   "wild.key: the key is not the certificate's");
    server_refused(&certificates[0], "NO-SUCH-CIPHER", "the ciphers \"NO-SUCH-CIPHER\"");
}

static void garbage_is_a_protocol_error(void **state)
{
    (void)state;
    struct pair pair = {0};
    struct service_tls settings = {.on = true};
    pair_server(&pair, &two_names, NULL);
    pair_client(&pair, &settings, NULL);
    pair_connect(&pair, "first.example");
    bool write_wanted;
    char byte;
    assert_int_equal(write(pair.fds[1], "GET / HTTP/1.1\r\n\r\n", 18), 18);
    assert_int_equal(tls_session_read(pair.accepted, &byte, 1, &write_wanted), -EPROTO);
    assert_string_equal(tls_session_why(pair.accepted), "http request");
    pair_done(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(server_chooses_by_name),
        cmocka_unit_test(client_verifies),
        cmocka_unit_test(client_need_not_verify),
        cmocka_unit_test(protocols_agree),
        cmocka_unit_test(no_common_protocol_is_refused),
        cmocka_unit_test(tickets_outlive_a_server),
        cmocka_unit_test(client_certificates),
        cmocka_unit_test(tickets_do_not_cross_listeners),
        cmocka_unit_test(bytes_pass_and_ends_are_told_apart),
        cmocka_unit_test(bad_files_are_named),
        cmocka_unit_test(garbage_is_a_protocol_error),
    };
    return cmocka_run_group_tests(tests, files_make, files_forget);
}
