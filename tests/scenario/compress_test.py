"""Compressed responses: each coding decoded by somebody else's decoder, over HTTP/1.1 and HTTP/2, from
services, files and texts; what must stay as it is; events as they come; clients that are slow or leave;
and requests whose bodies would be large if anybody decompressed them."""

import gzip
import http.client
import os
import re
import socket
import subprocess
import time
import zlib

import pytest

from harness import clients, processes
from harness.origins import Origin, receive_all, receive_until, request_read

PORT = 18140
TEXT = "".join(f"<li class=\"row\">{number} {number * number}</li>\n" for number in range(4000)).encode()
LARGE = os.urandom(64).hex().encode() * 80000  # 10 MB
DECODERS = {"gzip": ["gzip", "-dc"], "br": ["brotli", "-dc"], "zstd": ["zstd", "-dcq"]}


def served(connection):
    """What the path says; the query's fields come on top."""
    while True:
        head, body = request_read(connection)
        if not head:
            return
        path = head.split(b" ")[1].decode()
        name, _, query = path.partition("?")
        more = "".join(f"{field.replace('=', ': ')}\r\n" for field in query.split("&") if field)
        kind = "Content-Type: text/html\r\n" if "Content-Type" not in query else ""
        if name == "/events":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                               b"Transfer-Encoding: chunked\r\n\r\n")
            for number in range(4):
                event = b"data: %d\n\n" % number
                connection.sendall(b"%x\r\n%s\r\n" % (len(event), event))
                time.sleep(0.4)
            connection.sendall(b"0\r\n\r\n")
        elif name == "/chunks":
            whole = b"" if head.startswith(b"HEAD") else TEXT
            pieces = [whole[at:at + 7000] for at in range(0, len(whole), 7000)]
            connection.sendall(f"HTTP/1.1 200 OK\r\n{kind}{more}Transfer-Encoding: chunked\r\n\r\n".encode() + b"".join(
                b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + (b"0\r\n\r\n" if whole else b""))
        elif name == "/large":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(LARGE))
            connection.sendall(LARGE)
        elif name == "/cut":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 999999\r\n\r\n" + TEXT)
            return
        elif name == "/count":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%d" % (len(str(len(body))), len(body)))
        else:
            status = name.strip("/") if name.strip("/").isdigit() else "200"
            text = TEXT if status not in ("204", "304") and not head.startswith(b"HEAD") else b""
            length = f"Content-Length: {len(TEXT)}\r\n" if status not in ("204", "304") else ""
            connection.sendall(f"HTTP/1.1 {status} X\r\n{kind}{more}{length}\r\n".encode() + text)


@pytest.fixture
def site(cluster):
    folder = cluster.folder("public")
    for name, text in (("page.html", TEXT), ("small.html", b"<p>"), ("ready.html", TEXT), ("photo.jpg", TEXT)):
        (folder / name).write_bytes(text)
        (folder / name).chmod(0o644)
    (folder / "ready.html.gz").write_bytes(gzip.compress(TEXT))
    (folder / "ready.html.gz").chmod(0o644)
    with Origin(served) as origin:
        cluster.up(f"""
            service web {{ at {origin.text}; }}
            gateway threads=1;
            cache pages;
            listen {PORT} http {{
                compress br zstd gzip;
                route / -> web;
                route /kept/ -> web {{ rewrite strip=/kept; cache pages ttl=1m; }}
                route /plain/ -> web {{ compress off; rewrite strip=/plain; }}
                route /files/ -> files ./public {{ rewrite strip=/files; compress gzip zstd types=text/html; }}
                route /text {{ respond 200 "{'words and words ' * 100}" type=text/plain; }}
            }}""")
        processes.wait_for(lambda: not clients.refused(PORT), 5, "the listener")
        yield cluster


