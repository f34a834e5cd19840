"""Nothing is held back: events reach the client as they are said, uploads the server as they come,
100 and 103 when they are due; and a large body passes through a gateway that stays small."""

import hashlib
import http.client
import os
import socket
import threading

import pytest

from harness import clients
from harness.origins import (Origin, abort, answer_of, lasting, receive_until, resident)

PORT = 8080
both_accounts = pytest.mark.both_accounts


def front(cluster, origin, block="", service=""):
    cluster.up(f"""
        service origin {{ at {origin.text}; {service} }}
        listen {PORT} http {{ {block} route / -> origin; }}""")
    cluster.wait(lambda: cluster.status() and not clients.refused(PORT), 10, "the gateway to listen")


def connect(timeout=10):
    return socket.create_connection(("127.0.0.1", PORT), timeout)


@both_accounts
def test_events_arrive_as_they_are_said(cluster):
    """The server says the next only when the client has heard the last."""
    heard = threading.Semaphore(0)

    def events(connection):
        receive_until(connection, b"\r\n\r\n")
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                           b"Transfer-Encoding: chunked\r\n\r\n")
        for number in range(200):
            event = b"data: %d\n\n" % number
            connection.sendall(b"%x\r\n%s\r\n" % (len(event), event))
            if not heard.acquire(timeout=5):
                return
        connection.sendall(b"0\r\n\r\n")

    with Origin(events) as origin:
        front(cluster, origin)
        client = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
        client.request("GET", "/")
        answer, number = client.getresponse(), 0
        while line := answer.readline():
            if line.startswith(b"data: "):
                assert int(line[6:]) == number
                number += 1
                heard.release()
        assert number == 200


def test_events_to_a_client_that_left_end(cluster):
    """Also where the server says nothing for a while: it hears that nobody listens."""
    gone = threading.Event()

    def silent(connection):
        receive_until(connection, b"\r\n\r\n")
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        try:
            connection.recv(1)
        finally:
            gone.set()

    with Origin(silent) as origin:
        front(cluster, origin)
        with connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"first" in receive_until(client, b"first\r\n")
            abort(client)
        assert gone.wait(5)


@both_accounts
def test_uploads_flow(cluster):
    """Each chunk is answered before the next is sent: nobody waits for the end of the body."""
    def echo(connection):
        rest = receive_until(connection, b"\r\n\r\n").partition(b"\r\n\r\n")[2]
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while b"0\r\n\r\n" not in rest:
            if rest:
                connection.sendall(b"%x\r\n%s\r\n" % (len(rest), rest))
            rest = connection.recv(4096)
        connection.sendall(b"0\r\n\r\n")

    with Origin(echo) as origin:
        front(cluster, origin)
        with connect() as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert receive_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 200")
            for number in range(20):
                client.sendall(b"8\r\npiece %02d\r\n" % number)
                with lasting(0, 2):
                    assert b"piece %02d" % number in receive_until(client, b"piece %02d" % number)
            client.sendall(b"0\r\n\r\n")
            assert receive_until(client, b"0\r\n\r\n").endswith(b"0\r\n\r\n")


@both_accounts
def test_100_and_103(cluster):
    heard = threading.Event()

    def early(connection):
        """Says 103; when that was heard, and a body is expected, 100; then what it got."""
        head, _, body = receive_until(connection, b"\r\n\r\n").partition(b"\r\n\r\n")
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n")
        assert heard.wait(5)
        if b"100-continue" in head.lower():
            assert not body
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            while len(body) < 5:
                body += connection.recv(100)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
                           % (len(body), body))

    with Origin(early) as origin:
        front(cluster, origin)
        with connect() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            hints = receive_until(client, b"\r\n\r\n")
            assert hints.startswith(b"HTTP/1.1 103 ") and b"Link: </a.css>; rel=preload\r\n" in hints
            heard.set()
            assert answer_of(client).status == 200
        with connect() as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            assert receive_until(client, b"100 Continue\r\n\r\n").endswith(b"100 Continue\r\n\r\n")
            client.sendall(b"12345")
            answer = answer_of(client)
            assert (answer.status, answer.body) == (200, b"12345")
        with connect() as old:  # knows neither
            old.sendall(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n")
            assert receive_until(old, b"\r\n\r\n").startswith(b"HTTP/1.1 200")


SIZE = 64 << 20


def large(connection):
    """GET: so many bytes; POST: the checksum of what came."""
    head = receive_until(connection, b"\r\n\r\n")
    head, _, body = head.partition(b"\r\n\r\n")
    if head.startswith(b"GET"):
        chunked = b"GET /chunked" in head
        connection.sendall(b"HTTP/1.1 200 OK\r\n" +
                           (b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % SIZE) +
                           b"\r\n\r\n")
        for number in range(64):
            block = bytes([number]) * (1 << 20)
            connection.sendall(b"100000\r\n" + block + b"\r\n" if chunked else block)
        connection.sendall(b"0\r\n\r\n" if chunked else b"")
        return
    seen, left = hashlib.sha256(body), SIZE - len(body)
    while left:
        piece = connection.recv(1 << 18)
        assert piece
        seen.update(piece)
        left -= len(piece)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + seen.hexdigest().encode())


