"""Caching: what RFC 9111 demands of a shared cache, a case for each demand, against an origin that
records what reaches it. Each case has a target of its own, so none sees another's answers."""

import itertools
import tempfile
import time
from email.utils import formatdate
from pathlib import Path

import pytest
from client import Client, answering, request
from harness.clients import refused
from harness.cluster import Account, Cluster
from harness.network import Network
from harness.processes import wait_for
from origin import Origin

PORT = 8080
numbers = itertools.count()


@pytest.fixture(scope="module")
def served(place, binary):
    network = Network()
    directory = Path(tempfile.mkdtemp(prefix="conformance-", dir=place))
    directory.chmod(0o755)
    with network.inside():
        origin = Origin()
        cluster = Cluster(binary, directory, Account("root"), network)
        cluster.up(f"""
            cache pages memory=16m object=1m;
            service origin {{ at 127.0.0.1:{origin.port}; timeout response=3s connect=1s; retry tries=0; }}
            listen 127.0.0.1:{PORT} http {{
                cache pages purge=127.0.0.1;
                route /obey/ -> origin {{ cache pages clients=obey; }}
                route /ttl/ -> origin {{ cache pages ttl=1h; }}
                route /stale/ -> origin {{ cache pages stale=1h; }}
                route / -> origin;
            }}
        """)
        try:
            wait_for(lambda: not refused(PORT), 10, "the gateway to listen")
            yield origin
            print(cluster.output[-4000:])
        finally:
            cluster.end()
            origin.close()
    network.close()


class Place:
    """A target that nobody else asks for."""

    def __init__(self, origin, prefix="/"):
        self.origin, self.target = origin, b"%s%d" % (prefix.encode(), next(numbers))
        origin.take()

    def ask(self, *fields, method=b"GET", raw=None, then=None, head=False, body=b""):
        """Asks; the origin, should it be asked, answers `raw`."""
        told = answering(raw, then) if raw is not None else []
        with Client() as client:
            client.send(request(method, self.target, *fields, *told, body=body))
            return client.answer(head=head or method == b"HEAD")

    def asked(self):
        """How often the origin was since the last call."""
        return len(self.origin.take())


