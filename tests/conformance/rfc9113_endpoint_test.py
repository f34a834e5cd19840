"""HTTP/2 with endpoints: RFC 9113, a case for each demand on a client that the gateway has a part in,
and what becomes of a request whose endpoint breaks them."""

import contextlib
import http.client
import socket
import struct
import tempfile
import threading
import time
from pathlib import Path

import pytest
from endpoint import FINE, Endpoint, response
from frames import *  # noqa: F403
from harness.clients import refused
from harness.cluster import Account, Cluster
from harness.network import Network
from harness.processes import wait_for

PORT = 8080


@pytest.fixture(scope="module")
def served(place, binary):
    network = Network()
    directory = Path(tempfile.mkdtemp(prefix="conformance-", dir=place))
    directory.chmod(0o755)
    with network.inside():
        endpoint = Endpoint()
        cluster = Cluster(binary, directory, Account("root"), network)
        cluster.up(f"""
            gateway threads=1;
            service origin {{ at 127.0.0.1:{endpoint.port}; speaks http2; retry tries=0; eject failures=0;
                timeout connect=1s response=3s read=3s send=3s; }}
            listen 127.0.0.1:{PORT} http {{ route / -> origin; }}
        """)
        try:
            wait_for(lambda: not refused(PORT), 10, "the gateway to listen")
            yield endpoint
            print(cluster.output[-4000:])
        finally:
            cluster.end()
            endpoint.close()
    network.close()


class Reply:
    def __init__(self, response_):
        self.status, self.fields = response_.status, response_.getheaders()
        try:
            self.body = response_.read()
        except (http.client.IncompleteRead, ConnectionError):
            self.body = None  # cut


def ask(method="GET", path="/", body=None, fields={}):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    try:
        connection.request(method, path, body, {"Connection": "close", **fields})
        return Reply(connection.getresponse())
    finally:
        connection.close()


def fresh(endpoint, script, settings=b""):
    """A behaviour, on a connection that nothing was on before."""
    for connection in endpoint.connections:
        try:
            connection.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is gone already
    wait_for(lambda: all(connection.over for connection in endpoint.connections), 10, "the gateway to close")
    endpoint.behave(script, settings)


def fine(connection):
    connection.request(1)
    connection.send(FINE)


def broken(endpoint, frames, error, settings=b"", status=502):
    """After the request come these frames: the request fails, the connection ends by that error. The client stays until
    then: what comes for nobody is not looked at."""
    ended = []

    def script(connection):
        connection.head(1)
        connection.send(frames)
        ended.append(connection.connection_error())

    fresh(endpoint, script, settings)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)) as client:
        client.request("GET", "/", headers={"Connection": "close"})
        assert Reply(client.getresponse()).status == status
        wait_for(lambda: ended, 5, "the end of the connection")
    assert ended[0] in (error if isinstance(error, tuple) else (error,))


def malformed(endpoint, frames):
    """The stream alone fails; another on the same connection is served (RFC 9113 §8.1.1)."""
    resets = []

    def script(connection):
        connection.request(1)
        connection.send(frames)
        while connection.answers[1].reset is None:
            connection.frame()
        resets.append(connection.answers[1].reset)
        connection.request(3)
        connection.send(FINE.replace(struct.pack(">I", 1), struct.pack(">I", 3)))

    fresh(endpoint, script)
    assert ask().status == 502
    assert ask().body == b"ok"
    assert resets == [PROTOCOL_ERROR] and len(endpoint.connections) == 1


# ---- section 3: how it begins -------------------------------------------------------------------

def test_3_4_the_preface_and_settings_come_first(served):
    fresh(served, fine)
    assert ask().body == b"ok"
    connection = served.connections[0]
    assert connection.preface == PREFACE
    first = connection.frames[0]
    assert (first.kind, first.stream, first.flags) == (SETTINGS, 0, 0)
    assert connection.settings[2] == 0  # no server push


def test_3_4_settings_are_acknowledged(served):
    def script(connection):
        connection.request(1)
        while not (got := connection.until(SETTINGS)).flags & ACK:
            pass
        connection.send(FINE)
    fresh(served, script)
    assert ask().body == b"ok"


