"""Answers that take long: streams of events over reloads, and large ones to clients that read slowly."""

import hashlib
import os
import socket
import time

import pytest

from harness.examples import Events
from harness.origins import get, receive_until, resident

PORT = 8080
both_accounts = pytest.mark.both_accounts
MIB = 1 << 20


def events(programs, route="", service="", more=""):
    return f"""
        service events {{ run node {programs.path("events.js")}; env WHO=$instance; instances 2; {service} }}
        listen {PORT} http {{ route / -> events {{ {route} }} }}
        {more}"""


@both_accounts
def test_events_go_on_over_reloads(cluster, programs):
    """Also over those that change their own route, service and listener."""
    cluster.up(events(programs))
    cluster.wait_up(2)
    streams = [Events(PORT, "/events") for _ in range(4)]
    count = 0

    def follow(number):
        nonlocal count
        for expected in range(count, count + number):
            assert [int(stream.next()) for stream in streams] == [expected] * len(streams)
        count += number

    follow(5)
    for text in (events(programs, route="header response set X-A b;"),
                 events(programs, route="timeout response=5s;", service="timeout read=20s;"),
                 events(programs, more='listen 8090 http { respond 200 "another"; }'),
                 events(programs, service="balance ewma;"),
                 events(programs).replace("route /", "access-log json; route /")):
        cluster.configure(text)
        cluster.command("reload")
        follow(10)
    # A listener that is gone takes no more, and lets those that it has come to their end.
    cluster.configure(events(programs).replace(f"listen {PORT} http", "listen 8091 http"))
    cluster.command("reload")
    follow(10)
    assert get(8091, "/whoami").status == 200
    for stream in streams:
        stream.close()


def slow_readers(path, count):
    """Clients that have asked, and taken nothing but the head."""
    readers = []
    for _ in range(count):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        connection.settimeout(20)
        connection.connect(("127.0.0.1", PORT))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head = receive_until(connection, b"\r\n\r\n", 4096)
        assert head.startswith(b"HTTP/1.1 200"), head
        readers.append((connection, head.partition(b"\r\n\r\n")[2]))
    return readers


def site(cluster, listen=""):
    cluster.file("files/large", b"".join(bytes([number]) * MIB for number in range(32)))
    cluster.up(f"""
        service origin {{ run /usr/bin/python3 -m http.server 8000; directory files; }}
        listen {PORT} http {{
            {listen} route / -> origin; route /files/ -> files .;
        }}""")
    cluster.wait_up(1)


@both_accounts
@pytest.mark.parametrize("path", ["/files/large", "/large"])
def test_slow_readers_of_large_files(cluster, path):
    """They cost next to nothing, hold up nobody, and get every byte when they go on."""
    site(cluster)
    wanted = hashlib.sha256((cluster.directory / "files" / "large").read_bytes()).digest()
    gateway = cluster.status()["gateway_pid"]
    before = resident(gateway)
    readers = slow_readers(path, 30)
    for _ in range(10):  # nobody else waits for them
        began = time.monotonic()
        assert hashlib.sha256(get(PORT, "/files/large").body).digest() == wanted
        assert time.monotonic() - began < 5
    assert resident(gateway) - before < 8 * MIB
    for connection, body in readers[:3]:
        seen, length = hashlib.sha256(body), len(body)
        while piece := connection.recv(1 << 16):
            seen.update(piece)
            length += len(piece)
        assert (length, seen.digest()) == (32 * MIB, wanted)
    for connection, _ in readers:
        connection.close()
    cluster.wait(lambda: sockets_of(gateway) < 20, 10, "the gateway to have let go of those that left")


def sockets_of(pid):
    """Of the gateway: listeners, kept connections and its own; not one for each client that was there."""
    found = 0
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found += os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")
        except OSError:
            pass
    return found


@both_accounts
@pytest.mark.parametrize("path", ["/files/large", "/large"])
def test_who_takes_nothing_for_too_long_is_cut(cluster, path):
    site(cluster, listen="timeout send=1s;")
    stalled, = slow_readers(path, 1)
    steady, = slow_readers(path, 1)
    length, began = len(steady[1]), time.monotonic()
    while time.monotonic() < began + 3.1:  # three times as long, but never without taking some
        length += len(steady[0].recv(1 << 16))
        time.sleep(0.02)
    connection, body = stalled
    with pytest.raises(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            body += piece
    assert len(body) < 32 * MIB
    while piece := steady[0].recv(1 << 16):
        length += len(piece)
    assert length == 32 * MIB


def test_who_takes_something_in_time_is_not_cut(cluster):
    """Nothing for more than half of the time, and then again."""
    site(cluster, listen="timeout send=3s;")
    (connection, body), = slow_readers("/large", 1)
    length = len(body)
    for _ in range(2):
        time.sleep(2.4)  # the point is that time goes by
        wanted = length + (64 << 10)  # not so much that the kernel's buffer has room
        while length < wanted:
            length += len(connection.recv(4096))
    while piece := connection.recv(1 << 16):
        length += len(piece)
    assert length == 32 * MIB