@both_accounts
def test_large_bodies_pass_through_little_memory(cluster):
    wanted = hashlib.sha256(b"".join(bytes([number]) * (1 << 20) for number in range(64))).digest()
    with Origin(large) as origin:
        front(cluster, origin)
        gateway = cluster.status()["gateway_pid"]
        before = resident(gateway)
        for path in ("/", "/chunked"):
            client = http.client.HTTPConnection("127.0.0.1", PORT, timeout=20)
            client.request("GET", path)
            answer, seen = client.getresponse(), hashlib.sha256()
            while piece := answer.read(1 << 18):
                seen.update(piece)
            assert seen.digest() == wanted, path
        with connect(20) as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % SIZE)
            block = os.urandom(1 << 20)
            for _ in range(64):
                client.sendall(block)
            assert answer_of(client).body == hashlib.sha256(block * 64).hexdigest().encode()
        assert resident(gateway) - before < 4 << 20


def push(connection):
    try:
        while True:
            connection.sendall(bytes(1 << 16))
    except OSError:
        pass


def test_an_upload_does_not_outrun_a_slow_server(cluster):
    """What the server does not take is not taken from the client either."""
    def slow(connection):
        receive_until(connection, b"\r\n\r\n")
        done.wait(20)

    done = threading.Event()
    with Origin(slow) as origin:
        front(cluster, origin, service="timeout send=1m;")
        gateway = cluster.status()["gateway_pid"]
        before = resident(gateway)
        with connect() as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
            client.settimeout(0.5)
            sent = 0
            with pytest.raises(TimeoutError):
                while True:
                    sent += client.send(bytes(1 << 20))
            assert sent < 64 << 20  # what the kernel's buffers hold
            assert resident(gateway) - before < 2 << 20
        done.set()


def stands_still(cluster, begin, service):
    """An upload to a server that reads steadily, and so slowly that it makes no room in the kernel's buffers for longer
    than `timeout send=`; and then not any more. `begin`: what it hears and says first."""
    def slow(connection):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        begin(connection)
        while not stand.wait(0.02):
            connection.recv(4096)
        stood.wait(20)

    stand, stood = threading.Event(), threading.Event()
    with Origin(slow) as origin:
        front(cluster, origin, service=service)
        with connect() as client:
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
            threading.Thread(target=push, args=[client], daemon=True).start()
            client.settimeout(3)
            with pytest.raises(TimeoutError):
                client.recv(1)
            stand.set()
            client.settimeout(10)
            assert answer_of(client).status == 504
        stood.set()


def test_an_upload_to_a_slow_server_is_cut_only_when_it_stands_still(cluster):
    stands_still(cluster, lambda connection: receive_until(connection, b"\r\n\r\n"), "timeout send=1s;")


def h2_frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def test_an_upload_by_http2_is_cut_only_when_it_stands_still(cluster):
    """Windows without end, so that the kernel's buffers alone hold back what the server does not read."""
    def begin(connection):
        window = (1 << 31) - 1
        connection.sendall(h2_frame(4, 0, 0, (4).to_bytes(2, "big") + window.to_bytes(4, "big"))
                           + h2_frame(8, 0, 0, (window - 65535).to_bytes(4, "big")) + h2_frame(4, 1, 0))
    stands_still(cluster, begin, "speaks http2; timeout send=1s;")
