"""TCP through the gateway: what either side does is what the other sees — bytes, ends, resets — and
endpoints of all kinds: instances, names, IPv6, sockets of the file system, dead ones."""

import hashlib
import os
import signal
import socket
import threading
import time

import pytest

from harness import clients
from harness.clients import Load
from harness.origins import Origin, abort, lasting, receive_all, receive_until

PORT = 8080
both_accounts = pytest.mark.both_accounts


def connect(port=PORT, host="127.0.0.1", source=None):
    return socket.create_connection((host, port), 15, (source, 0) if source else None)


def relay(cluster, endpoints, service="", listen=f"{PORT} tcp -> far"):
    cluster.up(f"""
        service far {{ {" ".join(f"at {endpoint};" for endpoint in endpoints)} {service} }}
        listen {listen}{"" if listen.endswith("}") else ";"}""")
    cluster.wait(lambda: cluster.status() and not clients.refused(PORT), 10, "the gateway to listen")


def upper(connection):
    """What came until the end, in capitals; then how the end was."""
    data, how = receive_all(connection)
    connection.sendall(data.upper() + how.encode())


def ask(host="127.0.0.1", port=PORT):
    with connect(port, host) as client:
        client.sendall(b"hello ")
        client.shutdown(socket.SHUT_WR)
        return receive_all(client)


# ---- ends ----


@both_accounts
def test_half_an_end(cluster):
    """Who has said all still hears, whichever side that is."""
    def first(connection):  # ends its side, and then hears
        connection.sendall(b"all")
        connection.shutdown(socket.SHUT_WR)
        heard.append(receive_all(connection))

    heard = []
    with Origin(upper) as origin, Origin(first) as ending:
        relay(cluster, [origin.text], listen=f"""{PORT} tcp -> far;
            service ending {{ at {ending.text}; }} listen 8081 tcp -> ending""")
        for size in (0, 1, 70_000, 3_000_000):
            with connect() as client:
                client.sendall(b"x" * size)
                client.shutdown(socket.SHUT_WR)
                assert receive_all(client) == (b"X" * size + b"end", "end"), size
        with connect(8081) as client:
            assert receive_all(client) == (b"all", "end")
            client.sendall(b"and I?")
            client.shutdown(socket.SHUT_WR)
            cluster.wait(lambda: heard == [(b"and I?", "end")], 5, "the rest")


def test_half_an_end_with_a_real_program(cluster):
    cluster.up(f"""
        service capitals {{
            run socat -t 5 TCP-LISTEN:9100,fork,reuseaddr "EXEC:tr a-z A-Z"; port 9100;
        }}
        listen {PORT} tcp -> capitals path=relay;""")
    cluster.wait_up(1)
    assert ask() == (b"HELLO ", "end")


@both_accounts
def test_resets_are_passed_on(cluster):
    hows = []

    def serve(connection):
        said = connection.recv(5)
        if said == b"reset":
            abort(connection)
        elif said:
            hows.append(receive_all(connection)[1])

    with Origin(serve) as origin:
        relay(cluster, [origin.text])
        with connect() as client:
            client.sendall(b"reset")
            assert receive_all(client)[1] == "reset"
        client = connect()
        client.sendall(b"other")
        time.sleep(0.1)
        abort(client)
        cluster.wait(lambda: hows, 5, "the endpoint to hear of it")
        assert hows == ["reset"]


# ---- bytes ----


@both_accounts
def test_bulk_both_ways_at_once(cluster):
    total, block = 64 << 20, os.urandom(1 << 20)

    def echo(connection):
        while piece := connection.recv(1 << 18):
            connection.sendall(piece)

    def push(client):
        for _ in range(total >> 20):
            client.sendall(block)
        client.shutdown(socket.SHUT_WR)

    with Origin(echo) as origin:
        relay(cluster, [origin.text])
        with connect() as client:
            pushing = threading.Thread(target=push, args=[client])
            pushing.start()
            seen, length = hashlib.sha256(), 0
            while piece := client.recv(1 << 18):
                seen.update(piece)
                length += len(piece)
            pushing.join()
        assert length == total
        assert seen.digest() == hashlib.sha256(block * (total >> 20)).digest()


