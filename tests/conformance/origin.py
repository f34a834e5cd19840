"""An origin that takes requests apart byte by byte, keeps what it saw, and answers what it is told:
the request field `X-Answer` (hexadecimal bytes) is sent as it is, `X-Then: close` closes after it,
`X-Then: reset` resets. It frames bodies by Content-Length or chunked and trusts whoever speaks."""

import socket
import struct
import threading


class Seen:
    """A request as it came."""

    def __init__(self, line, fields, body, trailers):
        self.line, self.fields, self.body, self.trailers = line, fields, body, trailers

    @property
    def method(self):
        return self.line.split(b" ")[0]

    @property
    def target(self):
        return self.line.split(b" ")[1]

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name):
        values = self.all(name)
        return values[0] if values else None


class Reader:
    def __init__(self, connection):
        self.connection, self.bytes = connection, b""

    def line(self):
        while b"\r\n" not in self.bytes:
            self.more()
        line, self.bytes = self.bytes.split(b"\r\n", 1)
        return line

    def exactly(self, length):
        while len(self.bytes) < length:
            self.more()
        taken, self.bytes = self.bytes[:length], self.bytes[length:]
        return taken

    def more(self):
        got = self.connection.recv(65536)
        if not got:
            raise EOFError
        self.bytes += got


def read_fields(reader):
    fields = []
    while (line := reader.line()):
        name, _, value = line.partition(b":")
        fields.append((name, value.strip()))
    return fields


def read_chunks(reader):
    body = b""
    while True:
        size = int(reader.line().split(b";")[0], 16)
        if size == 0:
            return body, read_fields(reader)
        body += reader.exactly(size)
        assert reader.exactly(2) == b"\r\n"


class Origin:
    def __init__(self):
        self.seen, self.connections = [], 0
        self.lock = threading.Lock()
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=[connection], daemon=True).start()

    def serve(self, connection):
        reader = Reader(connection)
        try:
            while self.one(reader, connection):
                pass
        except (EOFError, OSError):
            pass
        finally:
            connection.close()

    def one(self, reader, connection):
        line = reader.line()
        fields = read_fields(reader)
        lowered = {name.lower(): value for name, value in fields}
        if lowered.get(b"expect", b"").lower() == b"100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        early = b"x-early" in lowered
        body, trailers = b"", []
        if not early and lowered.get(b"transfer-encoding", b"").lower() == b"chunked":
            body, trailers = read_chunks(reader)
        elif not early and b"content-length" in lowered:
            body = reader.exactly(int(lowered[b"content-length"]))
        with self.lock:
            self.seen.append(Seen(line, fields, body, trailers))
        if b"x-answer" in lowered:
            connection.sendall(bytes.fromhex(lowered[b"x-answer"].decode()))
        else:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        then = lowered.get(b"x-then")
        if then == b"reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if then == b"hang":
            reader.more()
        return then is None

    def take(self):
        """What it has seen since the last call."""
        with self.lock:
            seen, self.seen = self.seen, []
        return seen

    def close(self):
        self.socket.close()
