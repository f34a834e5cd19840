"""A new program that is not good enough is taken back: what ran before runs on, nobody notices, and
whoever asked is told why."""

import os
import signal
import time

import pytest

from harness import clients
from harness.traffic import Traffic
from roll_test import pids, rollout, service

CHECK = "check http /healthz every=100ms timeout=2s fall=2;"
# How the new program behaves: what is said of it.
BAD = {
    "exits": r"web\.\d: exited with status 3",
    "silent": r"waited 2\.0s for",
    "ill": r"waited 2\.0s for its check to pass",
}


def reload(cluster, text, check=False):
    cluster.configure(text)
    return cluster.command("reload", "--wait", check=check, timeout=60)


@pytest.mark.both_accounts
@pytest.mark.parametrize("instances,surge", [(3, 1), (3, 0), (1, 1), (1, 0)])
def test_one_that_exits(cluster, programs, account, instances, surge):
    more = f"roll surge={surge}; restart always backoff=100ms..1s;"
    cluster.up(service(programs, instances, "http", more))
    cluster.wait_up(instances, "web")
    before = pids(cluster)
    with Traffic(8080) as traffic:
        traffic.wait_each()
        done = reload(cluster, service(programs, instances, "http", more, behave="exits", version="two"))
        traffic.wait_each()
    assert done.returncode == 1 and "rolled back" in done.stderr and "exited with status 3" in done.stderr, done
    assert not traffic.failed, traffic.failed[:5]
    assert set(traffic.answers) == {"one"}
    told = rollout(cluster)
    assert told["state"] == "rolled back" and "exited with status 3" in told["why"] and told["replaced"] == 0
    if surge:
        assert pids(cluster) == before
    cluster.wait_up(instances, "web")
    assert "roll-ended" in cluster.output and "rolled back" in cluster.command("status").stdout


@pytest.mark.parametrize("behave", ["silent", "ill"])
def test_one_that_does_not_come_up(cluster, programs, behave):
    more = f"{CHECK} start within=2s;"
    cluster.up(service(programs, 2, "http", more))
    cluster.wait_up(2, "web")
    before = pids(cluster)
    with Traffic(8080) as traffic:
        traffic.wait_each()
        done = reload(cluster, service(programs, 2, "http", more, behave=behave, version="two"))
        traffic.wait_each()
    assert done.returncode == 1 and "waited 2.0s for" in done.stderr, done.stderr
    assert not traffic.failed and set(traffic.answers) == {"one"}
    assert pids(cluster) == before


@pytest.mark.parametrize("pause", ["0ms", "20s"])
def test_errors_while_it_is_watched(cluster, programs, pause):
    """Clients see some of them, and only until the others are back; with a pause, of one alone."""
    more = f"roll watch=20s errors=5% pause={pause};"
    cluster.up(service(programs, 2, "http", more))
    cluster.wait_up(2, "web")
    before = pids(cluster)
    with Traffic(8080, downloads=0, websockets=0) as traffic:
        traffic.wait_each()
        done = reload(cluster, service(programs, 2, "http", more, behave="errs", version="two"))
        seen = len(traffic.failed)
        traffic.wait_each()
        time.sleep(0.5)
    assert done.returncode == 1 and "went wrong" in done.stderr, done.stderr
    assert seen == len(traffic.failed) and all("500" in error for _, _, error in traffic.failed)
    assert set(traffic.answers) == {"one"}
    cluster.wait_up(2, "web")
    assert pause == "0ms" or pids(cluster) == before


def test_what_was_rolled_back_stays_so(cluster, programs):
    """A crash, an instance more, and another reload of the same file start what ran before."""
    more = "roll surge=1;"
    cluster.up(service(programs, 2, "http", more))
    cluster.wait_up(2, "web")
    bad = service(programs, 2, "http", more, behave="exits", version="two")
    assert reload(cluster, bad).returncode == 1
    cluster.command("restart", "web.1")
    cluster.command("scale", "web=3")
    cluster.wait_up(3, "web")
    assert set(clients.who_answers(8080, 12)) == {"one"}
    assert reload(cluster, bad, check=True).returncode == 0
    assert rollout(cluster)["state"] == "rolled back"
    # A new supervisor, whose file says the other program, knows it too.
    os.kill(cluster.supervisor(), signal.SIGKILL)
    cluster.process.wait(5)
    cluster.up()
    cluster.wait_up(3, "web")
    assert rollout(cluster)["state"] == "rolled back"
    pid = cluster.pid(2, "web")
    os.kill(pid, signal.SIGKILL)
    cluster.wait_restarted(2, pid, "web")
    assert set(clients.who_answers(8080, 12)) == {"one"}
    before = pids(cluster)
    # The file as it was: nothing needs to be replaced.
    assert reload(cluster, service(programs, 3, "http", more), check=True).returncode == 0
    assert pids(cluster) == before and rollout(cluster)["state"] == "done"
    # And one that is right is rolled to.
    assert reload(cluster, service(programs, 3, "http", more, version="three"), check=True).returncode == 0
    assert set(clients.who_answers(8080, 12)) == {"three"}
    assert not set(pids(cluster).values()) & set(before.values())


def test_a_check_that_changed_with_the_program_is_not_asked_of_the_old_one(cluster, programs):
    old = "check http /healthz every=100ms timeout=2s fall=1;"
    new = "check http /no-such-page every=100ms timeout=2s fall=1 status=204; start within=2s;"
    cluster.up(service(programs, 2, "http", old))
    cluster.wait_up(2, "web")
    with Traffic(8080) as traffic:
        traffic.wait_each()
        done = reload(cluster, service(programs, 2, "http", new, version="two"))
        traffic.wait_each()
    assert done.returncode == 1 and "its check to pass" in done.stderr
    assert not traffic.failed and set(traffic.answers) == {"one"}
    assert all(instance["healthy"] for instance in cluster.instances("web").values())
