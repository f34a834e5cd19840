"""HTTP/2 as clients speak it: curl and h2load against instances of programs that speak HTTP/1.1.
Bodies byte for byte, many streams, and none cut by a reload, a drain or the death of an instance."""

import hashlib
import json
import os
import random
import re
import socket
import ssl
import subprocess
import threading
import time

import hpack
import pytest

from harness import clients
from reload_test import reload
from tls_test import identity

PLAIN, SECURE = 8080, 8443

ECHO = r'''
import hashlib, http.server, os, random, socketserver, time

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        words = self.path.strip("/").split("/")
        if words[0] == "slow":
            time.sleep(float(words[1]))
        if words[0] == "body":
            self.answer(random.Random(int(words[1])).randbytes(int(words[1])))
        elif words[0] in ("chunks", "rest"):
            self.parts(words[0] == "chunks", random.Random(int(words[1])).randbytes(int(words[1])))
        else:
            self.answer(os.environ["WHO"].encode())

    def parts(self, chunked, body):
        self.send_response(200)
        self.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Connection", "close")))
        self.end_headers()
        while body:
            part, body = body[:100_000], body[100_000:]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    def do_POST(self):
        digest, left = hashlib.sha256(), int(self.headers.get("Content-Length", -1))
        while left:
            size = left if left > 0 else int(self.rfile.readline(), 16)
            piece = self.rfile.read(min(size, 65536) if left > 0 else size)
            digest.update(piece)
            if left < 0:
                self.rfile.readline()
                if not size:
                    break
            else:
                left -= len(piece)
        self.answer(digest.hexdigest().encode())

    def log_message(self, *_):
        pass

class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads, request_queue_size = True, 512

Server(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
'''


def text(count=2, block="", who="web"):
    return f"""
        service web {{ run python3 echo.py; instances {count}; port 8000; env WHO={who}$instance PORT=8000; }}
        listen {PLAIN} http {{ {block} route / -> web; }}
        listen {SECURE} http tls {{ certificate tls/shop.crt key=tls/shop.key; {block} route / -> web; }}"""


@pytest.fixture
def front(cluster):
    cluster.file("echo.py", ECHO)
    folder = cluster.folder("tls")
    identity(folder, "ca")
    identity(folder, "shop", "shop.example", issuer="ca")

    def start(**options):
        cluster.up(text(**options))
        cluster.wait_up(options.get("count", 2))
        cluster.wait(lambda: not clients.refused(SECURE))
        return cluster

    return start


WAYS = {"plain": ["--http2-prior-knowledge", f"http://127.0.0.1:{PLAIN}"],
        "tls": ["--http2", "--insecure", f"https://127.0.0.1:{SECURE}"]}


def curl(way, path, *options, binary=False):
    *before, base = WAYS[way]
    done = subprocess.run(["curl", "-sS", "--max-time", "30", *before, *options, base + path],
                          capture_output=True, timeout=40)
    assert done.returncode == 0, done.stderr
    return done.stdout if binary else done.stdout.decode()


def h2load(*options, way="tls", path="/x"):
    """(succeeded, failed)"""
    done = subprocess.run(["h2load", *map(str, options), WAYS[way][-1] + path], capture_output=True,
                          text=True, timeout=60)
    found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", done.stdout)
    assert found, done.stdout + done.stderr
    succeeded, failed, errored = map(int, found.groups())
    return succeeded, failed + errored


@pytest.mark.parametrize("way", WAYS)
def test_bodies_arrive_as_they_were_sent(front, cluster, way):
    front(block="bounds body=100m;")
    assert curl(way, "/x", "-o", "/dev/null", "-w", "%{http_version} %{response_code}") == "2 200"
    sent = os.urandom(20_000_000)
    file = cluster.file("upload", sent)
    expected = hashlib.sha256(sent).hexdigest()
    assert curl(way, "/up", "--data-binary", f"@{file}") == expected
    assert curl(way, "/up", "-X", "POST", "-T", str(file), "-H", "Content-Length:") == expected
    assert curl(way, "/body/16000000", binary=True) == random.Random(16_000_000).randbytes(16_000_000)

def frame(kind, flags, stream, payload):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def side_by_side(way, paths, window):
    """Their bodies, all asked for at once on one connection, with that window each."""
    context = ssl._create_unverified_context()
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", SECURE if way == "tls" else PLAIN), timeout=20) as connection:
        if way == "tls":
            connection = context.wrap_socket(connection)
        encoder, bodies, left = hpack.Encoder(), {}, set()
        sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"\0\4" + window.to_bytes(4, "big"))
        sent += frame(8, 0, 0, ((1 << 31) - 65536).to_bytes(4, "big"))
        for stream, path in enumerate(paths):
            sent += frame(1, 5, 2 * stream + 1, encoder.encode([(":method", "GET"), (":scheme", "http"),
                                                                (":authority", "x"), (":path", path)]))
            left.add(2 * stream + 1)
            bodies[2 * stream + 1] = b""
        connection.sendall(sent)
        came = connection.makefile("rb")
        while left:
            head = came.read(9)
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            payload = came.read(int.from_bytes(head[:3], "big"))
            assert kind not in (3, 7), head + payload
            if kind == 0 and payload:
                bodies[stream] += payload
                connection.sendall(frame(8, 0, stream, len(payload).to_bytes(4, "big")))
            if kind in (0, 1) and flags & 1:
                left.remove(stream)
        return list(bodies.values())


