"""A client that sends the bytes it is given and reads what comes back without repairing anything."""

import socket


class Answer:
    def __init__(self, status, reason, fields, body, trailers=(), framing=None):
        self.status, self.reason, self.fields, self.body = status, reason, fields, body
        self.trailers, self.framing = list(trailers), framing

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def get(self, name):
        values = self.all(name)
        return values[0] if values else None


class Client:
    """A connection to the gateway."""

    def __init__(self, port=8080, timeout=6):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.bytes = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it may answer and close before all is sent

    def more(self):
        got = self.socket.recv(65536)
        self.bytes += got
        return bool(got)

    def line(self):
        while b"\r\n" not in self.bytes:
            if not self.more():
                raise EOFError(f"ended after {self.bytes!r}")
        line, self.bytes = self.bytes.split(b"\r\n", 1)
        return line

    def exactly(self, length):
        while len(self.bytes) < length:
            if not self.more():
                raise EOFError(f"ended {length - len(self.bytes)} bytes early")
        taken, self.bytes = self.bytes[:length], self.bytes[length:]
        return taken

    def fields(self):
        fields = []
        while (line := self.line()):
            name, colon, value = line.partition(b":")
            assert colon and name and not name.endswith(b" "), line
            fields.append((name, value.strip()))
        return fields

    def chunks(self):
        body = b""
        while True:
            size = int(self.line(), 16)
            if size == 0:
                return body, self.fields()
            body += self.exactly(size)
            assert self.exactly(2) == b"\r\n"

    def until_end(self):
        try:
            while self.more():
                pass
        except ConnectionResetError:
            pass
        taken, self.bytes = self.bytes, b""
        return taken

    def answer(self, head=False, interim=False):
        """The next final response (`interim`: the next of any kind). EOFError: it was cut."""
        while True:
            line = self.line()
            version, status, reason = (line.split(b" ", 2) + [b""])[:3]
            assert version == b"HTTP/1.1", line
            fields = self.fields()
            status = int(status)
            if status >= 200 or status == 101 or interim:
                break
        lowered = {name.lower(): value for name, value in fields}
        assert not (b"transfer-encoding" in lowered and b"content-length" in lowered), fields
        if head or status < 200 or status in (204, 304):
            return Answer(status, reason, fields, b"", framing="none")
        if b"transfer-encoding" in lowered:
            body, trailers = self.chunks()
            return Answer(status, reason, fields, body, trailers, "chunked")
        if b"content-length" in lowered:
            return Answer(status, reason, fields, self.exactly(int(lowered[b"content-length"])),
                          framing="length")
        return Answer(status, reason, fields, self.until_end(), framing="close")

    def closed(self):
        """True when the other side has closed, with nothing more to be read."""
        try:
            return not self.more() and not self.bytes
        except ConnectionResetError:
            return not self.bytes
        except TimeoutError:
            return False


def ask(data, port=8080, **options):
    with Client(port) as client:
        client.send(data)
        return client.answer(**options)


def request(method=b"GET", target=b"/", *fields, body=b"", host=b"origin.example", version=b"HTTP/1.1"):
    lines = [b"%s %s %s" % (method, target, version)]
    if host is not None:
        lines.append(b"Host: " + host)
    lines += [field if isinstance(field, bytes) else field.encode() for field in fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def answering(raw, then=None):
    """Fields that make the origin answer with these bytes."""
    fields = [b"X-Answer: " + raw.hex().encode()]
    if then:
        fields.append(b"X-Then: " + then)
    return fields
