"""A WebSocket client (RFC 6455), with no more than tests need."""

import base64
import hashlib
import os
import socket
import struct

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Closed(Exception):
    pass


class WebSocket:
    def __init__(self, port, host="127.0.0.1", path="/", timeout=15, wrap=None, fields={}):
        self.socket = socket.create_connection((host, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if wrap:
            self.socket = wrap(self.socket)
        self.bytes = bytearray()
        more = "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()
        key = base64.b64encode(os.urandom(16))
        self.socket.sendall(b"GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\n"
                            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                            b"Sec-WebSocket-Key: %s\r\n%s\r\n" % (path.encode(), host.encode(), key, more))
        while b"\r\n\r\n" not in self.bytes:
            self.more()
        head, _, rest = bytes(self.bytes).partition(b"\r\n\r\n")
        self.bytes = bytearray(rest)
        accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest())
        assert head.startswith(b"HTTP/1.1 101 "), head
        assert b"sec-websocket-accept: " + accept.lower() in head.lower(), head

    def more(self):
        piece = self.socket.recv(1 << 18)
        if not piece:
            raise Closed("the connection ended")
        self.bytes += piece

    def take(self, count):
        while len(self.bytes) < count:
            self.more()
        taken = bytes(self.bytes[:count])
        del self.bytes[:count]
        return taken

    def send(self, data, kind=None, last=True):
        """A frame; masked by zeros, which the protocol allows and costs nothing."""
        if kind is None:
            kind = TEXT if isinstance(data, str) else BINARY
        data = data.encode() if isinstance(data, str) else data
        head = bytes([kind | (0x80 if last else 0)])
        if len(data) < 126:
            head += bytes([0x80 | len(data)])
        elif len(data) < 1 << 16:
            head += b"\xfe" + struct.pack(">H", len(data))
        else:
            head += b"\xff" + struct.pack(">Q", len(data))
        self.socket.sendall(head + b"\0\0\0\0" + data)

    def frame(self):
        """The next frame: its kind and its bytes."""
        first, second = self.take(2)
        length = second & 0x7f
        if length == 126:
            length, = struct.unpack(">H", self.take(2))
        elif length == 127:
            length, = struct.unpack(">Q", self.take(8))
        assert first & 0x80 and not second & 0x80
        return first & 0xf, self.take(length)

    def receive(self):
        kind, data = self.frame()
        if kind == CLOSE:
            raise Closed("by a frame")
        return data.decode() if kind == TEXT else data

    def ask(self, message):
        self.send(message)
        return self.receive()

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