def reply(*fields, body=b"one", status=b"200 OK"):
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body)]
    lines += [field if isinstance(field, bytes) else field.encode() for field in fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def date(shift):
    return formatdate(time.time() + shift, usegmt=True)


FRESH = b"Cache-Control: max-age=60"


@pytest.fixture
def at(served):
    return Place(served)


def is_stored(place, *fields, raw):
    """Is the second of two requests alike answered without the origin?"""
    first = place.ask(*fields, raw=raw)
    assert place.asked() == 1
    second = place.ask(*fields, raw=reply(body=b"two"))
    count = place.asked()
    assert second.body == (b"two" if count else first.body)
    return count == 0


# ---- section 3: what may be stored ----

STORED = {
    "max-age": [FRESH],
    "max-age, quoted": [b'Cache-Control: max-age="60"'],
    "s-maxage": [b"Cache-Control: s-maxage=60, max-age=0"],
    "Expires": ["Expires: " + date(600), "Date: " + date(0)],
    "unknown directives": [b'Cache-Control: x-y, max-age=60, z="a,b"'],
    "a name in another case": [b"cache-control: MAX-AGE=60"],
    "two fields": [b"Cache-Control: public", FRESH],
    "no-store, but must-understand": [b"Cache-Control: no-store, must-understand, max-age=60"],
    "private for one field only": [b'Cache-Control: private="Set-Cookie", max-age=60', b"Set-Cookie: a=b"],
}


@pytest.mark.parametrize("case", STORED)
def test_what_says_how_long_it_is_fresh_is_stored(at, case):
    assert is_stored(at, raw=reply(*STORED[case]))


NOT_STORED = {
    "§3: it says nothing": [],
    "§5.2.2.5: no-store": [b"Cache-Control: no-store, max-age=60"],
    "§5.2.2.7: private": [b"Cache-Control: private, max-age=60"],
    "§5.2.2.4: no-cache without a validator": [b"Cache-Control: no-cache, max-age=60"],
    "§5.3: an Expires that is no date": [b"Expires: 0"],
    "§5.3: an Expires in the past": ["Expires: " + date(-60)],
    "§4.2.1: max-age before Expires": [b"Cache-Control: max-age=0", "Expires: " + date(600)],
    "§4.2.1: s-maxage before max-age": [b"Cache-Control: s-maxage=0, max-age=60"],
    "§4.1: Vary: *": [FRESH, b"Vary: *"],
    "a cookie": [FRESH, b"Set-Cookie: a=b"],
    "§4.2.1: two that differ": [b"Cache-Control: max-age=60, max-age=5"],
    "seconds that are none": [b"Cache-Control: max-age=abc"],
    "no list": [b"Cache-Control: max-age=60; public"],
    "§4.2.3: older than its lifetime": [FRESH, b"Age: 61"],
    "§4.2.3: dated before its lifetime": [FRESH, "Date: " + date(-100)],
}


@pytest.mark.parametrize("case", NOT_STORED)
def test_what_may_not_be_stored_is_not(at, case):
    assert not is_stored(at, raw=reply(*NOT_STORED[case]))


@pytest.mark.parametrize("status", [b"404 Not Found", b"301 Moved Permanently", b"410 Gone", b"500 Oh"])
def test_other_statuses_are_stored_when_they_say_so(at, status):
    """§3: the status is final, and freshness explicit."""
    assert is_stored(at, raw=reply(FRESH, status=status))


def test_an_unknown_status_with_must_understand_is_not_stored(at):
    """§5.2.2.3."""
    assert not is_stored(at, raw=reply(b"Cache-Control: must-understand, max-age=60", status=b"299 New"))


def test_a_part_is_not_stored(at):
    """§3.3: nobody asked for a part, and parts are not put together."""
    raw = reply(FRESH, b"Content-Range: bytes 0-2/9", status=b"206 Partial Content")
    assert not is_stored(at, raw=raw)


def test_a_response_that_breaks_off_is_not_stored(at):
    """§3.3: an incomplete one must not be used as if it were whole."""
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nCache-Control: max-age=60\r\n\r\nonly this"
    with pytest.raises(EOFError):
        at.ask(raw=raw, then=b"close")
    assert at.asked() == 1
    assert at.ask(raw=reply(body=b"two")).body == b"two"
    assert at.asked() == 1


def test_chunked_responses_are_stored_whole(at):
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=60\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"
    assert at.ask(raw=raw).body == b"hello!"
    answer = at.ask()
    assert (answer.body, answer.get(b"content-length"), at.asked()) == (b"hello!", b"6", 1)


def test_the_request_may_forbid_storing(at):
    """§5.2.1.5."""
    at.ask(b"Cache-Control: no-store", raw=reply(FRESH))
    at.ask(raw=reply(FRESH, body=b"two"))
    assert at.asked() == 2


def test_post_is_not_stored(at):
    """§3: the method is one whose answers are cached here."""
    at.ask(b"Content-Length: 0", method=b"POST", raw=reply(FRESH))
    assert at.ask(raw=reply(body=b"two")).body == b"two"


# ---- section 3.1: fields ----


def test_fields_of_the_connection_are_not_stored(at):
    raw = reply(FRESH, b"Connection: X-Mine", b"X-Mine: 1", b"Keep-Alive: timeout=5", b"X-Yours: 2")
    at.ask(raw=raw)
    answer = at.ask()
    assert (answer.get(b"x-mine"), answer.get(b"keep-alive"), answer.get(b"x-yours")) == (None, None, b"2")


@pytest.mark.parametrize("directive", [b"no-cache", b"private"])
def test_listed_fields_are_not_stored(at, directive):
    """§5.2.2.4, §5.2.2.7: the qualified forms."""
    control = b'Cache-Control: max-age=60, %s="X-Secret, Set-Cookie"' % directive
    first = at.ask(raw=reply(control, b"X-Secret: a", b"Set-Cookie: b=c", b"X-Open: d"))
    assert (first.get(b"x-secret"), first.get(b"set-cookie")) == (b"a", b"b=c")
    second = at.ask()
    assert at.asked() == 1
    assert (second.get(b"x-secret"), second.get(b"set-cookie"), second.get(b"x-open")) == (None, None, b"d")


# ---- section 3.5: Authorization ----


@pytest.mark.parametrize("control, stored", [(b"max-age=60", False), (b"public, max-age=60", True),
                                             (b"s-maxage=60", True), (b"must-revalidate, max-age=60", True)])
def test_answers_to_authorization(at, control, stored):
    assert is_stored(at, b"Authorization: Basic YTpi", raw=reply(b"Cache-Control: " + control)) == stored


# ---- section 4: answering from the store ----


def test_another_target_is_another_answer(served):
    one, other = Place(served), Place(served)
    one.ask(raw=reply(FRESH))
    assert other.ask(raw=reply(body=b"two")).body == b"two"


def test_another_query_or_host_is_another_answer(at):
    at.ask(raw=reply(FRESH))
    with Client() as client:
        client.send(request(b"GET", at.target + b"?a", *answering(reply(body=b"two"))))
        assert client.answer().body == b"two"
        client.send(request(b"GET", at.target, *answering(reply(body=b"three")), host=b"other.example"))
        assert client.answer().body == b"three"
        client.send(request(b"GET", at.target, host=b"ORIGIN.example:80"))
        assert client.answer().body == b"one"


def test_age_is_told(at):
    """§4: a cache must send Age; §4.2.3: with what it had."""
    assert at.ask(raw=reply(FRESH, b"Age: 10")).all(b"age") == [b"10"]
    answer = at.ask()
    assert at.asked() == 1
    assert len(answer.all(b"age")) == 1 and 10 <= int(answer.get(b"age")) <= 12


def test_what_has_become_stale_is_not_used(at):
    """§4.2.4: without a validator it is fetched anew."""
    at.ask(raw=reply(b"Cache-Control: max-age=1"))
    assert at.ask().body == b"one"
    time.sleep(1.1)
    assert at.ask(raw=reply(body=b"two")).body == b"two"
    assert at.asked() == 2


def test_head_is_answered_from_a_get(at):
    at.ask(raw=reply(FRESH))
    answer = at.ask(method=b"HEAD")
    assert (answer.status, answer.get(b"content-length"), at.asked()) == (200, b"3", 1)


def test_head_is_no_answer_to_a_get(at):
    at.ask(method=b"HEAD", raw=reply(FRESH, body=b""))
    assert at.ask(raw=reply(body=b"two")).body == b"two"


# ---- section 4.1: Vary ----


def test_vary_tells_variants_apart(at):
    for language, body in ((b"de", b"eins"), (b"en", b"one")):
        at.ask(b"Accept-Language: " + language, raw=reply(FRESH, b"Vary: Accept-Language", body=body))
    assert at.asked() == 2
    assert at.ask(b"Accept-Language: de").body == b"eins"
    assert at.ask(b"accept-language:  en ").body == b"one"
    assert at.asked() == 0
    assert at.ask(raw=reply(body=b"none")).body == b"none"


def test_vary_of_several_fields_and_lists(at):
    vary = b"Vary: X-A , x-b"
    at.ask(b"X-A: 1,2", b"X-B: 3", raw=reply(FRESH, vary))
    assert at.ask(b"X-A: 1", b"X-A: 2", b"X-B:3").body == b"one"
    assert at.asked() == 1
    assert at.ask(b"X-A: 1, 2", b"X-B: 4", raw=reply(body=b"two")).body == b"two"


def test_an_absent_field_is_not_an_empty_one(at):
    at.ask(raw=reply(FRESH, b"Vary: X-A"))
    assert at.ask(b"X-A: ", raw=reply(body=b"two")).body == b"two"


# ---- section 4.3: validation ----

TAG = b'ETag: "v1"'
PAST = b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"


def expire(place, *fields):
    """Stores something that must be validated each time."""
    place.ask(raw=reply(b"Cache-Control: max-age=0", *fields))
    place.asked()


def test_validation_sends_the_validators(at):
    """§4.3.1: If-None-Match with the stored ETag, If-Modified-Since with the stored date."""
    expire(at, TAG, PAST)
    answer = at.ask(raw=b'HTTP/1.1 304 Not Modified\r\nETag: "v1"\r\n\r\n')
    seen = at.origin.take()
    assert (answer.status, answer.body) == (200, b"one")
    assert [(s.get(b"if-none-match"), s.get(b"if-modified-since")) for s in seen] == \
        [(b'"v1"', b"Sun, 06 Nov 1994 08:49:37 GMT")]


def test_304_freshens_what_is_stored(at):
    """§4.3.4, §3.2: the fields of the 304 take the place of those stored; others stay."""
    expire(at, TAG, b"X-Old: stays", b"X-New: old")
    answer = at.ask(raw=b'HTTP/1.1 304 Not Modified\r\nETag: "v1"\r\nCache-Control: max-age=60\r\nX-New: new\r\n\r\n')
    assert (answer.get(b"x-old"), answer.get(b"x-new")) == (b"stays", b"new")
    answer = at.ask()
    assert at.asked() == 1
    assert (answer.body, answer.get(b"x-old"), answer.get(b"x-new")) == (b"one", b"stays", b"new")
    assert answer.all(b"etag") == [b'"v1"']


def test_304_does_not_change_how_the_body_is_coded(at):
    """§3.2: Content-Length and what the stored body depends on are not updated."""
    expire(at, TAG, b"Content-Encoding: identity")
    answer = at.ask(raw=b'HTTP/1.1 304 N\r\nContent-Length: 99\r\nContent-Encoding: gzip\r\n\r\n')
    assert (answer.body, answer.get(b"content-encoding")) == (b"one", b"identity")


def test_a_304_about_another_answer_is_not_used(at):
    """§4.3.4: a strong validator that is not the stored one's; the origin is asked again, whole."""
    expire(at, TAG)
    with Client() as client:
        client.send(request(b"GET", at.target, *answering(b'HTTP/1.1 304 N\r\nETag: "v2"\r\n\r\n')))
        try:
            assert client.answer().body != b"one"
        except EOFError:
            pass
    seen = at.origin.take()
    assert seen[0].get(b"if-none-match") == b'"v1"'
    assert [s.get(b"if-none-match") for s in seen[1:]] == [None]


def test_200_replaces_what_is_stored(at):
    """§4.3.3."""
    expire(at, TAG)
    assert at.ask(raw=reply(FRESH, b'ETag: "v2"', body=b"two")).body == b"two"
    assert at.ask().body == b"two"
    assert at.asked() == 1


def test_a_failed_validation_is_passed_on(at):
    """§4.3.3: 5xx is forwarded, or the stored one used where that is allowed: here it is not."""
    expire(at, TAG)
    assert at.ask(raw=reply(status=b"503 No", body=b"no")).status == 503


def test_no_cache_is_validated_each_time(at):
    """§5.2.2.4."""
    at.ask(raw=reply(b"Cache-Control: no-cache, max-age=60", TAG))
    for _ in range(2):
        answer = at.ask(raw=b"HTTP/1.1 304 N\r\n\r\n")
        assert (answer.status, answer.body) == (200, b"one")
    assert at.asked() == 3


def test_a_clients_condition_is_answered_from_the_store(at):
    """§4.3.2."""
    at.ask(raw=reply(FRESH, TAG, PAST, b"Content-Type: a/b"))
    answer = at.ask(b'If-None-Match: "x", W/"v1"')
    assert (answer.status, answer.get(b"etag"), answer.get(b"cache-control")) == (304, b'"v1"', b"max-age=60")
    assert at.ask(b'If-None-Match: "x"').status == 200
    assert at.ask(b"If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT").status == 304
    assert at.ask(b"If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT").status == 200
    both = at.ask(b'If-None-Match: "x"', b"If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT")
    assert both.status == 200
    assert at.asked() == 1


def test_a_clients_condition_does_not_keep_an_answer_out_of_the_store(at):
    answer = at.ask(b'If-None-Match: "v1"', raw=reply(FRESH, TAG))
    seen = at.origin.take()
    assert (answer.status, answer.body, seen[0].get(b"if-none-match")) == (304, b"", None)
    assert at.ask().body == b"one"
    assert at.asked() == 0


def test_preconditions_are_the_origins_matter(at):
    """§4.3.2: If-Match is not for caches."""
    at.ask(raw=reply(FRESH, TAG))
    assert at.ask(b'If-Match: "v9"', raw=reply(status=b"412 No")).status == 412


# ---- ranges (RFC 9110 §14) ----


def test_ranges_of_what_is_stored(at):
    at.ask(raw=reply(FRESH, TAG, body=b"0123456789"))
    answer = at.ask(b"Range: bytes=2-4")
    assert (answer.status, answer.body, answer.get(b"content-range")) == (206, b"234", b"bytes 2-4/10")
    assert at.ask(b"Range: bytes=-2").body == b"89"
    outside = at.ask(b"Range: bytes=20-")
    assert (outside.status, outside.get(b"content-range")) == (416, b"bytes */10")
    assert at.ask(b"Range: bytes=2-4", b'If-Range: "v1"').status == 206
    assert at.ask(b"Range: bytes=2-4", b'If-Range: "v2"').body == b"0123456789"
    assert at.asked() == 1


def test_a_weak_tag_holds_no_range_together(at):
    """RFC 9110 §13.1.5."""
    at.ask(raw=reply(FRESH, b'ETag: W/"v1"', body=b"0123456789"))
    assert at.ask(b"Range: bytes=2-4", b'If-Range: W/"v1"').body == b"0123456789"


def test_a_range_of_what_is_not_stored_goes_to_the_origin(at):
    raw = reply(FRESH, b"Content-Range: bytes 2-4/10", body=b"234", status=b"206 Partial Content")
    assert at.ask(b"Range: bytes=2-4", raw=raw).body == b"234"
    assert at.origin.take()[0].get(b"range") == b"bytes=2-4"
    assert at.ask(raw=reply(body=b"whole")).body == b"whole"


# ---- section 4.4: invalidation ----


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"PATCH"])
def test_unsafe_methods_invalidate(at, method):
    at.ask(raw=reply(FRESH))
    at.ask(b"Content-Length: 0", method=method, raw=reply())
    assert at.ask(raw=reply(body=b"two")).body == b"two"