# ---- section 4: frames --------------------------------------------------------------------------

def test_4_1_an_unknown_frame_is_ignored(served):
    def script(connection):
        connection.request(1)
        connection.send(frame(77, 255, 0, b"what") + frame(78, 255, 1, b"") + FINE)
    fresh(served, script)
    assert ask().body == b"ok"


def test_4_2_a_frame_that_is_too_large(served):
    broken(served, response(1) + frame(DATA, 0, 1, b"", length=16385) + b"x" * 16385, FRAME_SIZE_ERROR, status=200)
    broken(served, frame(PING, 0, 0, b"", length=1 << 23), FRAME_SIZE_ERROR)


def test_4_2_no_frame_is_larger_than_allowed(served):
    def script(connection):
        connection.request(1)
        connection.send(FINE)
    fresh(served, script)
    ask("PUT", body=b"x" * 60_000)
    assert max(len(got.payload) for got in served.connections[0].frames) <= 16384


def test_4_3_a_block_that_cannot_be_decoded(served):
    broken(served, frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff\xff"), COMPRESSION_ERROR)


@pytest.mark.parametrize("between", [frame(PING, payload=b"12345678"), frame(DATA, 0, 1, b"x"), frame(77),
                                     frame(CONTINUATION, END_HEADERS, 3)])
def test_4_3_nothing_comes_between_the_parts_of_a_block(served, between):
    broken(served, frame(HEADERS, END_STREAM, 1, fields((b":status", b"200"))) + between, PROTOCOL_ERROR)


def test_4_3_a_block_in_pieces(served):
    block = fields((b":status", b"200"), (b"x-long", b"y" * 300))

    def script(connection):
        connection.request(1)
        connection.send(frame(HEADERS, END_STREAM, 1, block[:20]) + frame(CONTINUATION, 0, 1, block[20:100]) +
                        frame(CONTINUATION, END_HEADERS, 1, block[100:]))
    fresh(served, script)
    assert dict(ask().fields)["x-long"] == "y" * 300


# ---- section 5: streams -------------------------------------------------------------------------

@pytest.mark.parametrize("first", [frame(DATA, 0, 101, b"x"), frame(RST_STREAM, 0, 101, b"\0\0\0\x08"),
                                   frame(WINDOW_UPDATE, 0, 101, b"\0\0\0\x01"), response(101), response(2)])
def test_5_1_what_may_not_come_on_an_idle_stream(served, first):
    broken(served, first, PROTOCOL_ERROR)


def test_5_1_1_numbers_of_streams_are_odd_and_grow(served):
    def script(connection):
        for stream in (1, 3, 5):
            connection.request(stream)
            connection.send(response(stream, end=True))
    fresh(served, script)
    assert [ask().status for _ in range(3)] == [200] * 3
    opened = [got.stream for got in served.connections[0].frames if got.kind == HEADERS]
    assert opened == [1, 3, 5] and len(served.connections) == 1


def test_5_1_2_the_bound_on_streams_is_kept(served):
    together, release = [], threading.Event()

    def script(connection):
        connection.head(1)
        while not any(got.kind == SETTINGS and got.flags & ACK for got in connection.frames):
            connection.frame()
        together.append(connection)
        release.wait(5)
        connection.send(response(1, end=True))
    fresh(served, script, struct.pack(">HI", 3, 1))
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for number, thread in enumerate(threads):
        thread.start()
        wait_for(lambda: len(together) > number, 5, "a connection for it")  # whose SETTINGS are known
    release.set()
    for thread in threads:
        thread.join()
    assert all(len([got for got in one.frames if got.kind == HEADERS]) == 1 for one in served.connections)


def test_5_2_1_no_more_is_sent_than_the_window_takes(served):
    heard = []

    def script(connection):
        connection.request(1)
        while not connection.until(SETTINGS).flags & ACK:
            pass
        connection.send(FINE)  # what comes after this knows the SETTINGS
        connection.head(3)
        while len(connection.answers[3].body) < 10:
            connection.frame()
        connection.socket.settimeout(0.3)
        try:
            connection.frame()
        except TimeoutError:
            heard.append(len(connection.answers[3].body))
        connection.socket.settimeout(6)
        connection.send(frame(WINDOW_UPDATE, 0, 3, struct.pack(">I", 1000)))
        connection.answer(3)
        connection.send(response(3, end=True))
    fresh(served, script, struct.pack(">HI", 4, 10))
    assert ask().status == 200
    assert ask("PUT", body=b"x" * 100).status == 200
    assert heard == [10] and len(served.connections[0].answers[3].body) == 100


def test_5_2_the_window_is_opened_as_bytes_are_taken(served):
    total = 1_000_000

    def script(connection):
        connection.request(1)
        connection.send(response(1))
        left, windows = total, {0: 65535, 1: connection.settings[4]}
        for got in connection.frames:
            if got.kind == WINDOW_UPDATE:
                windows[got.stream] += struct.unpack(">I", got.payload)[0]
        while left:
            size = min(left, 16384, *windows.values())
            if size > 0:
                connection.send(frame(DATA, 0, 1, b"x" * size))
                left -= size
                windows = {key: value - size for key, value in windows.items()}
                continue
            got = connection.until(WINDOW_UPDATE)
            windows[got.stream] += struct.unpack(">I", got.payload)[0]
        connection.send(frame(DATA, END_STREAM, 1))
    fresh(served, script)
    assert len(ask().body) == total
    assert not served.failures


def test_5_2_more_than_the_window_is_an_error(served):
    """The client does not read, so nothing opens the window again."""
    ended = []

    def script(connection):
        connection.head(1)
        connection.send(response(1) + b"".join(frame(DATA, 0, 1, b"x" * 16384) for _ in range(600)))
        try:
            while True:
                got = connection.frame()
                if got.kind in (RST_STREAM, GOAWAY):
                    ended.append(got.error)
        except (EOFError, OSError):
            ended.append(None)
    fresh(served, script)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", PORT))
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: ended, 5, "the end")
    assert ended[0] in (FLOW_CONTROL_ERROR, None)


