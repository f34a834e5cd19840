"""`enginx roll`: all instances are replaced by new ones, and no client notices — on each path, with
clients of every kind. ROLLS=100 makes it the long version."""

import os
import time

import pytest

from harness.traffic import Traffic

ROLLS = int(os.environ.get("ROLLS", "1"))
LISTEN = {
    "direct": "listen 8080 tcp -> web;",
    "relay": "listen 8080 tcp -> web path=relay;",
    "http": "listen 8080 http { route / -> web; }",
}


# Through the gateway nothing is asked of a program: it may be killed, once it is drained.
STOP = {"http": "stop SIGKILL drain=20s;"}


def service(programs, instances, path="direct", more="", behave="", version="one"):
    return f"""
        service web {{
            run node {programs.path("rolled.js")}; port 3000; instances {instances};
            env WHO={version} SECONDS=0.5 NODE_PATH=/usr/share/nodejs BEHAVE={behave};
            {STOP.get(path, "stop SIGTERM drain=300ms within=20s;")} {more}
        }}
        {LISTEN[path]}"""


def pids(cluster):
    return {number: instance["pid"] for number, instance in cluster.instances("web").items()}


def rollout(cluster):
    return cluster.service("web")["rollout"]


def path_of(cluster, path, account):
    service = cluster.service("web")
    assert service["path"] == path
    assert path != "direct" or service["mechanism"] == ("bpf" if account.root else "seccomp")


def roll_many(cluster, programs, path, account, instances, surge, record_property):
    cluster.up(service(programs, instances, path, f"roll surge={surge};"))
    cluster.wait_up(instances, "web", within=20)
    path_of(cluster, path, account)
    with Traffic(8080) as traffic:
        traffic.wait_each()
        for _ in range(ROLLS):
            before = pids(cluster)
            cluster.command("roll", "web", timeout=120)
            after = pids(cluster)
            assert set(after) == set(before) and not set(after.values()) & set(before.values())
            assert rollout(cluster)["state"] == "done"
        traffic.wait_each()
    told = f"{ROLLS} rolls, {instances} instances, {path}: {traffic.told()}, slowest {traffic.slowest:.2f} s"
    print(told)
    record_property("rolls", told)
    assert not traffic.failed, (len(traffic.failed), traffic.failed[:5])


@pytest.mark.both_accounts
@pytest.mark.parametrize("path", LISTEN)
def test_four_instances(cluster, programs, account, path, record_property):
    if path != "direct" and not account.root:
        pytest.skip("the gateway does the same for both")
    roll_many(cluster, programs, path, account, 4, 1, record_property)


@pytest.mark.both_accounts
@pytest.mark.parametrize("path", LISTEN)
@pytest.mark.parametrize("surge", [0, 1])
def test_one_instance(cluster, programs, account, path, surge, record_property):
    if path != "direct" and not account.root:
        pytest.skip("the gateway does the same for both")
    roll_many(cluster, programs, path, account, 1, surge, record_property)