@pytest.mark.parametrize("way", WAYS)
def test_large_bodies_side_by_side_are_not_mixed(front, way):
    """Sent from where they were read to, many of them in one write; windows large and small."""
    front(count=1)
    wanted = [(kind, size) for kind in ("body", "chunks", "rest") for size in (65536, 400_001, 3_000_000)]
    for window in (1 << 24, 5000):
        bodies = side_by_side(way, [f"/{kind}/{size}" for kind, size in wanted], window)
        for (kind, size), body in zip(wanted, bodies):
            assert body == random.Random(size).randbytes(size), (kind, size, window)


@pytest.mark.parametrize("way", WAYS)
def test_an_answer_before_the_body_is_no_error_to_curl(front, cluster, way):
    """Debian 12's takes the reset that may follow for one (92), and sleeps on where nothing does."""
    front(count=1, block="route /few/ -> web { bounds body=3; } route /none/ -> web { deny all; }")
    files = [cluster.file(f"upload{size}", b"x" * size) for size in (6, 60_000, 200_000)]
    for path, status in (("/few/", "413"), ("/none/", "403")):
        for file in files * 2:
            assert curl(way, path, "-o", "/dev/null", "-w", "%{response_code}", "--data-binary", f"@{file}") == status


def test_off(front):
    front(block="http2 off;")
    assert curl("tls", "/x", "-o", "/dev/null", "-w", "%{http_version}") == "1.1"
    *before, base = WAYS["plain"]
    assert subprocess.run(["curl", "-sS", *before, base + "/x"], capture_output=True).returncode != 0


def test_the_access_log_tells_the_protocol(front, cluster):
    front(block="access-log json fields=protocol,status,path;")
    curl("tls", "/logged")
    path = cluster.state / "log" / "access.log"
    cluster.wait(lambda: path.exists() and path.read_text().endswith("\n"))
    line = json.loads(path.read_text().splitlines()[0])
    assert (line["protocol"], line["status"], line["path"]) == ("HTTP/2", 200, "/logged")


@pytest.mark.parametrize("way", WAYS)
def test_many_streams(front, way):
    front()
    assert h2load("-n", 4000, "-c", 4, "-m", 100, way=way) == (4000, 0)
    assert h2load("-n", 60, "-c", 2, "-m", 30, way=way, path="/body/320000") == (60, 0)


def test_a_reload_cuts_no_stream(front, cluster):
    front()
    result = []
    load = threading.Thread(target=lambda: result.append(
        h2load("-n", 600, "-c", 4, "-m", 20, way="tls", path="/slow/0.1")))
    load.start()
    for turn in range(4):
        time.sleep(0.25)
        reload(cluster, text(block=f"header response set X-Turn {turn};"))
    load.join()
    assert result == [(600, 0)]


def test_the_death_of_an_instance_cuts_only_its_own(front, cluster):
    front()
    result = []
    load = threading.Thread(target=lambda: result.append(h2load("-n", 3000, "-c", 2, "-m", 8, way="plain")))
    load.start()
    time.sleep(0.3)
    os.kill(cluster.pid(1, "web"), 9)
    load.join()
    succeeded, failed = result[0]
    assert succeeded + failed == 3000 and failed == 0  # GET is tried again


def test_a_listener_that_goes_says_goodbye(front, cluster):
    """What is under way is served to its end, and no new connection is taken."""
    front()
    answers = []
    slow = threading.Thread(target=lambda: answers.append(curl("tls", "/slow/1.5")))
    slow.start()
    time.sleep(0.5)
    reload(cluster, text().split("listen 8443")[0])
    cluster.wait(lambda: clients.refused(SECURE))
    slow.join()
    assert answers and answers[0].startswith("web")


def reader(path):
    """A connection that asks for the path, with windows as wide as they can be: what it does not read waits in TCP."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", PLAIN))
    fields = hpack.Encoder().encode([(":method", "GET"), (":scheme", "http"), (":authority", "x"), (":path", path)])
    widest = (1 << 31) - 1
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"\0\4" + widest.to_bytes(4, "big")) +
                       frame(8, 0, 0, (widest - 65535).to_bytes(4, "big")) + frame(1, 5, 1, fields))
    return connection


def test_a_client_that_stops_reading(front):
    """It is cut when its time is over; one that is only slow gets everything."""
    size = 20 << 20
    front(block="timeout send=1s;")
    with reader(f"/body/{size}") as stopped, reader(f"/body/{size}") as slow:
        length = 0
        until = time.monotonic() + 3
        while time.monotonic() < until:
            length += len(slow.recv(4096))
            time.sleep(0.05)
        with pytest.raises(ConnectionError):
            while stopped.recv(65536):
                pass
        while length < size:
            some = slow.recv(1 << 20)
            assert some
            length += len(some)
