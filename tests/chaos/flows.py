"""Clients in closed loops on one path to one service; each failure says since when its connection was open."""

import dataclasses
import os
import socket
import threading
import time

from harness import http2
from harness.traffic import DOWNLOAD_BYTES, Traffic

UDP_TIMEOUT = 5  # a datagram without an answer by then is lost, and no client sends it again
UDP_SESSION = 20  # datagrams
SLOW_PAUSE = 0.02  # between the pieces that a slow client takes
DOWNLOAD_EVERY = 20  # turns of an HTTP/2 connection
HTTP1 = ("keep", "keep", "single", "single", "download", "slow", "websocket")


@dataclasses.dataclass
class Failure:
    path: str  # "service/path"
    kind: str
    began: float  # when the client connected
    ended: float
    error: BaseException
    pid: int = None  # of the program that answered last on this connection, where that is known
    action: str = None  # that explains it


class WrongBytes(Exception):
    """What no action explains: an answer that came, and is not what was asked for."""


class Flow(Traffic):
    """Traffic that keeps failures as `Failure`. Every request ends as `done` or as one of `failed`."""

    KEEP_SECONDS = 20  # a relay that drains has its connections for as long as both ends want them

    def __init__(self, path, port, kinds=HTTP1, h2_port=None):
        super().__init__(port, 0, 0, 0, 0)
        self.path, self.kinds, self.h2_port = path, set(kinds), h2_port or port
        self.own = threading.local()
        self.threads = [threading.Thread(target=self.loop, args=(getattr(self, kind),), daemon=True)
                        for kind in kinds]

    def loop(self, kind):
        while not self.ending.wait(0.002):
            began, self.own.pid = time.monotonic(), None
            try:
                kind()
            except Exception as error:  # noqa: whatever it is, it is told
                with self.lock:
                    self.failed.append(Failure(self.path, kind.__name__, began, time.monotonic(), error,
                                               self.own.pid))
                time.sleep(0.05)

    def count(self, kind, started, answer=None):
        super().count(kind, started)

    def note(self, status, body):
        """What /whoami answers: which instance, and its process."""
        words = body.split()
        if status == 200 and len(words) == 2 and words[1].isdigit():
            self.own.pid = int(words[1])
        elif status == 200:
            raise WrongBytes(f"{body[:80]!r}")
        else:
            raise ConnectionError(f"{status} {body[:80]!r}")

    def ask(self, connection, kind, method="GET"):
        started = time.monotonic()
        connection.request(method, "/whoami", body=b"x" * 100 if method == "POST" else None,
                           headers={"Connection": "close"} if kind == "single" else {})
        response = connection.getresponse()
        self.note(response.status, response.read())
        self.count(kind, started)
        return response.will_close

    def check(self, status, body):
        """Raises for bytes that are wrong; a body that is only too short, http.client has told."""
        if status == 200 and body != b"x" * DOWNLOAD_BYTES:
            raise WrongBytes(f"{len(body)} bytes")
        if status != 200:
            raise ConnectionError(f"{status} {body[:80]!r}")

    def take(self, kind, pause):
        started, connection = time.monotonic(), self.connection()
        try:
            connection.request("GET", "/download")
            response, body = connection.getresponse(), b""
            while response.status == 200 and len(body) < DOWNLOAD_BYTES:
                piece = response.read(4096)
                if not piece:
                    raise ConnectionError(f"cut after {len(body)} bytes")
                if piece.strip(b"x"):
                    raise WrongBytes(f"{piece[:80]!r}")
                body += piece
                time.sleep(pause)
            self.check(response.status, body)
            self.count(kind, started)
        finally:
            connection.close()

    def download(self):
        self.take("download", 0)

    def slow(self):
        self.take("slow", SLOW_PAUSE)

    def h2(self):
        """Streams of one connection, three at a time, until the other end says that it goes."""
        with http2.Connection(self.h2_port, timeout=self.timeout) as connection:
            turn = 0
            while not connection.going and not self.ending.wait(0.002):
                turn += 1
                started = time.monotonic()
                streams = [connection.request("/whoami", body) for body in (None, b"x" * 100, None)]
                long = connection.request("/download") if turn % DOWNLOAD_EVERY == 0 else None
                for stream in streams:
                    self.note(*connection.answer(stream))
                    self.count("h2", started)
                if long:
                    self.check(*connection.answer(long))
                    self.count("h2", started)

    def file(self):
        """A file that never changes, by a connection of its own."""
        started, connection = time.monotonic(), self.connection()
        try:
            connection.request("GET", "/file", headers={"Connection": "close"})
            response = connection.getresponse()
            self.check(response.status, response.read())
            self.count("file", started)
        finally:
            connection.close()

    def udp(self):
        """A session; each datagram is answered with what it was, once, or it is lost."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(UDP_TIMEOUT)
            client.connect(self.address)
            for _ in range(UDP_SESSION):
                started, sent = time.monotonic(), os.urandom(16).hex().encode()
                client.send(sent)
                who, pid, came = client.recv(2048).split()
                if came != sent:
                    raise WrongBytes(f"{came!r} for {sent!r}")
                self.own.pid = int(pid)
                self.count("udp", started)
                time.sleep(0.02)

    def ended(self):
        """Has every client ended, so that nothing is left uncounted?"""
        return not any(thread.is_alive() for thread in self.threads)
