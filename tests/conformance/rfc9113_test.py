"""HTTP/2: RFC 9113, one case for each demand on a server, and the bounds that we set ourselves."""

import struct
import time

import pytest
from client import answering
from frames import *  # noqa: F403


def settled(origin):
    """What other cases left on its way has come, and is forgotten."""
    time.sleep(0.05)
    origin.take()


def fields_of(lines):
    return [tuple(part.strip() for part in line.split(b":", 1)) for line in lines]


def lowered(lines):
    return [(name.lower(), value) for name, value in fields_of(lines)]


def told(raw, then=None):
    return lowered(answering(raw, then))


# ---- section 3: how it begins -------------------------------------------------------------------

def test_3_4_a_connection_begins_with_settings(gateway):
    with Client() as client:
        first = client.frame()
        assert (first.kind, first.stream, first.flags) == (SETTINGS, 0, 0)
        assert client.settings[3] == 128 and client.settings[6] == 16384
        assert client.until(SETTINGS).flags == ACK


@pytest.mark.parametrize("cut", [1, 3, 17, 18, 23])
def test_3_4_a_preface_in_two_pieces(gateway, cut):
    with Client(begin=False) as client:
        client.send(PREFACE[:cut])
        time.sleep(0.1)
        client.send(PREFACE[cut:] + frame(SETTINGS) + get(1))
        assert client.answer().status == 200


def test_3_4_a_preface_that_is_broken_late(gateway):
    with Client(begin=False) as client:
        client.send(PREFACE[:-4] + b"XX\r\n" + frame(SETTINGS))
        assert client.socket.recv(100).startswith(b"HTTP/1.1 505")


def test_3_4_settings_come_first(gateway):
    with Client(begin=False) as client:
        client.send(PREFACE + frame(PING, payload=b"12345678"))
        assert client.connection_error() == PROTOCOL_ERROR


# ---- section 4: frames --------------------------------------------------------------------------

def test_4_1_an_unknown_frame_is_ignored(gateway):
    with Client() as client:
        client.send(frame(77, 255, 0, b"what") + get(1))
        assert client.answer().status == 200


def test_4_2_a_frame_that_is_too_large(gateway):
    with Client() as client:
        client.send(post(1) + frame(DATA, 0, 1, b"", length=16385) + b"x" * 16385)
        assert client.connection_error() == FRAME_SIZE_ERROR


def test_4_3_a_block_that_cannot_be_decoded(gateway):
    with Client() as client:
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff\xff"))
        assert client.connection_error() == COMPRESSION_ERROR


@pytest.mark.parametrize("between", [frame(PING, payload=b"12345678"), frame(DATA, 0, 1, b"x"),
                                     get(3), frame(77), frame(CONTINUATION, END_HEADERS, 3)])
def test_4_3_nothing_comes_between_the_parts_of_a_block(gateway, between):
    with Client() as client:
        client.send(frame(HEADERS, END_STREAM, 1, fields(*pseudo())) + between)
        assert client.connection_error() == PROTOCOL_ERROR


def test_4_3_a_block_in_pieces(gateway):
    block = fields(*pseudo(), (b"x-long", b"y" * 300))
    with Client() as client:
        client.send(frame(HEADERS, END_STREAM, 1, block[:50]) + frame(CONTINUATION, 0, 1, block[50:90]) +
                    frame(CONTINUATION, END_HEADERS, 1, block[90:]))
        assert client.answer().status == 200


# ---- section 5: streams -------------------------------------------------------------------------

@pytest.mark.parametrize("first", [frame(DATA, 0, 1, b"x"), frame(RST_STREAM, 0, 1, b"\0\0\0\x08"),
                                   frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\x01"),
                                   frame(CONTINUATION, END_HEADERS, 1)])
def test_5_1_what_may_not_come_on_an_idle_stream(gateway, first):
    with Client() as client:
        client.send(first)
        assert client.connection_error() == PROTOCOL_ERROR


def test_5_1_data_after_the_end(gateway):
    with Client() as client:
        client.send(get(1, *told(b"", b"hang")) + frame(DATA, 0, 1, b"x"))
        try:
            assert client.answer().reset == STREAM_CLOSED
        except EOFError:
            assert client.goaway.error == STREAM_CLOSED


@pytest.mark.parametrize("streams", [[2], [0]])
def test_5_1_1_numbers_of_streams(gateway, streams):
    with Client() as client:
        client.send(b"".join(get(number) for number in streams))
        assert client.connection_error() in (PROTOCOL_ERROR, STREAM_CLOSED)