def test_5_4_2_a_reset_fails_one_request(served):
    malformed_like = []

    def script(connection):
        connection.request(1)
        connection.send(frame(RST_STREAM, 0, 1, struct.pack(">I", INTERNAL_ERROR)))
        connection.request(3)
        connection.send(response(3, end=True))
        malformed_like.append(1)
    fresh(served, script)
    assert ask().status == 502
    assert ask().status == 200 and len(served.connections) == 1


# ---- section 6: kinds of frames -----------------------------------------------------------------

@pytest.mark.parametrize("frames, error", [
    (frame(DATA, 0, 0, b"x"), PROTOCOL_ERROR),
    (frame(HEADERS, END_HEADERS, 0, fields((b":status", b"200"))), PROTOCOL_ERROR),
    (frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + fields((b":status", b"200"))), PROTOCOL_ERROR),
    (frame(RST_STREAM, 0, 0, b"\0\0\0\x08"), PROTOCOL_ERROR),
    (frame(RST_STREAM, 0, 1, b"\0\0\x08"), FRAME_SIZE_ERROR),
    (frame(SETTINGS, ACK, 0, b"\0\0\0\0\0\0"), FRAME_SIZE_ERROR),
    (frame(SETTINGS, 0, 1), PROTOCOL_ERROR),
    (frame(SETTINGS, 0, 0, b"\0\0\0\0\0"), FRAME_SIZE_ERROR),
    (frame(SETTINGS, 0, 0, struct.pack(">HI", 2, 1)), PROTOCOL_ERROR),
    (frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 31)), FLOW_CONTROL_ERROR),
    (frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 16383)), PROTOCOL_ERROR),
    (frame(SETTINGS, 0, 0, struct.pack(">HI", 5, 1 << 24)), PROTOCOL_ERROR),
    (frame(PUSH_PROMISE, END_HEADERS, 1, struct.pack(">I", 2) + fields(*pseudo())), PROTOCOL_ERROR),
    (frame(PING, 0, 1, b"12345678"), PROTOCOL_ERROR),
    (frame(PING, 0, 0, b"1234567"), FRAME_SIZE_ERROR),
    (frame(GOAWAY, 0, 1, b"\0" * 8), PROTOCOL_ERROR),
    (frame(GOAWAY, 0, 0, b"\0" * 7), FRAME_SIZE_ERROR),
    (frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0"), PROTOCOL_ERROR),
    (frame(WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2, FLOW_CONTROL_ERROR),
    (frame(WINDOW_UPDATE, 0, 0, b"\0\0\x01"), FRAME_SIZE_ERROR),
    (frame(CONTINUATION, END_HEADERS, 1, b""), PROTOCOL_ERROR),
], ids=range(21))
def test_6_a_frame_that_is_broken_ends_the_connection(served, frames, error):
    broken(served, frames, error)


