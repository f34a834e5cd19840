"""Servers that a test plays itself, and raw clients: for what no decent program does."""

import contextlib
import http.client
import socket
import struct
import threading
import time


def abort(connection):
    """Closes with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def receive_until(connection, mark, limit=1 << 20):
    """What comes up to and with the mark, or less when the other side ends first."""
    data = b""
    while mark not in data and len(data) < limit:
        piece = connection.recv(65536)
        if not piece:
            break
        data += piece
    return data


def receive_all(connection):
    """What comes until the end, and how that was: "end" or "reset"."""
    data = bytearray()
    try:
        while piece := connection.recv(1 << 16):
            data += piece
    except ConnectionResetError:
        return bytes(data), "reset"
    return bytes(data), "end"


def request_read(connection):
    """A whole request: its head and its body (chunks as they came). The head is b"" at the end."""
    head, _, body = receive_until(connection, b"\r\n\r\n").partition(b"\r\n\r\n")
    fields = {name.strip().lower(): value.strip() for name, _, value in
              (line.partition(b":") for line in head.split(b"\r\n")[1:])}
    length = int(fields.get(b"content-length", b"0"))
    chunked = b"transfer-encoding" in fields
    while len(body) < length or (chunked and not body.endswith(b"0\r\n\r\n")):
        piece = connection.recv(1 << 16)
        if not piece:
            raise ConnectionError("cut request")
        body += piece
    return head, body


class Origin:
    """A server in threads of the test: `serve(connection)` for each connection, closed after it.
    `text` is what `at` wants."""

    def __init__(self, serve, address="127.0.0.1", backlog=1024):
        family = (socket.AF_UNIX if address.startswith("/") else
                  socket.AF_INET6 if ":" in address else socket.AF_INET)
        self.serve, self.connections = serve, 0
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(address if family == socket.AF_UNIX else (address, 0))
        self.socket.listen(backlog)
        if family == socket.AF_UNIX:
            self.port, self.text = None, f"unix:{address}"
        else:
            self.port = self.socket.getsockname()[1]
            self.text = f"[{address}]:{self.port}" if ":" in address else f"{address}:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.one, args=[connection], daemon=True).start()

    def one(self, connection):
        with contextlib.suppress(OSError), connection:
            self.serve(connection)

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def answer_of(connection):
    """The next response on it, read to its end; http.client raises where it is cut."""
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.body = answer.read()
    return answer


def get(port, path="/", method="GET", body=None, timeout=10, host="127.0.0.1", **fields):
    """One request over a connection of its own: the response, with its `body` read."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=fields)
        answer = connection.getresponse()
        answer.body = answer.read()
        return answer
    finally:
        connection.close()


def resident(pid):
    """Bytes of memory that a process has for itself."""
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) << 10
    raise AssertionError(f"process {pid} is gone")


@contextlib.contextmanager
def lasting(least, most):
    """What is in it takes so many seconds; generous at the top, since machines are slow at times."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert least <= took <= most, f"it took {took:.2f} s"
