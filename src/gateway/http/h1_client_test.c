/* What a connection to an endpoint does when that takes slowly what it is sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "gateway/http/h1_rig.h"
#include "gateway/http/h1_server.h"

static void answered_504(struct rig *rig, int client)
{
    rig_hear(rig, client, "\r\n\r\n");
    assert_non_null(strstr(rig->text, "HTTP/1.1 504 "));
}

/* As much of an upload as fits into the kernel's buffers on the way to the origin. */
static void upload_begin(struct rig *rig, int *ret_client, int *ret_origin)
{
    rig->narrow = true;
    rig_start(rig, 1);
    *ret_client = rig_client(rig);
    rig_say(rig, *ret_client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
    *ret_origin = rig_origin(rig, 1);
    char *block = calloc(1, 1 << 16);
    for (int full = 0; full < 50;) {
        full = send(*ret_client, block, 1 << 16, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? full + 1 : 0;
        rig_turns(rig);
    }
    free(block);
}

/* Reads so much, which is there or follows at once. */
static void origin_takes(struct rig *rig, int origin, size_t bytes)
{
    char block[4096];
    while (bytes) {
        ssize_t count = recv(origin, block, bytes < sizeof block ? bytes : sizeof block, 0);
        if (count > 0)
            bytes -= (size_t)count;
        else
            rig_turns(rig);
    }
}

static void an_origin_that_takes_an_upload_slowly_gets_it(void **state)
{
    struct rig *rig = *state;
    int client, origin;
    upload_begin(rig, &client, &origin);
    for (int i = 0; i < 20; i++) { /* far less than makes room in the kernel's buffer */
        origin_takes(rig, origin, 16384);
        rig_pass(rig, 10000);
    }
    rig_quiet(rig, client);
    origin_takes(rig, origin, 16384);
    rig_pass(rig, 8000);
    rig_pass(rig, 21000);
    rig_quiet(rig, client);
    rig_pass(rig, 8000);
    rig_pass(rig, 8000);
    answered_504(rig, client);
    close(client);
    close(origin);
}

static void the_time_for_an_answer_begins_with_the_end_of_the_request(void **state)
{
    struct rig *rig = *state;
    rig->narrow = true;
    rig->service.gateway.response_ms = 20000;
    rig_start(rig, 1);
    int client = rig_client(rig);
    enum { BYTES = 200000 };
    char *block = calloc(1, BYTES);
    rig_say(rig, client, "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n");
    int origin = rig_origin(rig, 1);
    rig_hear(rig, origin, "\r\n\r\n");
    rig_say_bytes(rig, client, block, BYTES);
    for (int i = 0; i < 10; i++) {
        origin_takes(rig, origin, 16384);
        rig_pass(rig, 10000);
    }
    rig_quiet(rig, client);
    rig_turns(rig);
    origin_takes(rig, origin, BYTES - 10 * 16384);
    rig_pass(rig, 8000);
    rig_pass(rig, 8000);
    rig_quiet(rig, client);
    for (int i = 0; i < 4; i++)
        rig_pass(rig, 8000);
    answered_504(rig, client);
    free(block);
    close(client);
    close(origin);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, rig_begin, rig_end)
    const struct CMUnitTest tests[] = {
        TEST(an_origin_that_takes_an_upload_slowly_gets_it),
        TEST(the_time_for_an_answer_begins_with_the_end_of_the_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
