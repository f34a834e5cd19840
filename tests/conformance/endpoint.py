"""An endpoint of HTTP/2 that does what a case tells it to, frame by frame: for the demands of
RFC 9113 on a client, which the gateway is there."""

import socket
import threading

from frames import *  # noqa: F403

FINE = headers(1, (b":status", b"200"), (b"content-length", b"2"), end=False) + frame(DATA, END_STREAM, 1, b"ok")


def response(stream, *more, status=b"200", end=False):
    return headers(stream, (b":status", status), *more, end=end)


class Served(Client):
    """A connection of the gateway: what it sends is read as Client reads what a server sends."""

    def __init__(self, accepted, settings=b""):
        self.socket = accepted
        self.socket.settimeout(6)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.bytes, self.decoder, self.answers = b"", Decoder(), {}
        self.settings = self.goaway = None
        self.frames, self.over = [], False
        self.preface = self.exactly(len(PREFACE))
        self.send(frame(SETTINGS, payload=settings))

    def note(self, got):
        """Of a request: its fields, and how much of its body came."""
        answer = self.answers.setdefault(got.stream, Answer())
        if got.kind == HEADERS:
            decoded = list(self.decoder.decode(got.payload))
            if answer.fields:
                answer.trailers = decoded
            else:
                answer.fields = decoded
        elif got.kind == DATA:
            answer.body += got.payload
        elif got.kind == RST_STREAM:
            answer.reset = got.error

    def request(self, stream=1):
        """A whole request."""
        return self.answer(stream)

    def head(self, stream=1):
        self.until(HEADERS, stream)
        return self.answers[stream]


class Endpoint:
    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        self.script, self.settings, self.failures, self.connections = None, b"", [], []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                accepted, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=[accepted], daemon=True).start()

    def serve(self, accepted):
        served = None
        try:
            served = Served(accepted, self.settings)
            self.connections.append(served)
            self.script(served)
            while True:
                served.frame()
        except (EOFError, OSError):
            pass
        except Exception as failure:  # told to the case
            self.failures.append(failure)
        finally:
            if served:
                served.over = True
            accepted.close()

    def behave(self, script, settings=b""):
        self.script, self.settings = script, settings
        self.failures.clear()
        self.connections.clear()

    def close(self):
        self.socket.close()