def ask(path, accept="gzip", method="GET", headers=None, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=20)
    connection.request(method, path, body=body, headers={"Accept-Encoding": accept, **(headers or {})})
    answer = connection.getresponse()
    answer.text = answer.read()
    answer.coding = answer.getheader("Content-Encoding")
    connection.close()
    return answer


def decoded(coding, data):
    return subprocess.run(DECODERS[coding], input=data, capture_output=True, check=True).stdout


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_codings(site, coding):
    for path, text in (("/", TEXT), ("/chunks", TEXT), ("/large", LARGE), ("/text", b"words and words " * 100)):
        answer = ask(path, coding)
        assert answer.coding == coding and answer.getheader("Vary") == "Accept-Encoding", path
        assert decoded(coding, answer.text) == text and len(answer.text) < len(text) / 2
    if coding != "br":
        answer = ask("/files/page.html", coding)
        assert answer.coding == coding and decoded(coding, answer.text) == TEXT


def test_what_the_client_likes(site):
    assert ask("/", "gzip, deflate, br").coding == "br"
    assert ask("/", "gzip;q=1, br;q=0.5").coding == "gzip"
    assert ask("/files/page.html", "br, zstd, gzip").coding == "gzip"
    for accept in ("", "identity", "gzip;q=0", "deflate"):
        answer = ask("/", accept)
        assert answer.coding is None and answer.text == TEXT and answer.getheader("Vary") == "Accept-Encoding"


def test_a_cache_keeps_it_uncompressed(site):
    for coding in ("gzip", "", "br", "gzip", "zstd", ""):
        for path in ("/kept/", "/kept/chunks", "/kept/?ETag=%22a%22"):
            answer = ask(path, coding)
            assert answer.coding == (coding or None) and answer.getheader("Vary") == "Accept-Encoding"
            assert (decoded(coding, answer.text) if coding else answer.text) == TEXT
    assert ask("/kept/", "").getheader("Cache-Status").split(";")[1].strip() == "hit"


def test_http2(site):
    for coding in ("br", "gzip"):
        options = ["--http2-prior-knowledge", "-s", "-D", "-", "-H", f"Accept-Encoding: {coding}", "-m", "20"]
        for path, text in (("/", TEXT), ("/chunks", TEXT), ("/large", LARGE)):
            done = subprocess.run(["curl", *options, f"http://127.0.0.1:{PORT}{path}"], capture_output=True, check=True)
            head, _, body = done.stdout.partition(b"\r\n\r\n")
            assert b"content-encoding: " + coding.encode() in head and b"HTTP/2 200" in head
            assert decoded(coding, body) == text
    done = subprocess.run(["curl", "-s", "--compressed", "--http2-prior-knowledge", f"http://127.0.0.1:{PORT}/chunks"],
                          capture_output=True, check=True)
    assert done.stdout == TEXT


def test_what_stays_as_it_is(site):
    for path in ("/?Content-Encoding=x-mine", "/?Cache-Control=no-transform", "/?Content-Type=image/png", "/206",
                 "/?Content-Digest=sha-256", "/plain/", "/files/photo.jpg"):
        answer = ask(path)
        assert answer.text == TEXT and answer.coding in (None, "x-mine"), path
        assert answer.getheader("Content-Length") == str(len(TEXT))
    assert ask("/204").status == 204 and ask("/204").coding is None
    assert ask("/files/small.html").text == b"<p>"
    answer = ask("/files/ready.html")  # lies there so: once is enough
    assert answer.coding == "gzip" and gzip.decompress(answer.text) == TEXT
    assert answer.getheader("ETag").startswith('"') and answer.getheader("Content-Length") == str(len(answer.text))
    part = ask("/files/page.html", headers={"Range": "bytes=5-14"})
    assert part.status == 206 and part.text == TEXT[5:15] and part.coding is None


