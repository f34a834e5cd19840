"""kill -9 of the only instance, 300 ms before it is there again: requests wait, nobody is refused."""

import os
import signal

import pytest

from harness import clients

KILLS = 4  # the first start after a good run is immediate, the others wait 300 ms less jitter
WORKERS = 4


@pytest.mark.both_accounts
@pytest.mark.parametrize("program", ["python", "node", "go", "redis"])
def test_requests_wait(cluster, programs, program):
    command, port = {
        "python": (programs.python("web"), 8000),
        "node": (f"node {programs.path('web.js')}", 3000),
        "go": (programs.built("web_go"), 8082),
        "redis": ('redis-server --save "" --protected-mode no', 6379),
    }[program]
    cluster.up(f"""
        service web {{
            run {command}; env WHO=$instance;
            restart always backoff=300ms..300ms reset=1h;
        }}""")
    cluster.wait_up(1)
    with (Pings if program == "redis" else clients.Load)(port, WORKERS) as load:
        load.wait_more(20)
        for _ in range(KILLS):
            pid = cluster.pid(1)
            os.kill(pid, signal.SIGKILL)
            cluster.wait_restarted(1, pid)
            load.wait_more(20)
    assert load.refused == 0
    assert len(load.failed) <= KILLS * WORKERS, load.failed
    assert load.slowest >= 0.2, "the death was not noticed at all"


class Pings(clients.Load):
    """The same with redis's PING; its answer has no head to take apart."""

    REQUEST = b"PING\r\nQUIT\r\n"

    def check(self, data):
        if data != b"+PONG\r\n+OK\r\n":
            raise ConnectionError(f"cut answer: {data!r}")
        return "redis"