def test_a_failed_unsafe_method_invalidates_nothing(at):
    at.ask(raw=reply(FRESH))
    at.ask(b"Content-Length: 0", method=b"POST", raw=reply(status=b"500 Oh"))
    assert at.ask(raw=reply(body=b"two")).body == b"one"


def test_safe_methods_invalidate_nothing(at):
    at.ask(raw=reply(FRESH))
    at.ask(method=b"OPTIONS", raw=reply())
    assert at.ask(raw=reply(body=b"two")).body == b"one"


# ---- section 5.2.1: what requests say ----


def test_only_if_cached(at):
    """§5.2.1.7: from the store, or 504."""
    assert at.ask(b"Cache-Control: only-if-cached", raw=reply(FRESH)).status == 504
    assert at.asked() == 0
    at.ask(raw=reply(FRESH))
    assert at.ask(b"Cache-Control: only-if-cached").body == b"one"


@pytest.mark.parametrize("field", [b"Cache-Control: no-cache", b"Cache-Control: max-age=0", b"Pragma: no-cache",
                                   b"Cache-Control: min-fresh=3600"])
def test_clients_are_obeyed_where_it_is_said(served, field):
    """§5.2.1 is advisory."""
    obeying, ignoring = Place(served, "/obey/"), Place(served)
    for place, body in ((obeying, b"two"), (ignoring, b"one")):
        place.ask(raw=reply(b"Cache-Control: max-age=3000"))
        assert place.ask(field, raw=reply(body=b"two")).body == body