def test_heads(site):
    answer = ask("/?ETag=\"a\"&Accept-Ranges=bytes")
    assert answer.getheader("ETag") == 'W/"a"' and answer.getheader("Accept-Ranges") is None
    head = ask("/?ETag=\"a\"", method="HEAD")
    assert head.coding == "gzip" and head.getheader("ETag") == 'W/"a"' and head.getheader("Content-Length") is None
    unsized = ask("/chunks", method="HEAD")
    assert unsized.getheader("Vary") == "Accept-Encoding" and unsized.coding is None
    assert ask("/chunks", accept="", method="HEAD").getheader("Vary") == "Accept-Encoding"
    first = ask("/files/page.html")
    tag = first.getheader("ETag")
    assert tag.startswith('W/"') and gzip.decompress(first.text) == TEXT
    again = ask("/files/page.html", headers={"If-None-Match": tag})
    assert again.status == 304 and again.getheader("ETag") == tag
    strong = ask("/files/page.html", accept="", headers={"If-None-Match": tag[2:]})
    assert strong.status == 304 and strong.getheader("ETag") == tag[2:]
    # A range of the compressed one cannot be had: the whole comes.
    whole = ask("/files/page.html", headers={"Range": "bytes=0-9", "If-Range": tag})
    assert whole.status == 200 and gzip.decompress(whole.text) == TEXT


def test_events_come_at_once(site):
    decoder, heard, began = zlib.decompressobj(31), b"", time.monotonic()
    with socket.create_connection(("127.0.0.1", PORT), 10) as client:
        client.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n")
        rest = receive_until(client, b"\r\n\r\n").partition(b"\r\n\r\n")[2]
        times = []
        while not decoder.eof:
            while (line := re.match(rb"([0-9a-f]+)\r\n", rest)) and len(rest) >= line.end() + int(line[1], 16) + 2:
                size = int(line[1], 16)
                more = decoder.decompress(rest[line.end():line.end() + size])
                times += [time.monotonic() - began] * more.count(b"data:")
                heard, rest = heard + more, rest[line.end() + size + 2:]
            if not decoder.eof:
                piece = client.recv(4096)
                assert piece, "it was cut"
                rest += piece
    assert heard == b"".join(b"data: %d\n\n" % number for number in range(4))
    assert times[0] < 0.3 and all(0.2 < later - sooner < 0.7 for sooner, later in zip(times, times[1:])), times


def gateway_rss(cluster):
    """Of the gateway's largest process, in kB."""
    found = [pid for pid in cluster.enginx_processes() if b"gateway" in open(f"/proc/{pid}/cmdline", "rb").read()]
    return max(int(line.split()[1]) for pid in found for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS"))


def test_slow_clients_and_those_that_leave(site):
    request = b"GET /large HTTP/1.1\r\nHost: x\r\nAccept-Encoding: %s\r\nConnection: close\r\n\r\n"
    slow = []
    for number in range(60):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", PORT))
        client.sendall(request % (b"br" if number % 2 else b"gzip"))
        slow.append(client)
    assert ask("/").coding == "gzip"  # others are served meanwhile
    assert gateway_rss(site) < 150000
    for client in slow[1:]:
        client.close()
    data, how = receive_all(slow[0])
    assert how == "end"
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"Content-Encoding: gzip" in head and decoded("gzip", unchunked(body)) == LARGE
    assert ask("/", "br").coding == "br"  # what they took was given back


def unchunked(data):
    whole = b""
    while (size := int(data[:data.index(b"\r\n")], 16)):
        at = data.index(b"\r\n") + 2
        whole, data = whole + data[at:at + size], data[at + size + 2:]
    return whole


def test_a_cut_is_seen(site):
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        ask("/cut")


def test_bodies_of_requests_are_passed_on_as_they_are(site):
    bomb = gzip.compress(b"\0" * (64 << 20))  # 64 MB in 64 kB
    before = gateway_rss(site)
    answer = ask("/count", method="POST", body=bomb, headers={"Content-Encoding": "gzip"})
    assert answer.text == str(len(bomb)).encode()
    assert gateway_rss(site) < before + 4000