def test_5_1_2_more_streams_than_there_may_be(gateway):
    with Client() as client:
        client.until(SETTINGS)
        assert client.alive()  # our settings were acknowledged before
        client.send(b"".join(post(number) for number in range(1, 257, 2)))
        assert client.alive()
        client.send(post(257))
        assert client.connection_error() == PROTOCOL_ERROR


def test_5_1_2_before_it_knows_the_bound(gateway):
    with Client(begin=False) as client:
        client.send(PREFACE + frame(SETTINGS) + b"".join(post(number) for number in range(1, 259, 2)))
        assert client.answer(257).reset == REFUSED_STREAM
        assert client.alive()


# ---- section 6: each kind of frame --------------------------------------------------------------

CONNECTION_ERRORS = {
    "6.1 DATA on stream 0": (frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
    "6.1 padding longer than the frame": (post(1) + frame(DATA, PADDED, 1, b"\x05abc"), PROTOCOL_ERROR),
    "6.2 HEADERS on stream 0": (frame(HEADERS, 5, 0, fields(*pseudo())), PROTOCOL_ERROR),
    "6.2 padding of HEADERS": (frame(HEADERS, 5 | PADDED, 1, b"\xff" + fields(*pseudo())),
                               PROTOCOL_ERROR),
    "6.3 PRIORITY on stream 0": (frame(PRIORITY, 0, 0, b"\0\0\0\x01\0"), PROTOCOL_ERROR),
    "6.4 RST_STREAM on stream 0": (frame(RST_STREAM, 0, 0, b"\0\0\0\0"), PROTOCOL_ERROR),
    "6.4 RST_STREAM's size": (post(1) + frame(RST_STREAM, 0, 1, b"\0\0\0"), FRAME_SIZE_ERROR),
    "6.5 SETTINGS on a stream": (frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
    "6.5 SETTINGS' size": (frame(SETTINGS, 0, 0, b"\0\0\0\0\0"), FRAME_SIZE_ERROR),
    "6.5 an acknowledgement with a payload": (frame(SETTINGS, ACK, 0, b"\0" * 6), FRAME_SIZE_ERROR),
    "6.5.2 ENABLE_PUSH": (frame(SETTINGS, 0, 0, struct.pack(">HI", 2, 2)), PROTOCOL_ERROR),
    "6.5.2 INITIAL_WINDOW_SIZE": (frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)),
                                  FLOW_CONTROL_ERROR),
    "6.5.2 MAX_FRAME_SIZE, small": (frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 100)), PROTOCOL_ERROR),
    "6.5.2 MAX_FRAME_SIZE, large": (frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 1 << 24)),
                                    PROTOCOL_ERROR),
    "6.6 a client pushes nothing": (post(1) + frame(PUSH_PROMISE, END_HEADERS, 1,
                                                    b"\0\0\0\x02" + fields(*pseudo())), PROTOCOL_ERROR),
    "6.7 PING on a stream": (frame(PING, 0, 1, b"12345678"), PROTOCOL_ERROR),
    "6.7 PING's size": (frame(PING, 0, 0, b"1234"), FRAME_SIZE_ERROR),
    "6.8 GOAWAY on a stream": (frame(GOAWAY, 0, 1, b"\0" * 8), PROTOCOL_ERROR),
    "6.9 WINDOW_UPDATE's size": (frame(WINDOW_UPDATE, 0, 0, b"\0\0\x01"), FRAME_SIZE_ERROR),
    "6.9 WINDOW_UPDATE of nothing": (frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), PROTOCOL_ERROR),
    "6.9.1 a window past its bound": (frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff"),
                                      FLOW_CONTROL_ERROR),
    "6.10 CONTINUATION of nothing": (get(1) + frame(CONTINUATION, END_HEADERS, 1), PROTOCOL_ERROR),
}


@pytest.mark.parametrize("case", CONNECTION_ERRORS)
def test_connection_errors(gateway, case):
    data, error = CONNECTION_ERRORS[case]
    with Client() as client:
        client.send(data)
        assert client.connection_error() == error


def test_6_1_padding_is_taken_off(gateway):
    _, origin = gateway
    settled(origin)
    with Client() as client:
        client.send(post(1) + frame(DATA, PADDED | END_STREAM, 1, b"\x03hello\0\0\0"))
        assert client.answer().status == 200
    assert origin.take()[0].body == b"hello"