def test_max_stale_stretches_but_not_what_must_be_validated(served):
    for control, body in ((b"max-age=1", b"one"), (b"max-age=1, must-revalidate", b"two")):
        place = Place(served, "/obey/")
        place.ask(raw=reply(b"Cache-Control: " + control, TAG))
        time.sleep(1.1)
        assert place.ask(b"Cache-Control: max-stale", raw=reply(body=b"two")).body == body


# ---- answers without freshness, and stale ones ----


def test_ttl_is_for_answers_that_say_nothing(served):
    assert is_stored(Place(served, "/ttl/"), raw=reply())
    assert is_stored(Place(served, "/ttl/"), raw=reply(status=b"404 No"))
    assert not is_stored(Place(served, "/ttl/"), raw=reply(status=b"500 No"))
    assert not is_stored(Place(served, "/ttl/"), raw=reply(b"Cache-Control: no-store"))
    assert not is_stored(Place(served, "/ttl/"), raw=reply(b"Cache-Control: max-age=0"))
    assert not is_stored(Place(served, "/ttl/"), raw=reply(b"Set-Cookie: a=b"))


@pytest.mark.parametrize("control, status", [(b"max-age=0", 200), (b"max-age=0, must-revalidate", 503),
                                             (b"max-age=0, proxy-revalidate", 503), (b"s-maxage=0", 503),
                                             (b"s-maxage=0, stale-if-error=60", 200), (b"no-cache", 503)])