def test_6_1_padding_is_left_out(served):
    def script(connection):
        connection.request(1)
        connection.send(response(1) + frame(DATA, PADDED | END_STREAM, 1, b"\x04ok\0\0\0\0"))
    fresh(served, script)
    assert ask().body == b"ok"


def test_6_1_padding_longer_than_the_frame(served):
    broken(served, response(1) + frame(DATA, PADDED, 1, b"\x09ok"), PROTOCOL_ERROR, status=200)


def test_6_7_a_ping_is_answered(served):
    def script(connection):
        connection.request(1)
        connection.send(frame(PING, payload=b"question"))
        got = connection.until(PING)
        assert got.flags & ACK and got.payload == b"question"
        connection.send(FINE)
    fresh(served, script)
    assert ask().body == b"ok" and not served.failures


def test_6_8_after_a_goaway_come_no_new_streams(served):
    def script(connection):
        connection.request(1)
        connection.send(frame(GOAWAY, 0, 0, struct.pack(">II", 1, 0)) + FINE)
    fresh(served, script)
    assert [ask().body for _ in range(3)] == [b"ok"] * 3
    assert len(served.connections) == 3
    assert all(len(one.answers) == 1 for one in served.connections)


# ---- section 8: messages ------------------------------------------------------------------------

def test_8_1_trailers_follow(served):
    def script(connection):
        connection.request(1)
        connection.send(response(1) + frame(DATA, 0, 1, b"ok") + headers(1, (b"x-sum", b"7")))
    fresh(served, script)
    assert ask(fields={"TE": "trailers"}).body == b"ok"


def test_8_1_interim_answers_come_first(served):
    def script(connection):
        connection.request(1)
        connection.send(response(1, (b"link", b"</a>"), status=b"103") + FINE)
    fresh(served, script)
    with socket.create_connection(("127.0.0.1", PORT), 5) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        first, second = b"".join(iter(lambda: client.recv(65536), b"")).split(b"\r\n\r\n", 1)
    assert first.startswith(b"HTTP/1.1 103 ") and b"link: </a>" in first
    assert second.startswith(b"HTTP/1.1 200 ") and second.endswith(b"ok")


@pytest.mark.parametrize("answer", [
    headers(1, (b"server", b"x")),                                      # no :status
    headers(1, (b":status", b"200"), (b":status", b"200")),
    headers(1, (b":status", b"20")),
    headers(1, (b":status", b"abc")),
    headers(1, (b"server", b"x"), (b":status", b"200")),                # behind a field
    headers(1, (b":status", b"200"), (b":path", b"/")),                 # a request's
    headers(1, (b":status", b"200"), (b":unknown", b"x")),
    headers(1, (b":status", b"200"), (b"Upper", b"x")),
    headers(1, (b":status", b"200"), (b"connection", b"close")),
    headers(1, (b":status", b"200"), (b"transfer-encoding", b"chunked")),
    headers(1, (b":status", b"200"), (b"bad name", b"x")),
    headers(1, (b":status", b"200"), (b"x", b"a\r\nb: c")),
    headers(1, (b":status", b"200"), (b"x", b"a\0b")),
    headers(1, (b":status", b"200"), (b"content-length", b"1"), (b"content-length", b"2")),
    headers(1, (b":status", b"200"), (b"content-length", b"-1")),
    headers(1, (b":status", b"200"), (b"content-length", b"5")),        # and ended
    headers(1, (b":status", b"101"), end=False),
    headers(1, (b":status", b"103")),                                   # interim, and ended
], ids=range(18))
def test_8_1_1_a_malformed_answer_fails_one_request(served, answer):
    malformed(served, answer)


