"""WebSockets through the gateway: both ways, large and small, ended by either side, and not cut by
changes of the configuration."""

import os
import signal
import socket
import threading
import time

import pytest

from harness import clients
from harness.origins import Origin, answer_of, get, lasting, receive_all, receive_until
from harness.http2 import Connection, StreamSocket
from harness.websocket import CLOSE, PING, PONG, Closed, WebSocket
from reload_test import reload
from tls_test import identity

PORT = 8080
both_accounts = pytest.mark.both_accounts


def chat(programs, instances=1, listen="", service="", more=""):
    return f"""
        service chat {{
            run node {programs.path("websocket.js")}; env WHO=$instance NODE_PATH=/usr/share/nodejs;
            port 8100; instances {instances}; {service}
        }}
        listen {PORT} http {{ {listen} route / -> chat; }}
        {more}"""


@both_accounts
def test_messages_both_ways(cluster, programs):
    cluster.up(chat(programs))
    cluster.wait_up(1)
    with WebSocket(PORT) as one, WebSocket(PORT, path="/a/b?c") as two:
        assert one.ask("hello") == "hello"
        assert two.ask("who").split()[0] == "1"
        assert one.ask(b"\0\xff") == b"\0\xff"
        for size in (125, 126, 65535, 65536, 8 << 20):
            message = os.urandom(1024) * (size // 1024 + 1)
            assert one.ask(message[:size]) == message[:size], size
        one.send(b"still there?", PING)
        assert one.frame() == (PONG, b"still there?")
        one.send(b"\x03\xe8", CLOSE)
        assert one.frame()[0] == CLOSE
        assert one.socket.recv(1) == b""
        assert two.ask("and you?") == "and you?"
    # What is no WebSocket is answered, and the connection goes on.
    with socket.create_connection(("127.0.0.1", PORT), 5) as plain:
        for _ in range(2):
            plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert answer_of(plain).status == 426
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      b"Sec-WebSocket-Version: 99\r\nSec-WebSocket-Key: x\r\n\r\n")
        assert answer_of(plain).status == 400


def test_many_messages_at_once(cluster, programs):
    """Sent without waiting for the answers, in pieces that fit no frame."""
    cluster.up(chat(programs))
    cluster.wait_up(1)
    with WebSocket(PORT) as socket_:
        threading.Thread(target=lambda: [socket_.send(f"{i} " + "x" * (i % 3000)) for i in range(3000)],
                         daemon=True).start()
        for number in range(3000):
            assert socket_.receive() == f"{number} " + "x" * (number % 3000)


def upgraded(connection):
    """Takes whatever protocol is offered; then says back in one piece what came until the end."""
    receive_until(connection, b"\r\n\r\n")
    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
    data, how = receive_all(connection)
    connection.sendall(how.encode() + b":" + data)


UPGRADE = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n"


@both_accounts
def test_half_an_end(cluster):
    """A client that has said all still hears; and what it says right behind its request is passed on."""
    with Origin(upgraded) as origin:
        cluster.up(f"service echo {{ at {origin.text}; }} listen {PORT} http -> echo;")
        cluster.wait(lambda: not clients.refused(PORT), 10, "the gateway")
        for size in (1, 1000, 3_000_000):
            with socket.create_connection(("127.0.0.1", PORT), 10) as client:
                client.sendall(UPGRADE + b"x" * size)
                assert receive_until(client, b"\r\n\r\n").startswith(b"HTTP/1.1 101")
                time.sleep(0.05)
                client.shutdown(socket.SHUT_WR)
                data, how = receive_all(client)
                assert (len(data), how) == (size + 4, "end") and data.startswith(b"end:")


@both_accounts
def test_tunnels_without_a_byte_are_cut(cluster, programs):
    cluster.up(chat(programs, listen="timeout tunnel=600ms;"))
    cluster.wait_up(1)
    with WebSocket(PORT) as busy, WebSocket(PORT) as idle:
        with lasting(0.4, 5):
            deadline = time.monotonic() + 1.2
            while time.monotonic() < deadline:
                assert busy.ask("x") == "x"
                time.sleep(0.1)
        idle.socket.settimeout(0.1)
        with pytest.raises((Closed, ConnectionError)):
            idle.receive()
        assert busy.ask("y") == "y"


@both_accounts
def test_the_death_of_an_instance_is_seen_at_once(cluster, programs):
    cluster.up(chat(programs, instances=2))
    cluster.wait_up(2)
    pair = [WebSocket(PORT) for _ in range(8)]
    at = [one.ask("who").split()[0] for one in pair]
    assert set(at) == {"1", "2"}
    os.kill(cluster.pid(1), signal.SIGKILL)
    for one, number in zip(pair, at):
        if number == "1":
            with pytest.raises((Closed, ConnectionError)), lasting(0, 2):
                one.receive()
        else:
            assert one.ask("who").split()[0] == "2"
        one.close()