def test_stale_when_the_service_fails(served, control, status):
    """§4.2.4: not where it is prohibited."""
    place = Place(served, "/stale/")
    place.ask(raw=reply(b"Cache-Control: " + control, TAG))
    answer = place.ask(raw=reply(status=b"503 No", body=b"no"))
    assert answer.status == status
    assert answer.body == (b"one" if status == 200 else b"no")


def test_stale_when_nobody_answers(served):
    place = Place(served, "/stale/")
    place.ask(raw=reply(b"Cache-Control: max-age=0", TAG))
    answer = place.ask(raw=b"", then=b"close")
    assert (answer.status, answer.body) == (200, b"one")
    assert b"hit; ttl=-" in answer.get(b"cache-status") or b"hit; ttl=0" in answer.get(b"cache-status")


def test_stale_while_revalidate(at):
    """RFC 5861 §3: the stale answer at once, the new one for the next."""
    at.ask(raw=reply(b"Cache-Control: max-age=1, stale-while-revalidate=60", TAG))
    time.sleep(1.1)
    assert at.ask(raw=reply(FRESH, body=b"two")).body == b"one"
    wait_for(lambda: at.ask().body == b"two", 5, "the refreshed answer")
    assert [s.get(b"if-none-match") for s in at.origin.take()] == [None, b'"v1"']


# ---- RFC 9211, and purging ----


def test_cache_status_is_told(at):
    assert at.ask(raw=reply(FRESH)).get(b"cache-status") == b"enginx; fwd=miss; stored"
    assert at.ask().get(b"cache-status") in (b"enginx; hit; ttl=59", b"enginx; hit; ttl=60", b"enginx; hit; ttl=58")


def test_purge(at):
    at.ask(raw=reply(FRESH))
    assert at.ask(method=b"PURGE").status == 200
    assert at.ask(method=b"PURGE").status == 404
    assert at.ask(raw=reply(body=b"two")).body == b"two"