def test_8_1_a_body_without_a_head(served):
    def script(connection):
        connection.request(1)
        connection.send(frame(DATA, END_STREAM, 1, b"x"))
    fresh(served, script)
    assert ask().status == 502


def test_8_1_1_a_body_that_is_not_as_long_as_it_said(served):
    def script(connection):
        connection.request(1)
        connection.send(response(1, (b"content-length", b"5")) + frame(DATA, END_STREAM, 1, b"abc"))
        connection.request(3)
        connection.send(response(3, (b"content-length", b"2")) + frame(DATA, END_STREAM, 3, b"abc"))
    fresh(served, script)
    assert ask().body is None  # it was cut
    assert ask().body in (b"ab", None)


def test_8_2_what_a_request_has(served):
    """Names in lower case, no field of a connection, pseudo-fields once and in front."""
    fresh(served, fine)
    ask(fields={"X-Mixed-Case": "Yes", "Keep-Alive": "timeout=5", "TE": "trailers, deflate", "X-Named": "gone",
                "Proxy-Connection": "close", "Connection": "close, X-Named", "Upgrade": "h2c"})
    names = [name for name, _ in served.connections[0].answers[1].fields]
    said = dict(served.connections[0].answers[1].fields)
    assert names[:4] == [":method", ":scheme", ":authority", ":path"]
    assert not any(name.startswith(":") for name in names[4:])
    assert all(name == name.lower() for name in names) and said["x-mixed-case"] == "Yes"
    assert not {"connection", "keep-alive", "proxy-connection", "upgrade", "transfer-encoding", "host",
                "x-named"} & set(names)
    assert said.get("te", "trailers") == "trailers"


def test_8_3_1_an_asterisk(served):
    fresh(served, fine)
    ask("OPTIONS", "*")
    assert dict(served.connections[0].answers[1].fields)[":path"] == "*"


# ---- what is too much ---------------------------------------------------------------------------

@pytest.mark.parametrize("flood", [frame(SETTINGS), frame(PING, payload=b"pingping"), frame(77), frame(2, 0, 1, b"\0" * 5),
                                   frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01")], ids=range(5))
def test_a_flood_ends_the_connection(served, flood):
    broken(served, flood * 4000, (ENHANCE_YOUR_CALM, None))


def test_interim_answers_are_a_flood(served):
    broken(served, response(1, status=b"103") * 4000, (ENHANCE_YOUR_CALM, None), status=103)


def test_empty_data_is_a_flood(served):
    broken(served, response(1) + frame(DATA, 0, 1) * 4000, (ENHANCE_YOUR_CALM, None), status=200)


def test_fields_without_end(served):
    block = fields(*((b"x-%d" % number, b"y" * 4000) for number in range(4)))
    broken(served, frame(HEADERS, 0, 1, fields((b":status", b"200"))) + frame(CONTINUATION, 0, 1, block) * 40,
           (ENHANCE_YOUR_CALM, PROTOCOL_ERROR, None))


def test_fields_that_are_very_large(served):
    block = fields((b":status", b"200"), *((b"x-%d" % number, b"y" * 8000) for number in range(12)))

    def script(connection):
        connection.request(1)
        pieces = [block[at:at + 16000] for at in range(0, len(block), 16000)]
        connection.send(frame(HEADERS, END_STREAM, 1, pieces[0]) +
                        b"".join(frame(CONTINUATION, 0, 1, piece) for piece in pieces[1:-1]) +
                        frame(CONTINUATION, END_HEADERS, 1, pieces[-1]))
    fresh(served, script)
    assert ask().status == 502


def test_silence_is_answered_504(served):
    fresh(served, lambda connection: connection.request(1))
    assert ask().status == 504
