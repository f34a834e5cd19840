"""examples/chat: what one says, all hear, by whichever HTTP they came."""

import socket
import subprocess

from harness.examples import EXAMPLES, start
from harness.http2 import Connection, StreamSocket
from harness.websocket import WebSocket

PLAIN, SECURE = 8080, 8443


def certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-subj", "/CN=localhost", "-keyout", folder / "chat.key", "-out", folder / "chat.crt"],
                   check=True, capture_output=True)
    (folder / "chat.pem").write_bytes((folder / "chat.key").read_bytes() + (folder / "chat.crt").read_bytes())


def test_all_hear_what_one_says(cluster, monkeypatch, tmp_path):
    copy = tmp_path / "chat"
    subprocess.run(["cp", "-r", EXAMPLES / "chat", copy], check=True)
    certificate(copy)
    monkeypatch.setattr("harness.examples.EXAMPLES", tmp_path)
    start(cluster, "chat")
    cluster.wait_up(1, "chat", within=20)
    with socket.create_connection(("127.0.0.1", PLAIN), 10) as events, WebSocket(PLAIN, path="/chat") as old, \
            Connection(SECURE, secure=True) as connection:
        events.sendall(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        heard = events.recv(65536)
        assert heard.startswith(b"HTTP/1.1 200 ") and b"text/event-stream" in heard
        new = StreamSocket(connection, "/chat")
        assert (old.receive(), new.receive()) == ("hello, http", "hello, https")
        for speaker, text in ((old, "from HTTP/1.1"), (new, "from HTTP/2")):
            speaker.send(text)
            assert (old.receive(), new.receive()) == (text, text)
            while b"data: " + text.encode() not in heard:
                heard += events.recv(65536)
        cluster.command("reload")
        assert old.ask("still here") == "still here" and new.receive() == "still here"
