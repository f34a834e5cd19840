"""A client of HTTP/2 that sends the frames it is given, right or wrong, and reads what comes back.
Fields are encoded by hand (literals, so that anything can be said); those of the answer are decoded
by python3-hpack."""

import socket
import struct

from hpack import Decoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, \
    CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 32
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, \
    FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, \
    ENHANCE_YOUR_CALM = range(12)


def frame(kind, flags=0, stream=0, payload=b"", length=None):
    length = len(payload) if length is None else length
    return struct.pack(">I", length)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def number(value, bits, first=0):
    """An integer of HPACK (RFC 7541 §5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = [first | most], value - most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes(out + [value])


def fields(*pairs):
    """A block of literals that are not indexed."""
    block = b""
    for name, value in pairs:
        block += b"\0" + number(len(name), 7) + name + number(len(value), 7) + value
    return block


def pseudo(method=b"GET", path=b"/", scheme=b"http", authority=b"origin.example"):
    pairs = [(b":method", method), (b":scheme", scheme), (b":path", path), (b":authority", authority)]
    return [(name, value) for name, value in pairs if value is not None]


def headers(stream, *pairs, end=True, more=0):
    flags = END_HEADERS | (END_STREAM if end else 0) | more
    return frame(HEADERS, flags, stream, fields(*pairs))


def get(stream, *more, **parts):
    return headers(stream, *pseudo(**parts), *more)


def post(stream, *more, **parts):
    return headers(stream, *pseudo(method=b"POST", **parts), *more, end=False)


class Frame:
    def __init__(self, kind, flags, stream, payload):
        self.kind, self.flags, self.stream, self.payload = kind, flags, stream, payload

    @property
    def error(self):
        at = {RST_STREAM: 0, GOAWAY: 4}[self.kind]
        return struct.unpack_from(">I", self.payload, at)[0]

    def __repr__(self):
        return f"Frame(kind={self.kind}, flags={self.flags}, stream={self.stream}, {self.payload[:60]!r})"


class Answer:
    def __init__(self):
        self.interim, self.fields, self.trailers, self.body = [], [], [], b""
        self.reset = None

    def get(self, name):
        return next((value for key, value in self.fields if key == name), None)

    @property
    def status(self):
        return int(self.get(":status") or 0)


class Client:
    """A connection; `begin=False`: nothing is said yet."""

    def __init__(self, port=8080, begin=True, settings=b"", timeout=6):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.bytes, self.decoder, self.answers = b"", Decoder(), {}
        self.settings = self.goaway = None
        self.frames = []
        if begin:
            self.send(PREFACE + frame(SETTINGS, payload=settings))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def exactly(self, length):
        while len(self.bytes) < length:
            got = self.socket.recv(65536)
            if not got:
                raise EOFError
            self.bytes += got
        taken, self.bytes = self.bytes[:length], self.bytes[length:]
        return taken

    def frame(self):
        """The next frame; what it says is remembered. EOFError: the end."""
        head = self.exactly(9)
        length = int.from_bytes(head[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        got = Frame(kind, flags, stream, self.exactly(length))
        self.frames.append(got)
        if kind == SETTINGS and not flags & ACK:
            self.settings = {key: value for key, value in struct.iter_unpack(">HI", got.payload)}
            self.send(frame(SETTINGS, ACK))
        elif kind == GOAWAY:
            self.goaway = got
        elif stream:
            self.note(got)
        return got

    def note(self, got):
        answer = self.answers.setdefault(got.stream, Answer())
        if got.kind == HEADERS:
            assert got.flags & END_HEADERS
            decoded = [(name, value) for name, value in self.decoder.decode(got.payload)]
            assert all(name == name.lower() for name, _ in decoded)
            status = dict(decoded).get(":status")
            if status is None:
                answer.trailers = decoded
            elif status.startswith("1"):
                answer.interim.append(decoded)
            else:
                assert not answer.fields
                answer.fields = decoded
        elif got.kind == DATA:
            answer.body += got.payload
        elif got.kind == RST_STREAM:
            answer.reset = got.error

    def answer(self, stream=1):
        """The whole answer to a stream; `.reset`: it ended by that error."""
        while True:
            got = self.frame()
            if got.stream == stream and (got.kind == RST_STREAM or
                                         got.kind in (HEADERS, DATA) and got.flags & END_STREAM):
                return self.answers[stream]

    def until(self, kind, stream=None):
        while True:
            got = self.frame()
            if got.kind == kind and (stream is None or got.stream == stream):
                return got

    def connection_error(self):
        """The error of the GOAWAY that must come, and the end after it."""
        try:
            while True:
                self.frame()
        except (EOFError, ConnectionResetError):
            pass
        return self.goaway.error if self.goaway else None

    def alive(self):
        self.send(frame(PING, payload=b"are you?"))
        while True:
            got = self.until(PING)
            if got.flags & ACK:
                return got.payload == b"are you?"
