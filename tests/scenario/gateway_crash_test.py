"""kill -9 of the gateway under HTTP: it is back at once, nobody is refused, only what was in flight
fails."""

import os
import signal
import socket
import threading
import time

import pytest

from harness import clients, processes
from harness.clients import Load
from harness.origins import Origin, answer_of, receive_all, receive_until

PORT = 8080
both_accounts = pytest.mark.both_accounts


def gateway_pid(cluster):
    return cluster.status()["gateway_pid"]


def kill(cluster, pid):
    """Kills it; how long it takes until a connection made after that is answered."""
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    assert clients.who(PORT, timeout=10) in {"1", "2", "3"}
    return time.monotonic() - began


@both_accounts
def test_killed_under_load(cluster, programs, record_property):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 3; }}
        listen {PORT} http {{ route / -> web; }}""")
    cluster.wait_up(3)
    workers, times = 4, []
    with Load(PORT, workers=workers) as load:
        for _ in range(5):
            load.wait_more(30)
            pid = gateway_pid(cluster)
            times.append(kill(cluster, pid))
            cluster.wait(lambda: gateway_pid(cluster) not in (0, pid), 5, "another gateway")
        load.wait_more(30)
    figures = " ".join(f"{1000 * one:.0f}" for one in sorted(times))
    print(f"back within (ms): {figures}")
    record_property("back_ms", figures)
    assert load.refused == 0
    assert len(load.failed) <= workers * len(times), load.failed[-3:]
    assert max(times) < 1, figures
    assert len(cluster.instances()) == 3 and all(
        instance["restarts"] == 0 for instance in cluster.instances().values())


@both_accounts
def test_what_is_in_flight_fails_and_is_not_repeated(cluster):
    """The endpoint hears of each request once: nobody but its client may try it again."""
    seen = []

    def slow(connection):
        seen.append(receive_until(connection, b"\r\n\r\n").split(b" ")[1])
        time.sleep(1)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n1 ok")

    with Origin(slow) as origin:
        cluster.up(f"service slow {{ at {origin.text}; }} listen {PORT} http {{ route / -> slow; }}")
        cluster.wait(lambda: cluster.status() and not clients.refused(PORT), 10, "the gateway")
        with socket.create_connection(("127.0.0.1", PORT), 10) as caught:
            caught.sendall(b"POST /caught HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            cluster.wait(lambda: seen == [b"/caught"], 5, "the request")
            os.kill(gateway_pid(cluster), signal.SIGKILL)
            assert receive_all(caught)[0] == b""
        with socket.create_connection(("127.0.0.1", PORT), 10) as late:
            late.sendall(b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n")
            assert answer_of(late).status == 200
        assert seen == [b"/caught", b"/late"]


@both_accounts
def test_who_waits_in_the_queue_is_served(cluster, programs):
    """Connected while no gateway was there, many at once."""
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 3; }}
        listen {PORT} http {{ route / -> web; }}""")
    cluster.wait_up(3)
    pid = gateway_pid(cluster)
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.1)  # its threads stop one by one
    waiting = [socket.create_connection(("127.0.0.1", PORT), 10) for _ in range(500)]
    for connection in waiting:
        connection.sendall(b"GET /whoami HTTP/1.1\r\nHost: x\r\n\r\n")
    os.kill(pid, signal.SIGKILL)
    assert [answer_of(connection).status for connection in waiting] == [200] * 500
    for connection in waiting:
        connection.close()


def test_adopted_twice_with_another_keeper_between(cluster, programs):
    """A supervisor that has adopted the gateway gives it to each later keeper."""
    def another_supervisor():
        os.kill(cluster.supervisor(), signal.SIGKILL)
        cluster.process.wait(5)
        cluster.up()
        cluster.wait(cluster.status, 10, "the new supervisor")

    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; }}
        listen {PORT} http {{ route / -> web; }}""")
    cluster.wait_up(1)
    pid, keeper = gateway_pid(cluster), cluster.status()["keeper_pid"]
    another_supervisor()
    os.kill(keeper, signal.SIGKILL)
    cluster.wait(lambda: cluster.status()["keeper_pid"] not in (0, None, keeper), 10, "another keeper")
    with clients.Held(PORT, 3) as held:
        assert sum(held.spread().values()) == 3
        another_supervisor()
        assert gateway_pid(cluster) == pid
        assert sum(held.spread().values()) == 3


@both_accounts
def test_keeper_and_supervisor_are_killed_together(cluster, programs):
    """Nobody can speak to the gateway any more. It serves until the next supervisor is there, which ends it and has
    its ports."""
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 3; }}
        service echo {{ run {programs.built("echo_udp")}; env WHO=$instance; }}
        listen {PORT} http {{ route / -> web; }}
        listen 4500 udp -> echo port=4001 path=relay;""")
    cluster.wait_up(3, "web")
    held = socket.create_connection(("127.0.0.1", PORT), 10)  # by a gateway that will drain: it has bound sockets, too
    held.sendall(b"GET / HTTP/1.1\r\n")
    cluster.command("upgrade", timeout=60)
    assert cluster.status()["gateways_draining"]
    for _ in range(5):
        status = cluster.status()
        os.kill(status["pid"], signal.SIGSTOP)  # it shall not start another keeper
        os.kill(status["keeper_pid"], signal.SIGKILL)
        os.kill(status["pid"], signal.SIGKILL)
        cluster.process.wait()
        assert clients.who(PORT) in {"1", "2", "3"}
        cluster.up()
        cluster.wait_up(3, "web")
        assert clients.who(PORT) in {"1", "2", "3"}
        assert clients.ask_udp(4500) == "1"
        after = cluster.status()
        assert after["gateway_pid"] != status["gateway_pid"]
        gateways = [pid for pid in cluster.enginx_processes() if "--role gateway" in processes.command_line(pid)]
        openers = [pid for pid in gateways if processes.parent(pid) in gateways]
        assert set(gateways) - set(openers) == {after["gateway_pid"]}
    held.close()
