"""Responses: what an origin may send, what it may not, and what the client gets of it."""

import time

import pytest
from client import Client, answering, request


def through(*fields, method=b"GET", head=False):
    with Client() as client:
        client.send(request(method, b"/", *fields))
        return client.answer(head=head)


def test_a_body_of_a_length(gateway):
    answer = through(*answering(b"HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nX: 1\r\n\r\nhello"))
    assert (answer.status, answer.body, answer.get(b"x")) == (200, b"hello", b"1")


def test_a_chunked_body_with_trailers(gateway):
    raw = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
           b"5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n")
    answer = through(b"TE: trailers", b"Connection: TE", *answering(raw))
    assert answer.body == b"hello"
    assert answer.trailers == [(b"X-Sum", b"7")]


def test_a_chunked_body_for_http_1_0_has_no_chunks(gateway):
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
    with Client() as client:
        client.send(request(b"GET", b"/", *answering(raw), version=b"HTTP/1.0"))
        answer = client.answer()
    assert answer.body == b"hello"
    assert not answer.get(b"transfer-encoding")


def test_a_body_until_the_end(gateway):
    answer = through(*answering(b"HTTP/1.1 200 OK\r\n\r\nhello", then=b"close"))
    assert answer.body == b"hello"


def test_a_body_until_the_end_of_http_1_0(gateway):
    answer = through(*answering(b"HTTP/1.0 200 OK\r\n\r\nhello", then=b"close"))
    assert answer.body == b"hello"


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(gateway, status):
    with Client() as client:
        client.send(request(b"GET", b"/", *answering(b"HTTP/1.1 %d X\r\nETag: \"a\"\r\n\r\n" % status)) +
                    request())
        assert client.answer().status == status
        assert client.answer().body == b"ok"


def test_head_has_the_length_and_no_body(gateway):
    with Client() as client:
        client.send(request(b"HEAD", b"/", *answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")) +
                    request())
        answer = client.answer(head=True)
        assert answer.get(b"content-length") == b"5"
        assert client.answer().body == b"ok"


def test_early_hints_are_passed_on(gateway):
    raw = (b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
           b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    with Client() as client:
        client.send(request(b"GET", b"/", *answering(raw)))
        hint = client.answer(interim=True)
        assert (hint.status, hint.get(b"link")) == (103, b"</a.css>; rel=preload")
        assert client.answer().body == b"ok"


def test_hop_by_hop_fields_are_dropped(gateway):
    raw = (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: X-Mine\r\nX-Mine: 1\r\n"
           b"Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n\r\nok")
    answer = through(*answering(raw))
    for name in (b"x-mine", b"keep-alive", b"upgrade"):
        assert not answer.get(name), name


def test_several_cookies_stay_several(gateway):
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n"
    assert through(*answering(raw)).all(b"set-cookie") == [b"a=1", b"b=2"]


BAD = {
    "garbage": b"hello world\r\n\r\n",
    "no version": b"200 OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
    "a length that is no number": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: rot13\r\n\r\nok",
    "white space before a colon": b"HTTP/1.1 200 OK\r\nX : 1\r\nContent-Length: 0\r\n\r\n",
    "a NUL": b"HTTP/1.1 200 OK\r\nX: \x00\r\nContent-Length: 0\r\n\r\n",
    "a switch that nobody asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 300000,
}


@pytest.mark.parametrize("case", BAD)
def test_bad_responses_are_502(gateway, case):
    raw = BAD[case]
    if len(raw) > 10000:
        pytest.skip("the head that tells the origin would be too large itself")
    answer = through(*answering(raw, then=b"close"))
    assert answer.status == 502
    assert b"upstream" in answer.body.lower()


def test_an_obs_fold_of_an_origin_is_never_passed_on(gateway):
    """RFC 9112 §5.2: refused with 502, or made one line."""
    answer = through(*answering(b"HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\nContent-Length: 0\r\n\r\n", then=b"close"))
    assert answer.status == 502 or answer.get(b"x") == b"1 2"


CUT = {
    "of a body with a length": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    "of a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhello",
    "between chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "of a bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n",
}


@pytest.mark.parametrize("then", [b"close", b"reset"])
@pytest.mark.parametrize("case", CUT)
def test_a_death_in_the_midst_is_seen_by_the_client(gateway, case, then):
    """Never a whole response: the client could take half for all."""
    with Client() as client:
        client.send(request(b"GET", b"/", *answering(CUT[case], then=then)))
        try:
            answer = client.answer()
        except (EOFError, ConnectionResetError, ValueError):
            return
        assert answer.status == 502, "nothing had been sent yet"


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK\r\nContent-"])
def test_a_death_in_the_head_is_502(gateway, raw):
    with Client() as client:
        client.send(request(b"POST", b"/", *answering(raw, then=b"close"), b"Content-Length: 0"))
        assert client.answer().status == 502


def test_no_answer_is_504(gateway):
    started = time.monotonic()
    answer = through(*answering(b"", then=b"hang"), method=b"POST")
    assert answer.status == 504
    assert 2.5 < time.monotonic() - started < 6


def test_an_answer_before_the_body_was_read(gateway):
    """RFC 9112 §9.3: passed on at once; the connection serves on only if the body was read."""
    raw = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno"
    with Client() as client:
        client.send(request(b"POST", b"/", b"Content-Length: 500000", b"X-Early: 1",
                            *answering(raw, then=b"close")))
        client.send(b"a" * 1000)
        answer = client.answer()
        assert (answer.status, answer.body) == (401, b"no")


def test_a_large_body_arrives_whole(gateway):
    _, origin = gateway
    body = bytes(range(256)) * 4
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    assert through(*answering(raw)).body == body


def test_upgrade_is_passed_both_ways(gateway):
    raw = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nfirst"
    with Client() as client:
        client.send(request(b"GET", b"/", b"Upgrade: echo", b"Connection: upgrade", *answering(raw)))
        answer = client.answer()
        assert (answer.status, answer.get(b"upgrade")) == (101, b"echo")
        assert client.exactly(5) == b"first"


def test_an_upgrade_that_is_declined(gateway):
    with Client() as client:
        client.send(request(b"GET", b"/", b"Upgrade: echo", b"Connection: upgrade") + request())
        assert client.answer().status == 200
        assert client.answer().status == 200
