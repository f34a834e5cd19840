"""`status --json`: the field names that others rely on; and what a person sees."""

import os
import re
import signal

import pytest

from harness import clients

CLUSTER = {"cluster", "generation", "version", "services"}
SERVICE = {"name", "path", "why", "home", "ports", "listeners", "wanted", "instances"}
INSTANCE = {"id", "state", "address", "pid", "since", "restarts", "connections",
            "connections_total", "cpu_percent", "memory_bytes", "exit"}
STATES = {"idle", "starting", "up", "draining", "stopping", "backoff", "failed", "gone"}


@pytest.mark.both_accounts
def test_fields(cluster, programs, account):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}
        listen 8080 tcp -> web;""")
    cluster.wait_up(2)
    with clients.Held(8080, 6) as held:
        held.spread()
        status = cluster.status()
        assert set(status) >= CLUSTER
        assert status["cluster"] == cluster.name
        assert isinstance(status["generation"], int) and status["generation"] >= 1
        assert re.fullmatch(r"\d+\.\d+\.\d+\S*", status["version"])
        service = status["services"][0]
        assert set(service) >= SERVICE
        assert service["name"] == "web" and service["wanted"] == 2
        assert service["path"] == "direct" and service["why"]
        assert re.fullmatch(r"127\.86\.\d+\.\d+", service["home"])
        assert service["ports"] == ["tcp:8000"]
        assert service["listeners"] == ["tcp:8080"]
        addresses = set()
        for instance in service["instances"]:
            assert set(instance) >= INSTANCE
            assert instance["state"] in STATES
            assert re.fullmatch(r"127\.77\.\d+\.\d+", instance["address"])
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", instance["since"])
            assert instance["restarts"] == 0 and instance["exit"] is None
            assert instance["memory_bytes"] > 1 << 20
            assert instance["cpu_percent"] >= 0
            addresses.add(instance["address"])
        assert len(addresses) == 2
        if account.root:
            assert sum(one["connections"] for one in service["instances"]) == 6
            assert sum(one["connections_total"] for one in service["instances"]) >= 6
    if account.root:
        cluster.wait(lambda: all(one["connections"] == 0 for one in cluster.instances().values()),
                     5, "the counters to return to 0")


def test_for_people(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}
        listen 8080 tcp -> web;""")
    cluster.wait_up(2)
    text = cluster.command("status").stdout
    for word in ("web", "8080", "8000", "up", str(cluster.pid(1)), str(cluster.pid(2))):
        assert word in text
    assert "\x1b" not in text, "no colours outside a terminal"


def test_an_exit_is_told(cluster, programs):
    cluster.up(f"""
        service web {{
            run {programs.python("web")}; env WHO=$instance;
            restart always backoff=10ms..50ms;
        }}""")
    pid = cluster.wait_up(1)[1]["pid"]
    os.kill(pid, signal.SIGSEGV)
    instance = cluster.wait_restarted(1, pid)
    assert instance["restarts"] == 1
    assert re.search(r"SIGSEGV|11|Segmentation", instance["exit"])
