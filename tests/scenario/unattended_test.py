"""Without privileges a program's bind, listen, connect and getsockname wait for an answer of enginx.
While no supervisor lives, who only talks does not wait."""

import os
import signal
import socket
import time

import pytest

from harness import processes

PATIENCE_S = 1
TEXT = """
    service front {{ run {run}; uses back; }}
    service back {{ run {run}; env PORT=4000; instances 2; }}
    listen 8080 tcp -> front;
    listen 8081 tcp -> back;"""


@pytest.fixture
def account(request):
    from harness import fixtures
    return fixtures.Account("nobody")


def ask(port, line, within=10):
    with socket.create_connection(("127.0.0.1", port), within) as connection:
        connection.sendall(f"{line}\n".encode())
        return connection.makefile().readline().strip()


def orphan(cluster):
    os.kill(cluster.supervisor(), signal.SIGKILL)
    cluster.process.wait()
    cluster.process = None


@pytest.fixture
def orphaned(cluster, programs):
    cluster.up(TEXT.format(run=programs.python("asking")))
    cluster.wait_up(1, "front")
    cluster.wait_up(2, "back")
    assert ask(8080, "name") == "3000"
    orphan(cluster)
    return cluster


def test_who_only_talks_goes_on(orphaned):
    for _ in range(5):
        assert ask(8080, "name") in ("3000", "8080")
        assert ask(8081, "name") in ("4000", "8081")
    # Nobody leads it to the service that it uses; it is told at once, or led where the port is.
    assert ask(8080, "connect 8081").startswith("connected to")
    assert ask(8080, "connect 4000") == "Connection refused"
    orphaned.up()
    orphaned.wait_up(1, "front")
    orphaned.wait_up(2, "back")
    assert ask(8080, "name") == "3000"
    assert ask(8080, "connect 4000") == "connected to 4000"


def test_who_listens_waits_for_the_next(orphaned):
    with socket.create_connection(("127.0.0.1", 8080), 10) as waiting:
        waiting.sendall(b"listen 3100\n")
        assert ask(8080, "name") in ("3000", "8080")  # the others of its threads go on
        waiting.settimeout(1.5)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        waiting.settimeout(10)
        orphaned.up()
        orphaned.wait_up(1, "front")
        assert waiting.makefile().readline() == "listens\n"
    orphaned.wait(lambda: "tcp:3100" in orphaned.service("front")["ports"], what="its second port")
    assert ask(3100, "name") == "3100"


def test_a_restart_within_the_patience_is_answered_by_the_next(orphaned):
    orphaned.up()
    for _ in range(10):
        orphaned.wait_up(1, "front")
        orphaned.wait_up(2, "back")
        since = time.monotonic()
        orphan(orphaned)
        with socket.create_connection(("127.0.0.1", 8080), 10) as waiting:
            waiting.sendall(b"connect 4000\n")
            orphaned.up()
            answer = waiting.makefile().readline()
        if time.monotonic() - since < PATIENCE_S:
            assert answer == "connected to 4000\n"
            return
    pytest.skip("this machine starts nothing within the patience of the keeper")
