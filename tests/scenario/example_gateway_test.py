"""examples/gateway does what its page says."""

import base64
import os
import shutil
import socket
from pathlib import Path

from harness import clients

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "gateway"


class WebSocket:
    def __init__(self, port, path):
        self.socket = socket.create_connection(("127.0.0.1", port), 5)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
        self.bytes = b""
        while b"\r\n\r\n" not in self.bytes:
            self.more()
        head, self.bytes = self.bytes.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 101"), head

    def more(self):
        got = self.socket.recv(4096)
        assert got, "the WebSocket was cut"
        self.bytes += got

    def say(self, text):
        mask, data = os.urandom(4), text.encode()
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))
        self.socket.sendall(bytes([0x81, 0x80 | len(data)]) + mask + masked)

    def hear(self):
        while len(self.bytes) < 2 or len(self.bytes) < 2 + self.bytes[1]:
            self.more()
        length = self.bytes[1]
        text, self.bytes = self.bytes[2:2 + length], self.bytes[2 + length:]
        return text.decode()


def test_the_example(cluster):
    folder = cluster.folder("example")
    for file in EXAMPLE.iterdir():
        shutil.copy(file, folder)
    cluster.start("up", folder / "enginx.conf")
    cluster.wait_up(2, "site", within=20)
    cluster.wait_up(1, "next", within=20)
    cluster.wait_up(2, "chat", within=20)

    versions = {clients.ask(8080, path="/version").split(",")[0] for _ in range(80)}
    assert versions == {"version 1", "version 2"}
    assert clients.ask(8080, path="/about") == "An example of enginx."
    assert "enginx_" in clients.ask(9100, path="/metrics")

    socket_ = WebSocket(8080, "/chat/")
    assert socket_.hear().startswith("you are with instance ")
    socket_.say("hello")
    assert socket_.hear() == "hello"
    text = (folder / "enginx.conf").read_text()
    (folder / "enginx.conf").write_text(text.replace("An example of enginx.", "Another text."))
    cluster.command("reload", folder / "enginx.conf")
    assert clients.ask(8080, path="/about") == "Another text."
    socket_.say("still here")
    assert socket_.hear() == "still here"
