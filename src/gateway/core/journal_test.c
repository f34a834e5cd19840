#include "gateway/core/journal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "base/scoped.h"
#include "proc/message.h"

static struct loop *loop;
static struct journal *journal;
static int ends[2]; /* the journal's, the logger's */

static int setup(void **state)
{
    (void)state;
    loop = loop_new();
    if (!loop || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends))
        return -1;
    journal = journal_new(loop, ends[0]);
    return journal ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    journal_free(journal);
    fd_drop(&ends[0]);
    fd_drop(&ends[1]);
    loop_free(loop);
    return 0;
}

static void line(const char *text)
{
    size_t length = strlen(text);
    memcpy(journal_room(journal), text, length);
    journal_commit(journal, length);
}

static char packet[MESSAGE_PACKET_BYTES_MAX];

/* The next packet's text, as the logger would get it; NULL: none is there. */
static char *received(size_t *ret_length)
{
    static char text[MESSAGE_BYTES_MAX + 1];
    struct message message;
    if (message_receive(ends[1], PARTY_GATEWAY, PARTY_LOGGER, packet, sizeof packet, &message))
        return NULL;
    assert_int_equal(message.kind, MESSAGE_CHUNK);
    assert_string_equal(message.name, "access");
    memcpy(text, message.bytes, message.length);
    text[message.length] = 0;
    if (ret_length)
        *ret_length = message.length;
    return text;
}

static void await_flush(void)
{
    for (int i = 0; i < 100; i++) {
        loop_turn(loop, JOURNAL_FLUSH_MS);
        char byte;
        if (recv(ends[1], &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1)
            return;
    }
    fail_msg("nothing came");
}

static void lines_go_out_together_after_a_moment(void **state)
{
    (void)state;
    line("one");
    line("");
    line("three");
    assert_null(received(NULL));
    await_flush();
    assert_string_equal(received(NULL), "one\n\nthree\n");
    assert_null(received(NULL));
    line("four");
    await_flush();
    assert_string_equal(received(NULL), "four\n");
}

static void a_full_packet_goes_out_at_once_and_whole(void **state)
{
    (void)state;
    char text[JOURNAL_LINE_BYTES_MAX + 1];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    for (int i = 0; i < 4; i++)
        line(text);
    size_t length;
    assert_non_null(received(&length));
    assert_int_equal(length, 3 * (JOURNAL_LINE_BYTES_MAX + 1));
    assert_null(received(NULL));
    journal_free(journal); /* the rest */
    journal = NULL;
    assert_non_null(received(&length));
    assert_int_equal(length, JOURNAL_LINE_BYTES_MAX + 1);
}

/* Until it does not fit any more; the number of lines written. */
static uint64_t overfill(const char *text)
{
    char bytes[4000];
    size_t length = strlen(text);
    memset(bytes, '.', sizeof bytes);
    memcpy(bytes, text, length);
    uint64_t count = 0;
    for (; journal_dropped(journal) < 3; count++) {
        memcpy(journal_room(journal), bytes, sizeof bytes);
        journal_commit(journal, sizeof bytes);
        assert_true(count < 100000);
    }
    return count;
}

/* Takes all that comes; the lines, and how often the text was among them. */
static uint64_t drain(const char *text, unsigned *ret_found)
{
    uint64_t count = 0;
    *ret_found = 0;
    for (int quiet = 0; quiet < 2;) {
        char *bytes = received(NULL);
        quiet = bytes ? 0 : quiet + 1;
        for (char *at = bytes, *one; at && (one = strsep(&at, "\n")) && *one; count++)
            *ret_found += !strcmp(one, text);
        if (!bytes)
            loop_turn(loop, JOURNAL_FLUSH_MS + 50);
    }
    return count;
}

static void a_loss_is_counted_and_told_once(void **state)
{
    (void)state;
    uint64_t written = overfill("GET /");
    unsigned found;
    uint64_t count = drain("", &found);
    assert_int_equal(count, written - 3);
    line("after");
    line("and after");
    await_flush();
    assert_string_equal(received(NULL),
                        "# 3 lines lost: the logger was behind\nafter\nand after\n");
    assert_int_equal(journal_dropped(journal), 3);
}

static void a_loss_among_json_is_json(void **state)
{
    (void)state;
    overfill("{\"time\":");
    unsigned found;
    drain("", &found);
    line("{}");
    await_flush();
    assert_string_equal(received(NULL), "{\"lost_lines\":3}\n{}\n");
}

static void without_a_logger_lines_are_dropped(void **state)
{
    (void)state;
    fd_drop(&ends[1]);
    line("one");
    for (int i = 0; i < 100 && !journal_dropped(journal); i++)
        loop_turn(loop, JOURNAL_FLUSH_MS);
    assert_int_equal(journal_dropped(journal), 1);
    /* Another logger under the same descriptor. */
    int again[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, again),
                     0);
    dup2(again[0], ends[0]);
    close(again[0]);
    ends[1] = again[1];
    line("two");
    await_flush();
    assert_string_equal(received(NULL), "# 1 lines lost: the logger was behind\ntwo\n");
    struct journal *none = journal_new(loop, -1);
    memcpy(journal_room(none), "x", 1);
    journal_commit(none, 1);
    journal_free(none);
}

static void escaped(const char *bytes, size_t length, size_t room, const char *expected)
{
    char *out = malloc(room + 1); /* exactly: ASan sees more */
    size_t written = journal_escape(out, room, bytes, length);
    assert_true(written <= room);
    out[written] = 0;
    assert_string_equal(out, expected);
    free(out);
}
#define ESCAPED(text, room, expected) escaped(text, sizeof(text) - 1, room, expected)

static void outside_text_stays_within_its_string(void **state)
{
    (void)state;
    ESCAPED("plain text", 100, "plain text");
    ESCAPED("a\"b\\c\n\r\t\b\f\x01\x1b\x7f\0d", 100,
            "a\\\"b\\\\c\\n\\r\\t\\b\\f\\u0001\\u001b\\u007f\\u0000d");
    ESCAPED("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", 100,
            "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
    ESCAPED("\xff\xc3(\xed\xa0\x80\xc0\xaf", 100,
            "\\u00ff\\u00c3(\\u00ed\\u00a0\\u0080\\u00c0\\u00af");
    ESCAPED("\xf0\x9f\x98", 100, "\\u00f0\\u009f\\u0098");
    ESCAPED("", 0, "");
}

static void what_does_not_fit_is_cut_between_characters(void **state)
{
    (void)state;
    ESCAPED("0123456789", 10, "0123456789");
    ESCAPED("0123456789x", 10, "0123456…");
    ESCAPED("0123456\"\"", 10, "0123456…");
    ESCAPED("012345\xe2\x82\xacxyz", 10, "012345…");
    ESCAPED("\n0123456789", 10, "\\n01234…");
    ESCAPED("012345678\n", 10, "0123456…");
    ESCAPED("\n\n\n\n\n\n", 10, "\\n\\n\\n…");
    ESCAPED("\xff"
            "01234",
            10, "\\u00ff0…");
    ESCAPED("\xff"
            "0123",
            10, "\\u00ff0123");
    ESCAPED("abc", 2, "ab");
    ESCAPED("\xff", 2, "");
    ESCAPED("abcd", 3, "…");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_go_out_together_after_a_moment, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_packet_goes_out_at_once_and_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(a_loss_is_counted_and_told_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_loss_among_json_is_json, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_logger_lines_are_dropped, setup, teardown),
        cmocka_unit_test(outside_text_stays_within_its_string),
        cmocka_unit_test(what_does_not_fit_is_cut_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
