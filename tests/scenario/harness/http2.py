"""A client of HTTP/2 with no more than tests need: one connection, several streams that are requests or
WebSockets (RFC 8441), windows that are kept."""

import socket
import ssl
import struct

from hpack import Decoder, Encoder

from .websocket import WebSocket

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW = 1 << 20


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


class Stream:
    """What a socket is to WebSocket: sendall, recv, close."""

    def __init__(self, connection, number):
        self.connection, self.number = connection, number
        self.window = connection.initial
        self.status, self.fields, self.bytes = None, {}, bytearray()
        self.ended, self.error = False, None

    def sendall(self, data):
        view = memoryview(data)
        while view:
            room = min(self.window, self.connection.window, 16384)
            if room <= 0:
                self.connection.turn()
                continue
            part, view = view[:room], view[room:]
            self.window -= len(part)
            self.connection.window -= len(part)
            self.connection.send(frame(DATA, 0, self.number, bytes(part)))

    def recv(self, count):
        while not self.bytes and not self.ended:
            self.connection.turn()
        taken = bytes(self.bytes[:count])
        del self.bytes[:count]
        if taken:
            for stream in (0, self.number):
                self.connection.send(frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", len(taken))))
        return taken

    def close(self):
        if not self.ended:
            self.connection.send(frame(DATA, END_STREAM, self.number))


class Connection:
    def __init__(self, port, secure=False, timeout=15):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if secure:
            context = ssl._create_unverified_context()
            context.set_alpn_protocols(["h2"])
            self.socket = context.wrap_socket(self.socket)
            assert self.socket.selected_alpn_protocol() == "h2"
        self.scheme = "https" if secure else "http"
        self.bytes, self.streams, self.next = bytearray(), {}, 1
        self.encoder, self.decoder = Encoder(), Decoder()
        self.settings, self.initial, self.window = None, 65535, 65535
        self.going = False  # the other end takes no more streams
        self.send(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", 4, WINDOW)) +
                  frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WINDOW)))
        while self.settings is None:
            self.turn()

    def send(self, data):
        self.socket.sendall(data)

    def exactly(self, count):
        while len(self.bytes) < count:
            piece = self.socket.recv(1 << 18)
            if not piece:
                raise EOFError("the connection ended")
            self.bytes += piece
        taken = bytes(self.bytes[:count])
        del self.bytes[:count]
        return taken

    def turn(self):
        """One frame that comes."""
        head = self.exactly(9)
        kind, flags, number = struct.unpack(">BBI", head[3:])
        payload = self.exactly(int.from_bytes(head[:3], "big"))
        stream = self.streams.get(number)
        if kind == SETTINGS and not flags & ACK:
            self.settings = dict(struct.iter_unpack(">HI", payload))
            self.initial = self.settings.get(4, 65535)
            self.send(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.going = True
        elif kind == WINDOW_UPDATE and number == 0:
            self.window += struct.unpack(">I", payload)[0]
        elif stream:
            self.note(stream, kind, payload)
            stream.ended |= kind in (DATA, HEADERS) and bool(flags & END_STREAM)

    def note(self, stream, kind, payload):
        if kind == WINDOW_UPDATE:
            stream.window += struct.unpack(">I", payload)[0]
        elif kind == DATA:
            stream.bytes += payload
        elif kind == HEADERS:
            stream.fields = dict(self.decoder.decode(payload))
            stream.status = int(stream.fields[":status"])
        elif kind == RST_STREAM:
            stream.ended, stream.error = True, struct.unpack(">I", payload)[0]

    def open(self, path, protocol="websocket", host="shop.example", fields={}):
        """A stream by extended CONNECT, with its answer."""
        stream = self.streams[self.next] = Stream(self, self.next)
        self.next += 2
        block = self.encoder.encode([(":method", "CONNECT"), (":protocol", protocol), (":scheme", self.scheme),
                                     (":path", path), (":authority", host), ("sec-websocket-version", "13"),
                                     *fields.items()])
        self.send(frame(HEADERS, END_HEADERS, stream.number, block))
        while stream.status is None and not stream.ended:
            self.turn()
        return stream

    def request(self, path, body=None, host="shop.example"):
        """A stream with a whole request; its answer comes with `answer`."""
        stream = self.streams[self.next] = Stream(self, self.next)
        self.next += 2
        block = self.encoder.encode([(":method", "GET" if body is None else "POST"), (":scheme", self.scheme),
                                     (":path", path), (":authority", host)])
        self.send(frame(HEADERS, END_HEADERS | (END_STREAM if body is None else 0), stream.number, block))
        if body is not None:
            stream.sendall(body)
            self.send(frame(DATA, END_STREAM, stream.number))
        return stream

    def answer(self, stream):
        """Status and body; raises when the stream was reset."""
        body = b""
        while piece := stream.recv(1 << 18):
            body += piece
        del self.streams[stream.number]
        if stream.error is not None:
            raise ConnectionError(f"reset with {stream.error}")
        return stream.status, body

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class StreamSocket(WebSocket):
    """A WebSocket on a stream that stands."""

    def __init__(self, connection, path="/", **more):
        self.socket, self.bytes = connection.open(path, **more), bytearray()
        assert self.socket.status == 200, self.socket.fields
