"""Clients in closed loops on one path to one service; each failure says since when its connection was open."""

import dataclasses
import os
import socket
import threading
import time

from harness.traffic import DOWNLOAD_BYTES, Traffic

UDP_TIMEOUT = 1  # a datagram without an answer by then is lost: it is counted, and sent once more
UDP_TRIES = 3
SLOW_PAUSE = 0.02  # between the pieces that a slow client takes


@dataclasses.dataclass
class Failure:
    path: str  # "service/path"
    kind: str
    began: float  # when the client connected
    ended: float
    error: BaseException
    action: str = None  # that explains it


class WrongBytes(Exception):
    """What no action explains: an answer that came, and is not what was asked for."""


class Flow(Traffic):
    """Traffic that keeps failures as `Failure`. Every request ends as `done` or as one of `failed`."""

    KINDS = ("keep", "keep", "single", "single", "download", "slow", "websocket")

    def __init__(self, path, port, kinds=KINDS):
        super().__init__(port, 0, 0, 0, 0)
        self.path, self.kinds = path, set(kinds)
        self.lost = []  # when datagrams were sent that nobody answered
        self.threads = [threading.Thread(target=self.loop, args=(getattr(self, kind),), daemon=True)
                        for kind in kinds]

    def loop(self, kind):
        while not self.ending.wait(0.002):
            began = time.monotonic()
            try:
                kind()
            except Exception as error:  # noqa: whatever it is, it is told
                with self.lock:
                    self.failed.append(Failure(self.path, kind.__name__, began, time.monotonic(), error))
                time.sleep(0.05)

    def check(self, response, body):
        """Raises for bytes that are wrong; a body that is only too short, http.client has told."""
        if response.status == 200 and body != b"x" * DOWNLOAD_BYTES:
            raise WrongBytes(f"{len(body)} bytes")
        if response.status != 200:
            raise ConnectionError(f"{response.status} {body[:80]!r}")

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
            self.check(response, body)
            self.count(kind, started)
        finally:
            connection.close()

    def download(self):
        self.take("download", 0)

    def slow(self):
        self.take("slow", SLOW_PAUSE)

    def udp(self):
        """A session of twenty datagrams; what comes back must end with one that was sent."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(UDP_TIMEOUT)
            client.connect(self.address)
            sent = []
            for _ in range(20):
                started = time.monotonic()
                sent.append(os.urandom(16).hex().encode())
                answer = self.patient(client, sent[-1])
                if answer.rpartition(b" ")[2] not in sent:
                    raise WrongBytes(f"{answer[:80]!r}")
                self.count("udp", started)
                time.sleep(0.02)

    def patient(self, client, message):
        """UDP promises no delivery, so a client of it asks again; what is lost is counted."""
        for _ in range(UDP_TRIES):
            client.send(message)
            try:
                return client.recv(2048)
            except TimeoutError:
                with self.lock:
                    self.lost.append(time.monotonic() - UDP_TIMEOUT)
        raise ConnectionError("nobody answers")

    def ended(self):
        """Has every client ended, so that nothing is left uncounted?"""
        return not any(thread.is_alive() for thread in self.threads)