def test_6_9_windows_are_respected_and_opened(gateway):
    body = bytes(range(250)) * 8
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    with Client(settings=struct.pack(">HI", 4, 10)) as client:
        client.send(get(1, *told(raw + body)))
        assert client.until(DATA).payload == body[:10]
        assert client.alive() and client.answers[1].body == body[:10]
        client.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 500)))
        client.until(DATA)
        assert client.alive() and client.answers[1].body == body[:510]


def test_6_9_2_a_window_may_become_negative(gateway):
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n" + b"x" * 200
    with Client(settings=struct.pack(">HI", 4, 100)) as client:
        client.send(get(1, *told(raw)))
        client.until(DATA)
        client.send(frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 50)) +
                    frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 50)))
        assert client.alive() and len(client.answers[1].body) == 100
        client.send(frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 100)))
        assert len(client.answer().body) == 200


def test_6_9_the_client_may_not_send_more_than_the_window(gateway):
    with Client() as client:
        client.until(SETTINGS)
        client.send(post(1, *told(b"", b"hang"), (b"x-early", b"1")))
        client.send(b"".join(frame(DATA, 0, 1, b"x" * 16384) for _ in range(200)))
        try:
            while client.goaway is None and client.answers.get(1, Answer()).reset is None:
                client.frame()
        except (EOFError, ConnectionResetError, TimeoutError):
            pass
        assert FLOW_CONTROL_ERROR in (client.goaway and client.goaway.error,
                                      client.answers.get(1, Answer()).reset) or client.answers[1].status


# ---- section 8: messages ------------------------------------------------------------------------

