"""Requests: RFC 9112 (HTTP/1.1) and what RFC 9110 demands of a proxy, one case for each demand."""

import pytest
from client import Client, answering, ask, request

OK = 200


def refused_with(gateway, data, *statuses, closes=True):
    """It is answered with one of these, the connection ends, and the origin has seen nothing."""
    _, origin = gateway
    origin.take()
    with Client() as client:
        client.send(data)
        answer = client.answer()
        assert answer.status in statuses, (answer.status, answer.body)
        if closes:
            assert client.closed(), "the connection must end: what follows could be anything"
    assert origin.take() == []


def passed(gateway, data, count=1):
    """It is answered 200; what the origin saw."""
    _, origin = gateway
    origin.take()
    with Client() as client:
        client.send(data)
        for _ in range(count):
            answer = client.answer()
            assert answer.status == OK, (answer.status, answer.body)
    seen = origin.take()
    assert len(seen) == count
    return seen if count > 1 else seen[0]


# ---- section 2: messages ------------------------------------------------------------------------

MALFORMED = {
    "2.2 a bare LF ends no line of a head (we choose to refuse)": b"GET / HTTP/1.1\nHost: a\n\n",
    "2.2 a bare CR is no line end": b"GET / HTTP/1.1\rHost: a\r\r",
    "2.2 a bare CR within a field": b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r2\r\n\r\n",
    "2.2 a bare LF within a head": b"GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n",
    "2.2 white space before the first field": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "3 the request line has three parts": b"GET /\r\nHost: a\r\n\r\n",
    "3 two spaces between parts": b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "3 a tab between parts": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "3 a space in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "3 a space at the end of the line": b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "3.1 the method is a token": b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
    "3.1 the method is not empty": b" / HTTP/1.1\r\nHost: a\r\n\r\n",
    "3.2 the target has a form": b"GET foo HTTP/1.1\r\nHost: a\r\n\r\n",
    "3.2 the target has no control bytes": b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
    "3.2 the target has no NUL": b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "3.2 the target has no fragment": b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
    "3.2 Host is there": b"GET / HTTP/1.1\r\nX: 1\r\n\r\n",
    "3.2 Host is there once": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "3.2 Host is there once, whatever its case": b"GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n",
    "3.2 Host is valid: no space": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "3.2 Host is valid: no user": b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "3.2 Host is valid: no path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "3.2 Host is valid: port is a number": b"GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n",
    "3.2 Host is valid: no list": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "3.2.2 an absolute target of another scheme": b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "3.2.2 an absolute target with a user": b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "3.2.4 asterisk is of OPTIONS alone": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "5 a field has a colon": b"GET / HTTP/1.1\r\nHost: a\r\nX 1\r\n\r\n",
    "5 a field has a name": b"GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n",
    "5 a field's name is a token": b"GET / HTTP/1.1\r\nHost: a\r\nX(Y: 1\r\n\r\n",
    "5.1 no white space before the colon": b"GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n",
    "5.1 no tab before the colon": b"GET / HTTP/1.1\r\nHost: a\r\nX\t: 1\r\n\r\n",
    "5.2 no obs-fold": b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
    "5.2 no obs-fold by a tab": b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\t2\r\n\r\n",
    "5.5 no NUL in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\x002\r\n\r\n",
    "5.5 no control byte in a value": b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\x7f2\r\n\r\n",
    "6.1 no Transfer-Encoding with Content-Length":
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "6.1 no Transfer-Encoding in HTTP/1.0":
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "6.3 chunked is the last coding":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "6.3 chunked is there once":
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "6.3 two different lengths":
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "6.3 a list of lengths":
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 4\r\n\r\nabcd",
    "6.3 a length is digits: sign": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
    "6.3 a length is digits: hexadecimal": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc",
    "6.3 a length is digits: empty": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\nabc",
    "6.3 a length is digits: inner space": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 0\r\n\r\nabc",
    "6.3 a length is no larger than a number holds":
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551617\r\n\r\nabc",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_is_refused(gateway, case):
    refused_with(gateway, MALFORMED[case], 400, 501 if "6.3 chunked" in case else 400)


def test_2_2_empty_lines_before_a_request_are_ignored(gateway):
    assert passed(gateway, b"\r\n" + request()).target == b"/"


def test_2_3_versions_later_than_ours_are_refused(gateway):
    refused_with(gateway, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505)
    refused_with(gateway, b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 400, 505)
    refused_with(gateway, b"GET / http/1.1\r\nHost: a\r\n\r\n", 400)


def test_2_3_the_proxy_speaks_its_own_version(gateway):
    seen = passed(gateway, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    assert seen.line.endswith(b" HTTP/1.1")


def test_2_3_http_1_0_without_host_is_served(gateway):
    assert passed(gateway, b"GET / HTTP/1.0\r\n\r\n").all(b"host")


def test_3_too_long_a_target_is_414(gateway):
    refused_with(gateway, request(target=b"/" + b"a" * 40000), 414)


def test_5_too_large_a_head_is_431(gateway):
    refused_with(gateway, request(b"GET", b"/", "X: " + "a" * 40000), 431)


def test_5_too_many_fields_are_431(gateway):
    refused_with(gateway, request(b"GET", b"/", *[f"X{i}: 1" for i in range(70)]), 431)


def test_3_1_methods_are_case_sensitive_and_passed_on(gateway):
    assert passed(gateway, request(b"get")).method == b"get"
    assert passed(gateway, request(b"PURGE")).method == b"PURGE"


def test_9_3_6_connect_is_not_for_a_gateway(gateway):
    refused_with(gateway, b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", 405, 501, 400)


def test_3_2_2_an_absolute_target_decides_over_host(gateway):
    seen = passed(gateway, b"GET http://target.example/x?y HTTP/1.1\r\nHost: other.example\r\n\r\n")
    assert seen.target == b"/x?y"
    assert seen.all(b"host") == [b"target.example"]


def test_3_2_4_options_asterisk_is_passed_on(gateway):
    assert passed(gateway, request(b"OPTIONS", b"*")).target == b"*"


def test_3_2_the_target_is_passed_on_as_it_came(gateway):
    target = b"/a%2Fb/../c//d/%7euser;p=1?q=%20&r=[]"
    assert passed(gateway, request(target=target)).target == target


def test_5_5_obs_text_in_values_is_passed_on(gateway):
    assert passed(gateway, request(b"GET", b"/", b"X: caf\xe9")).get(b"X") == b"caf\xe9"


def test_5_white_space_around_values_is_no_part_of_them(gateway):
    assert passed(gateway, request(b"GET", b"/", b"X: \t 1 \t ")).get(b"X") == b"1"


# ---- section 6: bodies --------------------------------------------------------------------------

def test_6_2_a_body_of_a_length_is_passed_on(gateway):
    seen = passed(gateway, request(b"POST", b"/", b"Content-Length: 5", body=b"hello"))
    assert seen.body == b"hello"
    assert len(seen.all(b"content-length")) + len(seen.all(b"transfer-encoding")) == 1


def test_6_3_the_same_length_twice_is_one_or_none(gateway):
    data = request(b"POST", b"/", b"Content-Length: 5", b"Content-Length: 5", body=b"hello")
    _, origin = gateway
    origin.take()
    with Client() as client:
        client.send(data)
        status = client.answer().status
    seen = origin.take()
    assert (status == 400 and not seen) or (status == OK and seen[0].all(b"content-length") == [b"5"])


def test_7_1_a_chunked_body_is_passed_on(gateway):
    chunks = b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n"
    seen = passed(gateway, request(b"POST", b"/", b"Transfer-Encoding: chunked", body=chunks))
    assert seen.body == b"hello world"
    assert len(seen.all(b"content-length")) + len(seen.all(b"transfer-encoding")) == 1


def test_7_codings_are_named_in_any_case(gateway):
    seen = passed(gateway, request(b"POST", b"/", b"Transfer-Encoding: Chunked", body=b"1\r\na\r\n0\r\n\r\n"))
    assert seen.body == b"a"


def test_6_1_an_unknown_coding_is_501(gateway):
    refused_with(gateway, request(b"POST", b"/", b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
                 501, 400)


BAD_CHUNKS = {
    "no size": b"\r\nab\r\n0\r\n\r\n",
    "a size that is no number": b"x\r\nab\r\n0\r\n\r\n",
    "a size with a sign": b"+2\r\nab\r\n0\r\n\r\n",
    "a size with 0x": b"0x2\r\nab\r\n0\r\n\r\n",
    "a space before the size": b" 2\r\nab\r\n0\r\n\r\n",
    "a size too large": b"fffffffffffffffff\r\nab\r\n0\r\n\r\n",
    "a bare LF after the size": b"2\nab\r\n0\r\n\r\n",
    "a bare CR after the size": b"2\rab\r\n0\r\n\r\n",
    "data longer than its size": b"2\r\nabc\r\n0\r\n\r\n",
    "a bare LF after the data": b"2\r\nab\n0\r\n\r\n",
    "a bare LF in an extension": b"2;a\nab\r\n0\r\n\r\n",
    "a NUL in an extension": b"2;a\x00\r\nab\r\n0\r\n\r\n",
    "a bare LF after the last chunk": b"2\r\nab\r\n0\n\n",
    "a trailer that is no field": b"2\r\nab\r\n0\r\nnofield\r\n\r\n",
    "a trailer with a fold": b"2\r\nab\r\n0\r\nX: 1\r\n 2\r\n\r\n",
    "an extension without end": b"2;" + b"a" * 5000 + b"\r\nab\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("case", BAD_CHUNKS)
def test_7_1_bad_chunks_never_complete_a_request(gateway, case):
    """The head may have gone on by then: the origin must not get a whole body."""
    _, origin = gateway
    origin.take()
    with Client() as client:
        client.send(request(b"POST", b"/", b"Transfer-Encoding: chunked", body=BAD_CHUNKS[case]))
        assert client.answer().status == 400
        assert client.closed()
    assert origin.take() == []


def test_7_1_2_trailers_are_not_mixed_into_the_head(gateway):
    chunks = b"1\r\na\r\n0\r\nX-Sum: 1\r\nHost: evil\r\nContent-Length: 99\r\n\r\n"
    seen = passed(gateway, request(b"POST", b"/", b"Transfer-Encoding: chunked", body=chunks))
    assert seen.all(b"host") == [b"origin.example"]
    assert not seen.all(b"x-sum")
    assert not [name for name, _ in seen.trailers if name.lower() in (b"host", b"content-length")]


def test_6_3_a_body_that_ends_early_is_no_request(gateway):
    _, origin = gateway
    origin.take()
    with Client() as client:
        client.send(request(b"POST", b"/", b"Content-Length: 10", body=b"hello"))
        client.socket.shutdown(1)
        client.until_end()
    assert origin.take() == []


def test_bodies_above_the_bound_are_413(gateway):
    refused_with(gateway, request(b"POST", b"/", b"Content-Length: 2000000"), 413)


def test_chunked_bodies_above_the_bound_are_413(gateway):
    _, origin = gateway
    origin.take()
    with Client() as client:
        client.send(request(b"POST", b"/", b"Transfer-Encoding: chunked"))
        for _ in range(20):
            client.send(b"20000\r\n" + b"a" * 0x20000 + b"\r\n")
        assert client.answer().status == 413
    assert origin.take() == []


def test_get_with_a_body_keeps_its_framing(gateway):
    seen = passed(gateway, request(b"GET", b"/", b"Content-Length: 3", body=b"abc") + request(target=b"/2"), 2)
    assert [one.body for one in seen] == [b"abc", b""]
    assert seen[1].target == b"/2"


# ---- section 9: connections ---------------------------------------------------------------------

def test_9_3_connections_are_kept(gateway):
    seen = passed(gateway, request(target=b"/1") + request(target=b"/2") + request(target=b"/3"), 3)
    assert [one.target for one in seen] == [b"/1", b"/2", b"/3"]


def test_9_3_2_pipelined_answers_come_in_order(gateway):
    with Client() as client:
        client.send(b"".join(
            request(b"GET", b"/", *answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % i))
            for i in range(8)))
        assert [client.answer().body for _ in range(8)] == [b"%d" % i for i in range(8)]


@pytest.mark.parametrize("version,field,kept", [
    (b"HTTP/1.1", b"X: 1", True), (b"HTTP/1.1", b"Connection: close", False),
    (b"HTTP/1.1", b"Connection: X, cLOSE", False), (b"HTTP/1.0", b"X: 1", False),
    (b"HTTP/1.0", b"Connection: keep-alive", True),
])
def test_9_3_persistence(gateway, version, field, kept):
    with Client() as client:
        client.send(request(b"GET", b"/", field, version=version))
        answer = client.answer()
        assert answer.status == OK
        if kept:
            client.send(request())
            assert client.answer().status == OK
        else:
            assert client.closed()
            if version == b"HTTP/1.1":
                assert answer.get(b"connection") == b"close"


def test_9_6_nothing_after_close_is_served(gateway):
    _, origin = gateway
    origin.take()
    with Client() as client:
        client.send(request(b"GET", b"/1", b"Connection: close") + request(target=b"/2"))
        assert client.answer().status == OK
        assert client.closed()
    assert [one.target for one in origin.take()] == [b"/1"]


def test_a_head_that_comes_byte_by_byte(gateway):
    _, origin = gateway
    origin.take()
    with Client() as client:
        for byte in request(b"POST", b"/slow", b"Content-Length: 2", body=b"ab"):
            client.send(bytes([byte]))
        assert client.answer().status == OK
    assert origin.take()[0].body == b"ab"


# ---- RFC 9110: what a proxy passes on -----------------------------------------------------------

def test_9110_7_6_1_hop_by_hop_fields_are_dropped(gateway):
    fields = [b"Connection: X-Mine, keep-alive, Host", b"X-Mine: 1", b"Keep-Alive: timeout=5",
              b"Proxy-Connection: close", b"Proxy-Authorization: Basic eA==", b"TE: gzip", b"X-Kept: 1"]
    seen = passed(gateway, request(b"GET", b"/", *fields))
    for name in (b"x-mine", b"keep-alive", b"proxy-connection", b"te"):
        assert not seen.all(name), name
    assert seen.get(b"x-kept") == b"1"
    assert seen.all(b"host") == [b"origin.example"], "Connection cannot take Host away"


def test_9110_10_1_4_te_trailers_is_kept(gateway):
    seen = passed(gateway, request(b"GET", b"/", b"TE: trailers", b"Connection: TE"))
    assert seen.get(b"te") == b"trailers"


def test_9110_10_1_1_expect_continue(gateway):
    _, origin = gateway
    origin.take()
    with Client() as client:
        client.send(request(b"POST", b"/", b"Content-Length: 2", b"Expect: 100-continue"))
        assert client.answer(interim=True).status == 100
        client.send(b"ab")
        assert client.answer().status == OK
    assert origin.take()[0].body == b"ab"


def test_9110_10_1_1_another_expectation_is_417(gateway):
    _, origin = gateway
    with Client() as client:
        client.send(request(b"GET", b"/", b"Expect: miracles"))
        assert client.answer().status in (417, 200)


def test_9110_the_order_of_fields_of_a_name_is_kept(gateway):
    seen = passed(gateway, request(b"GET", b"/", b"X: 1", b"Y: 0", b"X: 2", b"X: 3"))
    assert seen.all(b"x") == [b"1", b"2", b"3"]


def test_forwarded_fields_of_strangers_are_replaced(gateway):
    seen = passed(gateway, request(b"GET", b"/", b"X-Forwarded-For: 6.6.6.6", b"X-Forwarded-Proto: https",
                                   b"X-Forwarded-Host: evil", b"X-Forwarded-For: 7.7.7.7"))
    assert seen.all(b"x-forwarded-for") == [b"127.0.0.1"]
    assert seen.all(b"x-forwarded-proto") == [b"http"]
    assert seen.all(b"x-forwarded-host") == [b"origin.example"]


def test_a_request_id_is_made_and_a_trace_is_passed_on(gateway):
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    first = passed(gateway, request(b"GET", b"/", b"traceparent: " + trace))
    second = passed(gateway, request())
    assert first.get(b"traceparent") == trace
    assert first.get(b"x-request-id") and first.get(b"x-request-id") != second.get(b"x-request-id")


def test_404_and_others_say_who_failed(gateway):
    answer = ask(request(target=b"/%00"))
    assert answer.status == 400
    assert answer.get(b"content-type").startswith(b"text/")
    assert b"request" in answer.body.lower()
