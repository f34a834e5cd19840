"""Idle connections to an origin are shared by the gateway's threads: load that moves from one thread
to the other finds them, and nobody suffers when the origin has closed them meanwhile."""

import contextlib
import os
import re
import socket
import threading
import time
from pathlib import Path

import pytest

from harness import clients

PORT, METRICS = 8080, 9100
TOGETHER = 8  # requests at a time
SHARED_SECONDS = 3.2  # a look that finds them, a whole second, and one more for a busy machine


class Origin:
    """Counts the connections that it accepts; answers after so long that requests that come together
    need one each."""

    def __init__(self, address):
        self.accepted, self.open, self.delay = 0, set(), 0.3
        self.listener = socket.create_server((address, 0), backlog=256)
        self.text = "%s:%d" % self.listener.getsockname()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection = self.listener.accept()[0]
            except OSError:
                return
            self.accepted += 1
            self.open.add(connection)
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection, connection.makefile("rb") as words:
            try:
                while words.readline():
                    length = 0
                    while (line := words.readline().strip()):
                        name, _, value = line.partition(b":")
                        length = int(value) if name.lower() == b"content-length" else length
                    words.read(length)
                    time.sleep(self.delay)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            except (OSError, ValueError):
                pass
            self.open.discard(connection)

    def close_idle(self):
        for connection in list(self.open):
            connection.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.listener.close()


@pytest.fixture
def origin(network):
    made = Origin("127.0.0.2")
    yield made
    made.close()


class Client:
    """A kept connection to the gateway."""

    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", PORT), timeout=10)
        self.words = self.socket.makefile("rb")

    def send(self, method):
        body = b"Content-Length: 5\r\n\r\nhello" if method == b"POST" else b"\r\n"
        self.socket.sendall(method + b" / HTTP/1.1\r\nHost: a\r\n" + body)

    def hear(self):
        status, length = int(self.words.readline().split()[1]), 0
        while (line := self.words.readline().strip()):
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        self.words.read(length)
        return status


def burst(group, method=b"GET"):
    """The statuses of requests that come together, one on each."""
    for client in group:
        client.send(method)
    return [client.hear() for client in group]


def workers(pid):
    """The gateway's workers: names, and numbers of their threads."""
    tasks = Path(f"/proc/{pid}/task")
    names = {(task / "comm").read_text().strip(): int(task.name) for task in tasks.iterdir()}
    return {name: thread for name, thread in names.items() if name.startswith("worker-")}


@contextlib.contextmanager
def held_back(thread):
    """It runs on our processor, and only when we do not: what comes meanwhile is another's."""
    mine, its = os.sched_getaffinity(0), os.sched_getaffinity(thread)
    ours = {min(mine & its)}
    os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
    os.sched_setaffinity(thread, ours)
    os.sched_setaffinity(0, ours)
    try:
        yield
    finally:
        os.sched_setaffinity(0, mine)
        os.sched_setaffinity(thread, its)
        os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


def turns(pid):
    """How often each worker was given the processor."""
    return {name: int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[2])
            for name, thread in workers(pid).items()}


def worker_of(client, pid):
    """Which worker serves it: the one that wakes for its requests."""
    before = turns(pid)
    for _ in range(4):
        assert burst([client]) == [200]
    after = turns(pid)
    return max(after, key=lambda name: after[name] - before[name])


def by_worker(pid):
    """So many clients of each worker."""
    threads = workers(pid)
    groups = {name: [] for name in threads}
    assert len(groups) == 2
    for _ in range(20):
        wanted = min(groups, key=lambda name: len(groups[name]))
        other = next(name for name in groups if name != wanted)
        with held_back(threads[other]):
            crowd = [Client() for _ in range(4)]
            for client in crowd:  # they are accepted when they say something
                client.send(b"GET")
            time.sleep(0.01)
        for client in crowd:
            assert client.hear() == 200
            groups[worker_of(client, pid)].append(client)
        if all(len(group) >= TOGETHER for group in groups.values()):
            return [group[:TOGETHER] for group in groups.values()], groups
    raise AssertionError(f"one worker has nearly all: { {n: len(g) for n, g in groups.items()} }")


def counted(cluster):
    """Open connections to the origin, as the metrics page has them."""
    page = clients.ask(METRICS, path="/metrics")
    return sum(int(n) for n in re.findall(r"^enginx_endpoint_connections\{.*\} (\d+)$", page, re.M))


def share(origin):
    time.sleep(SHARED_SECONDS)
    return origin.accepted


def test_load_that_moves_between_threads(cluster, origin):
    cluster.up(f"""
        gateway threads=2;
        metrics 127.0.0.1:{METRICS};
        service back {{ at {origin.text}; retry tries=1; }}
        listen {PORT} http {{ route / -> back; }}""")
    cluster.wait(lambda: clients.answer(PORT, path="/"), 10, "the gateway serves")
    pid = cluster.status()["gateway_pid"]
    origin.delay = 0
    (first, second), groups = by_worker(pid)
    origin.close_idle()  # those of the requests that sorted them
    cluster.wait(lambda: counted(cluster) == len(origin.open) == 0, 5, "a new beginning")
    origin.delay = 0.3

    assert burst(first) == [200] * TOGETHER
    most = share(origin)
    for group in (second, first, second):
        assert burst(group) == [200] * TOGETHER
        # Each worker keeps one for itself; the rest was the other's.
        assert share(origin) <= most + 1
    assert TOGETHER <= len(origin.open) <= TOGETHER + 1
    assert counted(cluster) == len(origin.open)

    # The origin closes what is kept, in the stash too: what may not be sent twice is not lost.
    origin.close_idle()
    assert burst(first, b"POST") == [200] * TOGETHER
    cluster.wait(lambda: counted(cluster) == len(origin.open) == TOGETHER, 5, "the closed are let go")

    # Nor while it closes again and again, under a load that moves on and on.
    origin.delay = 0.02
    until = time.monotonic() + 4
    while time.monotonic() < until:
        for group in (first, second):
            assert burst(group, b"POST") == [200] * TOGETHER
        origin.close_idle()
        assert burst(second, b"POST") == [200] * TOGETHER
    for client in sum(groups.values(), []):
        client.socket.close()