MALFORMED = {
    "8.2 a name in upper case": pseudo() + [(b"X-Upper", b"1")],
    "8.2.1 a control byte in a name": pseudo() + [(b"x\x01y", b"1")],
    "8.2.1 a space in a name": pseudo() + [(b"x y", b"1")],
    "8.2.1 a colon in a name": pseudo() + [(b"x:y", b"1")],
    "8.2.1 an empty name": pseudo() + [(b"", b"1")],
    "8.2.1 NUL in a value": pseudo() + [(b"x", b"a\0b")],
    "8.2.1 LF in a value": pseudo() + [(b"x", b"a\nb")],
    "8.2.1 CR in a value": pseudo() + [(b"x", b"a\rb")],
    "8.2.1 a space before a value": pseudo() + [(b"x", b" a")],
    "8.2.1 a space behind a value": pseudo() + [(b"x", b"a ")],
    "8.2.2 connection": pseudo() + [(b"connection", b"close")],
    "8.2.2 keep-alive": pseudo() + [(b"keep-alive", b"1")],
    "8.2.2 proxy-connection": pseudo() + [(b"proxy-connection", b"close")],
    "8.2.2 transfer-encoding": pseudo() + [(b"transfer-encoding", b"chunked")],
    "8.2.2 upgrade": pseudo() + [(b"upgrade", b"websocket")],
    "8.2.2 te other than trailers": pseudo() + [(b"te", b"gzip")],
    "8.3 a pseudo-field behind a field": pseudo()[:3] + [(b"x", b"1"), (b":authority", b"a")],
    "8.3 a pseudo-field twice": pseudo() + [(b":path", b"/")],
    "8.3 an unknown pseudo-field": pseudo() + [(b":unknown", b"1")],
    "8.3 one of a response": pseudo() + [(b":status", b"200")],
    "8.3.1 no method": pseudo(method=None),
    "8.3.1 no scheme": pseudo(scheme=None),
    "8.3.1 no path": pseudo(path=None),
    "8.3.1 an empty path": pseudo(path=b""),
    "8.3.1 no authority and no host": pseudo(authority=None),
    "8.5 CONNECT with a path": pseudo(method=b"CONNECT"),
    "8.1.1 two lengths": pseudo() + [(b"content-length", b"0"), (b"content-length", b"0")],
    "8.1.1 a length that is none": pseudo() + [(b"content-length", b"x")],
    "8.1.1 a length and no body": pseudo() + [(b"content-length", b"5")],
    "RFC 8441: a protocol without CONNECT": pseudo() + [(b":protocol", b"websocket")],
    "RFC 8441: a protocol without a path": pseudo(method=b"CONNECT", path=None) + [(b":protocol", b"websocket")],
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_requests_are_reset(gateway, case):
    _, origin = gateway
    settled(origin)
    with Client() as client:
        client.send(headers(1, *MALFORMED[case]))
        answer = client.answer()
        assert answer.reset == PROTOCOL_ERROR and not answer.fields
        client.send(get(3))  # the connection and the tables of both sides are as they should be
        assert client.answer(3).status == 200
    assert len(origin.take()) == 1


REFUSED = {
    "8.3.1 a user in the authority": (pseudo(authority=b"u@a"), 400),
    "8.3.1 an authority that is none": (pseudo(authority=b"a/b"), 400),
    "8.3.1 Host and authority differ": (pseudo() + [(b"host", b"other.example")], 400),
    "8.3.1 a fragment": (pseudo(path=b"/#a"), 400),
    "8.3.1 a path above the root": (pseudo(path=b"/../a"), 400),
    "8.3.1 a foreign scheme": (pseudo(scheme=b"ftp"), 400),
    "an expectation": (pseudo() + [(b"expect", b"magic")], 417),
    "8.5 CONNECT": ([(b":method", b"CONNECT"), (b":authority", b"a:443")], 501),
    "fields without end": (pseudo() + [(b"x-%d" % n, b"1") for n in range(70)], 431),
    "6.5.2 a list larger than announced": (pseudo() + [(b"x-%d" % n, b"y" * 1000) for n in range(17)], 431),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_with_a_status(gateway, case):
    _, origin = gateway
    settled(origin)
    pairs, status = REFUSED[case]
    block = fields(*pairs)
    data, at = b"", 0
    while at < len(block):
        part = block[at:at + 16384]
        last = END_HEADERS if at + 16384 >= len(block) else 0
        data += frame(CONTINUATION if at else HEADERS, last | (0 if at else END_STREAM), 1, part)
        at += 16384
    with Client() as client:
        client.send(data)
        answer = client.answer()
        if answer.reset is not None:
            assert case.startswith("8.3.1") and answer.reset == PROTOCOL_ERROR
        else:
            assert answer.status == status
        client.send(get(3))
        assert client.answer(3).status == 200
    assert len(origin.take()) == 1


LENGTHS = {"more than said": b"abcdef", "less than said": b"abc"}


@pytest.mark.parametrize("case", LENGTHS)
def test_8_1_1_a_body_of_another_length(gateway, case):
    with Client() as client:
        client.send(post(1, (b"content-length", b"5")) + frame(DATA, END_STREAM, 1, LENGTHS[case]))
        assert client.answer().reset == PROTOCOL_ERROR
        assert client.alive()


def test_8_1_trailers_end_the_stream(gateway):
    with Client() as client:
        client.send(post(1) + headers(1, (b"x", b"1"), end=False))
        assert client.answer().reset == PROTOCOL_ERROR


def test_8_1_no_pseudo_field_in_trailers(gateway):
    with Client() as client:
        client.send(post(1) + headers(1, (b":path", b"/")))
        assert client.answer().reset == PROTOCOL_ERROR


def test_8_1_trailers_of_a_request_end_its_body(gateway):
    _, origin = gateway
    settled(origin)
    with Client() as client:
        client.send(post(1) + frame(DATA, 0, 1, b"hello") + headers(1, (b"x-sum", b"1")))
        assert client.answer().status == 200
    assert origin.take()[0].body == b"hello"


def test_8_1_trailers_of_a_response(gateway):
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nGrpc-Status: 0\r\n\r\n"
    with Client() as client:
        client.send(get(1, (b"te", b"trailers"), *told(raw)))
        answer = client.answer()
        assert (answer.body, answer.trailers) == (b"hello", [("grpc-status", "0")])


def test_8_1_a_response_that_is_cut_is_reset(gateway):
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello"
    with Client() as client:
        client.send(get(1, *told(raw, b"close")))
        answer = client.answer()
        assert answer.status == 200 and answer.reset == INTERNAL_ERROR
        assert client.alive()


def test_8_2_2_fields_of_a_connection_are_not_passed_on(gateway):
    raw = (b"HTTP/1.1 200 OK\r\nConnection: X-Private\r\nX-Private: 1\r\nKeep-Alive: 5\r\n"
           b"X-Kept: Yes\r\nContent-Length: 2\r\n\r\nok")
    with Client() as client:
        client.send(get(1, *told(raw)))
        answer = client.answer()
    names = [name for name, _ in answer.fields]
    assert "connection" not in names and "x-private" not in names and "keep-alive" not in names
    assert answer.get("x-kept") == "Yes" and answer.get("content-length") == "2"


def test_8_2_3_crumbs_of_cookies_are_joined(gateway):
    _, origin = gateway
    settled(origin)
    with Client() as client:
        client.send(get(1, (b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2"), (b"cookie", b"c=3"),
                        (b"user-agent", b"me")))
        assert client.answer().status == 200
    seen = origin.take()[0]
    assert seen.all(b"cookie") == [b"a=1; b=2; c=3"]
    assert (seen.get(b"x"), seen.get(b"user-agent")) == (b"y", b"me")


def test_8_3_1_the_authority_becomes_host(gateway):
    _, origin = gateway
    settled(origin)
    with Client() as client:
        client.send(get(1, path=b"/a?b=c", authority=b"shop.example:81"))
        assert client.answer().status == 200
        client.send(headers(3, *pseudo(authority=None), (b"host", b"other.example")))
        assert client.answer(3).status == 200
    first, second = origin.take()
    assert (first.target, first.all(b"host")) == (b"/a?b=c", [b"shop.example:81"])
    assert second.all(b"host") == [b"other.example"]


def test_a_field_that_is_another_to_cgi_is_left_out(gateway):
    _, origin = gateway
    settled(origin)
    with Client() as client:
        client.send(get(1, (b"x_forwarded_for", b"1.2.3.4")))
        assert client.answer().status == 200
    assert origin.take()[0].get(b"x_forwarded_for") is None


def test_head(gateway):
    with Client() as client:
        client.send(get(1, *told(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), method=b"HEAD"))
        answer = client.answer()
        assert (answer.status, answer.get("content-length"), answer.body) == (200, "5", b"")


def test_interim_responses(gateway):
    with Client() as client:
        client.send(post(1, (b"expect", b"100-continue")))
        client.until(HEADERS)
        assert client.answers[1].interim == [[(":status", "100")]]
        client.send(frame(DATA, END_STREAM, 1, b"hello"))
        assert client.answer().status == 200


def test_8_1_an_answer_before_the_body_ends_it_without_error(gateway):
    with Client() as client:
        client.send(post(1, (b"content-length", b"2000000")))  # more than `bounds body=`
        answer = client.answer()
        assert answer.status == 413
        assert client.until(RST_STREAM, 1).error == NO_ERROR
        assert client.alive()


# ---- section 8.1, and bounds of ours: the rest of a request that was answered early ---------------

REST = 256 * 1024


def refused_early(client, *more, stream=1):
    """A stream that is answered before its body, which is awaited still."""
    client.send(post(stream, *more, path=b"/../a"))
    assert client.answer(stream).status == 400
    return client


@pytest.mark.parametrize("end", [frame(DATA, END_STREAM, 1, b"0123456789"),
                                 frame(DATA, 0, 1, b"0123456789") + frame(DATA, END_STREAM, 1),
                                 frame(DATA, 0, 1, b"0123456789") + headers(1, (b"x-sum", b"5"))])
def test_8_1_a_small_rest_is_read_instead(gateway, end):
    with Client() as client:
        refused_early(client, (b"content-length", b"10"))
        before = len(client.frames)
        client.send(end)
        assert client.until(WINDOW_UPDATE, 0)  # somebody who waits for what comes next is woken
        assert client.alive() and not any(got.stream for got in client.frames[before:])
        client.send(get(3))
        assert client.answer(3).status == 200


def test_a_rest_finds_its_windows_open_until_it_is_too_much(gateway):
    with Client() as client:
        refused_early(client)
        windows, sent = {0: 65535, 1: client.settings[4]}, 0
        for got in client.frames:
            if got.kind == WINDOW_UPDATE:
                windows[got.stream] += struct.unpack(">I", got.payload)[0]
        while True:
            if min(windows.values()) < 16384 or sent > REST:
                got = client.frame()
                if got.kind == RST_STREAM:
                    break
                if got.kind == WINDOW_UPDATE:
                    windows[got.stream] += struct.unpack(">I", got.payload)[0]
                continue
            client.send(frame(DATA, 0, 1, bytes(16384)))
            windows = {stream: window - 16384 for stream, window in windows.items()}
            sent += 16384
        assert got.error == NO_ERROR and sent == REST + 16384
        assert client.alive()


def test_a_rest_has_its_time(gateway):
    with Client() as client:
        began = time.monotonic()
        refused_early(refused_early(client), stream=3)
        client.send(frame(RST_STREAM, 0, 3, struct.pack(">I", CANCEL)))
        assert client.until(RST_STREAM).stream == 1 and client.answers[1].reset == NO_ERROR
        assert time.monotonic() - began > 1.5
        assert client.alive() and client.answers[3].reset is None


def test_many_streams_at_once(gateway):
    with Client() as client:
        numbers = range(1, 201, 2)
        client.send(b"".join(get(number, *told(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n%03d" % number))
                             for number in numbers))
        left = set(numbers)
        while left:
            got = client.frame()
            if got.stream and got.flags & END_STREAM:
                left.discard(got.stream)
        assert all(client.answers[number].body == b"%03d" % number for number in numbers)


# ---- section 10.5: floods -----------------------------------------------------------------------

FLOODS = {
    "PING": frame(PING, payload=b"12345678"),
    "SETTINGS": frame(SETTINGS),
    "an unknown kind": frame(77, 255, 0, b"what"),
    "PRIORITY": frame(PRIORITY, 0, 1, b"\0\0\0\x03\x10"),
    "WINDOW_UPDATE": frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01"),
    "empty DATA": frame(DATA, 0, 1),
}


@pytest.mark.parametrize("case", FLOODS)
def test_floods_end_the_connection(gateway, case):
    with Client() as client:
        client.send(post(1) if case == "empty DATA" else b"")
        client.socket.settimeout(10)
        for _ in range(60):
            client.send(FLOODS[case] * 100)
        assert client.connection_error() == ENHANCE_YOUR_CALM


def test_a_rapid_reset_ends_the_connection(gateway):
    with Client() as client:
        number = 1
        for _ in range(20):
            data = b""
            for _ in range(50):
                data += get(number) + frame(RST_STREAM, 0, number, struct.pack(">I", CANCEL))
                number += 2
            client.send(data)
        assert client.connection_error() == ENHANCE_YOUR_CALM


def test_resets_that_it_is_made_to_send_count_as_well(gateway):
    with Client() as client:
        number = 1
        for _ in range(20):
            data = b""
            for _ in range(50):
                data += post(number) + frame(WINDOW_UPDATE, 0, number, b"\x7f\xff\xff\xff")
                number += 2
            client.send(data)
        assert client.connection_error() == ENHANCE_YOUR_CALM


def test_floods_of_a_rest_count_as_well(gateway):
    with Client() as client:
        refused_early(client)
        for _ in range(60):
            client.send(FLOODS["empty DATA"] * 100)
        assert client.connection_error() == ENHANCE_YOUR_CALM
    with Client() as client:
        for first in range(1, 1600, 200):
            numbers = range(first, first + 200, 2)
            client.send(b"".join(post(number, path=b"/../a") for number in numbers))
            try:
                while not all(number in client.answers for number in numbers):
                    client.frame()
            except (EOFError, ConnectionResetError):
                break
            client.send(b"".join(frame(RST_STREAM, 0, number, struct.pack(">I", CANCEL)) for number in numbers))
        assert client.connection_error() == ENHANCE_YOUR_CALM


def test_a_block_without_end(gateway):
    with Client() as client:
        client.send(frame(HEADERS, END_STREAM, 1, fields(*pseudo())))
        for number in range(40):
            client.send(frame(CONTINUATION, 0, 1, fields((b"x-%d" % number, b"y" * 16000))))
        assert client.connection_error() in (ENHANCE_YOUR_CALM, PROTOCOL_ERROR, INTERNAL_ERROR)


# ---- what lasts too long ------------------------------------------------------------------------

def test_a_block_that_does_not_end_in_time(gateway):
    with Client(timeout=8) as client:
        client.send(frame(HEADERS, END_STREAM, 1, fields(*pseudo())))
        client.connection_error()  # the end must come: `timeout header=2s`


def test_a_body_that_does_not_come_in_time(gateway):
    with Client(timeout=8) as client:
        client.send(post(1) + frame(DATA, 0, 1, b"x"))
        assert client.answer().status == 408
        assert client.alive()


def test_an_idle_connection_is_told_to_go(gateway):
    with Client(timeout=9) as client:
        client.send(get(1))
        assert client.answer().status == 200
        assert client.connection_error() == NO_ERROR
