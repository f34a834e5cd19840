"""Routes change under requests, and nobody notices but by what they answer."""

import http.client
import socket
import threading
import time

import pytest

from harness import clients
from reload_test import Load, both_accounts, pids, reload, web


def who(port, path="/whoami"):
    return clients.ask(port, path=path).split()[0]


@both_accounts
def test_routes_change(cluster, programs):
    services = web(programs, "a", 8401) + web(programs, "b", 8402)
    cluster.up(services + "listen 8080 http { route / -> a; }")
    cluster.wait_up(1, "a")
    cluster.wait_up(1, "b")
    assert who(8080) == "a1"
    with Load(8080) as load:
        for turn in range(6):
            to = "ab"[turn % 2]
            reload(cluster, services + f"listen 8080 http {{ route / -> {to}; }}")
            cluster.wait(lambda: who(8080) == f"{to}1")
        time.sleep(0.2)
    assert load.done > 50 and not load.failed, load.failed[:3]
    assert cluster.service("b")["path"] == "http"


def test_between_direct_relay_and_http(cluster, programs):
    """At another port and at the program's own, with BPF: no connection is lost."""
    ways = ["tcp -> web path=relay;", "http -> web;", "tcp -> web;", "http -> web;",
            "tcp -> web path=relay;", "tcp -> web;"]
    for port in (8080, 8000):
        service = web(programs, more="instances 2;")
        cluster.up(service + f"listen {port} {ways[-1]}")
        before = cluster.wait_up(2)
        with Load(port) as load:
            for way in ways:
                reload(cluster, service + f"listen {port} {way}")
                time.sleep(0.2)
        assert load.done > 50 and not load.failed, load.failed[:3]
        assert pids(cluster) == {number: instance["pid"] for number, instance in before.items()}
        cluster.down()


@both_accounts
def test_a_kept_connection_outlives_a_reload(cluster, programs):
    services = web(programs, "a", 8401) + web(programs, "b", 8402)
    cluster.up(services + "listen 8080 http { route / -> a; }")
    cluster.wait_up(1, "a")
    cluster.wait_up(1, "b")
    connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=5)

    def ask():
        connection.request("GET", "/whoami")
        return connection.getresponse().read().decode().split()[0]

    assert ask() == "a1"
    kept = connection.sock
    reload(cluster, services + "listen 8080 http { route / -> b; }")
    time.sleep(0.2)
    assert ask() == "b1" and connection.sock is kept


@both_accounts
def test_a_request_waits_for_the_first_instance(cluster, programs):
    cluster.up(web(programs, more="env START_DELAY=1;") + "listen 8080 http -> web;")
    cluster.wait(lambda: cluster.status() is not None)
    assert who(8080) == "web1"  # it was held


@both_accounts
def test_a_crash_of_the_only_instance(cluster, programs):
    import os
    import signal
    cluster.up(web(programs) + "listen 8080 http -> web;")
    cluster.wait_up(1)
    with Load(8080, threads=2) as load:
        for _ in range(3):
            time.sleep(0.3)
            pid = pids(cluster)[1]
            os.kill(pid, signal.SIGKILL)
            cluster.wait_restarted(1, pid, within=10)
        time.sleep(0.3)
    assert load.done > 20 and not load.failed, load.failed[:3]


@both_accounts
def test_status_tells_rates(cluster, programs):
    cluster.up(web(programs) + "listen 8080 http -> web;")
    cluster.wait_up(1)
    who(8080)
    cluster.status()
    with Load(8080, threads=1) as load:
        time.sleep(1.3)
    service = cluster.service()
    assert service["requests_total"] >= load.done
    assert service["requests_per_second"] > 1
    assert 0 < service["latency_ms"]["p50"] <= service["latency_ms"]["p99"]
    assert service["instances"][0]["requests_total"] >= load.done
