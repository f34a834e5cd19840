"""`restart`: the programs are new ones afterwards; with several instances nobody notices."""

import subprocess
import time

import pytest

from harness import clients


def pids(cluster, name=None):
    return {number: instance["pid"] for number, instance in cluster.instances(name).items()}


@pytest.mark.both_accounts
def test_one_instance(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 3; }}""")
    cluster.wait_up(3)
    before = pids(cluster)
    with clients.Load(8000, 4) as load:
        load.wait_more(20)
        cluster.command("restart", "web.2")
        cluster.wait_restarted(2, before[2])
        load.wait_more(20)
    after = pids(cluster)
    assert (after[1], after[3]) == (before[1], before[3])
    assert load.refused == 0 and not load.failed


def test_a_service(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 3; }}
        service other {{ run node {programs.path("web.js")}; }}""")
    cluster.wait_up(3, "web")
    cluster.wait_up(1, "other")
    web, other = pids(cluster, "web"), pids(cluster, "other")
    with clients.Load(8000, 4) as load:
        load.wait_more(20)
        cluster.command("restart", "web")
        for number, pid in web.items():
            cluster.wait_restarted(number, pid, "web")
        cluster.wait_up(3, "web")
        load.wait_more(20)
    assert load.refused == 0
    assert pids(cluster, "other") == other


@pytest.mark.both_accounts
def test_a_connection_that_never_ends_is_waited_for_no_longer_than_stated(cluster, programs):
    cluster.up(f"""
        service web {{
            run {programs.python("web")}; env WHO=$instance; instances 2;
            stop SIGTERM drain=1s;
        }}""")
    cluster.wait_up(2)
    with clients.Held(8000, 16) as held:
        owners = {connection: held.ask(connection) for connection in held.connections}
        assert set(owners.values()) == {"1", "2"}
        started = time.monotonic()
        cluster.command("restart", "web.1")
        assert 1 <= time.monotonic() - started < 6
        for connection, owner in owners.items():  # those of the other were left alone
            assert owner == "1" or held.ask(connection) == "2"


def test_an_only_instance(cluster, programs):
    """Who connects while it drains and is away waits; what it has begun it ends."""
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; }}
        listen 8080 tcp -> web;""")
    cluster.wait_up(1)
    load = clients.Load(8080, 8)
    load.REQUEST = b"GET /sleep?0.1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"  # some are always open
    with load:
        for _ in range(4):
            pid = cluster.pid(1)
            load.wait_more(20)
            started = time.monotonic()
            cluster.command("restart", "web")
            cluster.wait_restarted(1, pid)
            assert time.monotonic() - started < 8  # it was quiet before its time was over
        load.wait_more(20)
    assert load.refused == 0 and not load.failed


def test_an_only_instance_whose_connections_do_not_end(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; stop SIGTERM drain=1s; }}""")
    cluster.wait_up(1)
    with clients.Held(8000, 4) as held:
        assert held.spread() == {"1": 4}
        pid = cluster.pid(1)
        restart = subprocess.Popen(cluster.arguments("restart", "web"))
        cluster.wait_state("draining")
        assert held.spread() == {"1": 4}
        assert clients.who(8000) == "1"  # answered by the next start
        assert cluster.pid(1) != pid
        assert restart.wait(10) == 0