def test_a_client_that_dies_is_told_to_the_server(cluster):
    ended = []

    def serve(connection):
        receive_until(connection, b"\r\n\r\n")
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n")
        ended.append(receive_all(connection)[1])

    from harness.origins import abort
    with Origin(serve) as origin:
        cluster.up(f"service echo {{ at {origin.text}; }} listen {PORT} http -> echo;")
        cluster.wait(lambda: not clients.refused(PORT), 10, "the gateway")
        for how in ("end", "reset"):
            client = socket.create_connection(("127.0.0.1", PORT), 5)
            client.sendall(UPGRADE)
            receive_until(client, b"\r\n\r\n")
            client.close() if how == "end" else abort(client)
            cluster.wait(lambda: ended, 5, "the server to hear of it")
            assert ended.pop() == how


def test_a_thousand_over_twenty_reloads(cluster, programs):
    cluster.up(chat(programs, instances=2))
    cluster.wait_up(2)
    held = [WebSocket(PORT) for _ in range(1000)]
    homes = [one.ask("who") for one in held]
    for number in range(20):
        routes = f'route /{number} {{ respond 200 "{number}"; }}'
        more = f"listen {9000 + number} http {{ respond 204; }}" if number % 3 else ""
        cluster.configure(chat(programs, instances=2, listen=routes, more=more))
        cluster.command("reload", timeout=60)
        cluster.wait(lambda: get(PORT, f"/{number}").body.strip() == str(number).encode(), 5, "the route")
        for one in held[number::20]:
            assert one.ask(f"{number}") == f"{number}"
    assert [one.ask("who") for one in held] == homes
    for one in held:
        one.close()


# ---- by HTTP/2 (RFC 8441) -----------------------------------------------------------------------

@pytest.mark.parametrize("secure", [False, True])
def test_by_http_2(cluster, programs, secure):
    folder = cluster.folder("tls")
    identity(folder, "ca")
    identity(folder, "shop", "shop.example", issuer="ca")
    listen = f"tls {{ certificate {folder}/shop.crt key={folder}/shop.key;" if secure else "{"
    cluster.up(chat(programs).replace("http { ", f"http {listen} "))
    cluster.wait_up(1)
    with Connection(PORT, secure) as connection:
        assert connection.settings[8] == 1  # SETTINGS_ENABLE_CONNECT_PROTOCOL
        one, two = StreamSocket(connection), StreamSocket(connection, "/a/b?c")
        assert "sec-websocket-accept" not in one.socket.fields
        assert one.ask("hello") == "hello"
        assert two.ask("who").split()[0] == "1"
        for size in (125, 126, 65535, 65536, 4 << 20):
            message = os.urandom(1024) * (size // 1024 + 1)
            assert one.ask(message[:size]) == message[:size], size
        one.send(b"\x03\xe8", CLOSE)
        assert one.frame()[0] == CLOSE
        assert one.socket.recv(1) == b"" and one.socket.error in (None, 0)
        assert two.ask("and you?") == "and you?"
        assert connection.open("/", protocol="connect-udp").status == 501


def test_by_http_2_what_is_not_there(cluster, programs):
    cluster.up(chat(programs, listen="route /no/ { respond 200 no; }"))
    cluster.wait_up(1)
    with Connection(PORT) as connection:
        assert connection.open("/no/").status == 501
        os.kill(cluster.pid(1), signal.SIGKILL)
        chatting = StreamSocket(connection)  # it waits until the instance is back
        assert chatting.ask("hello") == "hello"


def test_by_http_2_an_instance_that_dies_ends_its_own(cluster, programs):
    cluster.up(chat(programs, instances=2))
    cluster.wait_up(2)
    with Connection(PORT) as connection:
        sockets = [StreamSocket(connection) for _ in range(4)]
        homes = [socket_.ask("who").split()[0] for socket_ in sockets]
        assert set(homes) == {"1", "2"}
        os.kill(cluster.pid(1), signal.SIGKILL)
        for home, socket_ in zip(homes, sockets):
            if home == "1":
                assert socket_.socket.recv(1) == b""
            else:
                assert socket_.ask("still here") == "still here"


def test_by_http_2_a_reload_cuts_none(cluster, programs):
    cluster.up(chat(programs))
    cluster.wait_up(1)
    with Connection(PORT) as connection:
        socket_ = StreamSocket(connection)
        for turn in range(3):
            reload(cluster, chat(programs, listen=f"header response set X-Turn {turn};"))
            assert socket_.ask(f"{turn}") == f"{turn}"


def test_by_http_2_silence_ends_it(cluster, programs):
    cluster.up(chat(programs, service="timeout tunnel=700ms;"))
    cluster.wait_up(1)
    with Connection(PORT) as connection:
        socket_ = StreamSocket(connection)
        for _ in range(4):
            time.sleep(0.4)
            assert socket_.ask("x") == "x"
        begun = time.time()
        assert socket_.socket.recv(1) == b""
        assert 0.5 < time.time() - begun < 5
