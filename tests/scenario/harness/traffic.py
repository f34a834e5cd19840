"""Clients of every kind at once, in a closed loop, each of which counts what it asked and what it got:
connections kept alive (GET and POST), a connection for each request, long downloads, WebSockets."""

import collections
import http.client
import socket
import threading
import time

from .websocket import WebSocket

DOWNLOAD_BYTES = 50 * 4096


class Traffic:
    """Use as a context; the counts are final after it. `done` by kind; `failed`: (kind, time, error);
    `answers`: of /whoami, by what the program calls itself."""

    def __init__(self, port, kept=4, single=2, downloads=2, websockets=2, host="127.0.0.1", timeout=30):
        self.address, self.timeout = (host, port), timeout
        self.done, self.failed, self.answers = collections.Counter(), [], collections.Counter()
        self.slowest = 0.0
        self.lock, self.ending = threading.Lock(), threading.Event()
        kinds = ((self.keep, kept), (self.single, single), (self.download, downloads),
                 (self.websocket, websockets))
        self.threads = [threading.Thread(target=self.loop, args=(kind,), daemon=True)
                        for kind, count in kinds for _ in range(count)]

    def loop(self, kind):
        while not self.ending.wait(0.001):
            try:
                kind()
            except Exception as error:  # noqa: whatever it is, it is told
                with self.lock:
                    self.failed.append((kind.__name__, time.monotonic(), repr(error)))
                time.sleep(0.05)

    def count(self, kind, started, answer=None):
        with self.lock:
            self.done[kind] += 1
            self.slowest = max(self.slowest, time.monotonic() - started)
            if answer:
                self.answers[answer] += 1

    def connection(self):
        connection = http.client.HTTPConnection(*self.address, timeout=self.timeout)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def ask(self, connection, kind, method="GET"):
        started = time.monotonic()
        headers = {"Connection": "close"} if kind == "single" else {}
        connection.request(method, "/whoami", body=b"x" * 100 if method == "POST" else None, headers=headers)
        response = connection.getresponse()
        body = response.read()
        if response.status != 200 or not body.endswith(b"\n"):
            raise ConnectionError(f"{response.status} {body[:80]!r}")
        self.count(kind, started, body.decode().split()[0])
        return response.will_close

    KEEP_SECONDS = float("inf")

    def keep(self):
        """Until the other end says that the connection ends, or we have had enough of it."""
        connection, asked, until = self.connection(), 0, time.monotonic() + self.KEEP_SECONDS
        try:
            while time.monotonic() < until and not self.ending.wait(0.001):
                asked += 1
                if self.ask(connection, "keep", "POST" if asked % 3 == 0 else "GET"):
                    return
        finally:
            connection.close()

    def single(self):
        connection = self.connection()
        try:
            self.ask(connection, "single")
        finally:
            connection.close()

    def download(self):
        started, connection = time.monotonic(), self.connection()
        try:
            connection.request("GET", "/download")
            response = connection.getresponse()
            body = response.read()
            if response.status != 200 or body != b"x" * DOWNLOAD_BYTES:
                raise ConnectionError(f"{response.status}, {len(body)} bytes")
            self.count("download", started)
        finally:
            connection.close()

    def websocket(self):
        started = time.monotonic()
        with WebSocket(self.address[1], host=self.address[0], timeout=self.timeout) as one:
            for number in range(20):
                if one.ask(f"message {number}") != f"message {number}":
                    raise ConnectionError("another message came back")
                time.sleep(0.02)
        self.count("websocket", started)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        for thread in self.threads:
            thread.join(self.timeout + 1)

    def wait_each(self, within=15):
        """Until each kind got an answer to something that it asks from now on."""
        kinds = {thread._args[0].__name__ for thread in self.threads}
        before, deadline = dict(self.done), time.monotonic() + within
        while not all(self.done[kind] > before.get(kind, 0) + 1 for kind in kinds):
            assert time.monotonic() < deadline, f"{self.done} after {before}; {self.failed[:3]}"
            time.sleep(0.02)

    def told(self):
        return " ".join(f"{kind}={count}" for kind, count in sorted(self.done.items()))