@both_accounts
def test_many_short_connections(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}
        listen {PORT} tcp -> web path=relay;""")
    cluster.wait_up(2)
    with Load(PORT, workers=8) as load:
        load.wait_more(1500, within=30)
    assert load.refused == 0 and not load.failed, load.failed[:3]
    assert set(load.answers) == {"1", "2"}
    assert abs(load.answers["1"] - load.answers["2"]) < load.done / 4


# ---- time ----


@both_accounts
def test_silent_connections_are_closed(cluster):
    def silent(connection):
        hows.append(receive_all(connection))

    hows = []
    with Origin(silent) as origin:
        relay(cluster, [origin.text], listen=f"{PORT} tcp -> far idle=500ms")
        with connect() as idle, connect() as busy:
            with lasting(0.3, 5):
                for _ in range(9):
                    busy.sendall(b".")
                    time.sleep(0.1)
                assert receive_all(idle)[0] == b""
            busy.sendall(b"!")
            time.sleep(0.1)
        cluster.wait(lambda: (b".........!", "end") in hows, 5, "the busy one to end")


def test_an_endpoint_that_takes_no_connections(cluster):
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = [socket.socket() for _ in range(4)]
    for client in waiting:
        client.setblocking(False)
        client.connect_ex(full.getsockname())
    with Origin(upper) as origin:
        far = f"127.0.0.1:{full.getsockname()[1]}"
        relay(cluster, [far], service="timeout connect=300ms; retry tries=1; hold within=300ms;",
              listen=f"""{PORT} tcp -> far;
                  service both {{ at {far}; at {origin.text}; timeout connect=300ms; }}
                  listen 8081 tcp -> both""")
        with connect() as client, lasting(0.2, 5):
            client.sendall(b"hello")
            assert receive_all(client)[0] == b""
        for _ in range(4):
            with lasting(0, 3):
                assert ask(port=8081) == (b"HELLO end", "end")
    for client in waiting + [full]:
        client.close()


# ---- endpoints ----


def free_port():
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return place.getsockname()[1]


@both_accounts
def test_an_endpoint_that_refuses_is_passed_over(cluster):
    with Origin(upper) as origin:
        relay(cluster, [f"127.0.0.1:{free_port()}", origin.text])
        for _ in range(20):
            assert ask() == (b"HELLO end", "end")


@both_accounts
def test_the_only_instance_restarts(cluster, programs):
    """Who comes meanwhile waits; only who was being served notices."""
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance START_DELAY=0.3; }}
        listen {PORT} tcp -> web path=relay;""")
    cluster.wait_up(1)
    workers, kills = 4, 3
    with Load(PORT, workers=workers) as load:
        for _ in range(kills):
            load.wait_more(20)
            pid = cluster.pid(1)
            os.kill(pid, signal.SIGKILL)
            cluster.wait_restarted(1, pid)
        load.wait_more(20)
    assert load.refused == 0
    assert len(load.failed) <= workers * kills, load.failed
    assert load.slowest > 0.25, "nobody waited for the restart"


@both_accounts
def test_sockets_of_the_file_system(cluster):
    path = cluster.folder("sockets") / "far"
    with Origin(upper, str(path)) as origin:
        path.chmod(0o777)
        relay(cluster, [origin.text])
        assert ask() == (b"HELLO end", "end")
        cluster.down()
        # And HTTP.
    def answer(connection):
        receive_until(connection, b"\r\n\r\n")
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsocket")

    path = cluster.folder("sockets") / "web"
    with Origin(answer, str(path)) as origin:
        path.chmod(0o777)
        relay(cluster, [origin.text], listen=f"{PORT} http -> far")
        assert clients.ask(PORT) == "socket"


@both_accounts
def test_names(cluster):
    with Origin(upper) as origin:
        relay(cluster, [f"localhost:{origin.port}"])
        assert ask() == (b"HELLO end", "end")


@both_accounts
def test_ipv6(cluster):
    with Origin(upper, "::1") as origin:
        relay(cluster, [origin.text], listen=f"{PORT} tcp -> far; listen [::1]:8081 tcp -> far")
        assert ask() == (b"HELLO end", "end")
        assert ask("::1") == (b"HELLO end", "end")
        assert ask("::1", 8081) == (b"HELLO end", "end")
        assert clients.refused(8081)


# ---- limits ----


@both_accounts
def test_limits_of_connections(cluster):
    def echo(connection):
        while piece := connection.recv(100):
            connection.sendall(piece)

    def alive(client):
        try:
            client.sendall(b"x")
            return client.recv(1) == b"x"
        except OSError:
            return False

    with Origin(echo) as origin:
        relay(cluster, [origin.text], listen=f"{PORT} tcp -> far {{ bounds connections=6 per-client=3; }}")
        cluster.wait(lambda: origin.connections, 5, "the first")
        mine, others = [], []
        for held, sources, wanted in ((mine, ["127.0.1.1"] * 5, [True] * 3 + [False] * 2),
                                      (others, [f"127.0.1.{2 + i}" for i in range(5)], [True] * 3 + [False] * 2)):
            for source, served in zip(sources, wanted):
                held.append(connect(source=source))
                assert alive(held[-1]) == served
        for client in mine + others:
            client.close()
        cluster.wait(lambda: alive(connect(source="127.0.1.1")), 5, "room again")


@both_accounts
def test_a_socket_of_the_file_system_whose_queue_is_full(cluster):
    """Then the other endpoint serves."""
    path = cluster.folder("sockets") / "full"
    full = socket.socket(socket.AF_UNIX)
    full.bind(str(path))
    full.listen(0)
    path.chmod(0o777)
    waiting = []
    with pytest.raises(BlockingIOError):
        for _ in range(8):
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].setblocking(False)
            waiting[-1].connect(str(path))

    def answer(connection):
        receive_until(connection, b"\r\n\r\n")
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother")

    with Origin(upper) as origin, Origin(answer) as web:
        relay(cluster, [f"unix:{path}", origin.text], listen=f"""{PORT} tcp -> far;
            service web {{ at unix:{path}; at {web.text}; }} listen 8081 http -> web""")
        for _ in range(8):
            assert ask() == (b"HELLO end", "end")
            assert clients.ask(8081) == "other"
    for one in waiting + [full]:
        one.close()
