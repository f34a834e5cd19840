"""`drain SERVICE.N`: no new connections, those that are open stay; `--undo` brings it back."""

import os
import signal

import pytest

from harness import clients


@pytest.mark.both_accounts
def test_drain_and_back(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 3; }}""")
    cluster.wait_up(3)
    with clients.Held(8000, 30) as held:
        before = held.spread()
        assert len(before) == 3
        cluster.command("drain", "web.2")
        cluster.wait_state("draining", number=2)
        assert set(clients.who_answers(8000, 40)) == {"1", "3"}
        assert held.spread() == before
        cluster.command("drain", "web.2", "--undo")
        cluster.wait_up(3)
        assert set(clients.who_answers(8000, 60)) == {"1", "2", "3"}
        assert held.spread() == before


def test_nobody_is_refused_meanwhile(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}""")
    cluster.wait_up(2)
    with clients.Load(8000, 4) as load:
        for number in ("1", "2") * 3:
            cluster.command("drain", f"web.{number}")
            load.wait_more(20)
            cluster.command("drain", f"web.{number}", "--undo")
            load.wait_more(20)
    assert load.refused == 0 and not load.failed


def test_unknown_names(cluster, programs):
    cluster.up(f"service web {{ run {programs.python('web')}; env WHO=$instance; }}")
    cluster.wait_up(1)
    for name in ("wed.1", "web.9", "web.x", ".1"):
        done = cluster.command("drain", name, check=False)
        assert done.returncode in (1, 2) and done.stderr, name


def held(cluster):
    return [(one["state"], one["held"]) for one in cluster.instances().values()]


def again(cluster, before, number):
    """Another process of it is there, and is drained as the one before was."""
    cluster.wait(lambda: cluster.pid(number) not in (None, before) and cluster.instances()[number]["state"] == "draining",
                 20, "its next start")
    return cluster.pid(number)


@pytest.mark.both_accounts
def test_it_stays_drained_whatever_ends_it(cluster, programs):
    text = f"service web {{ run {programs.python('web')}; env WHO=$instance; instances 2; stop SIGTERM drain=200ms; %s }}"
    cluster.up(text % "")
    cluster.wait_up(2)
    cluster.command("drain", "web.2")
    pid = cluster.pid(2)
    os.kill(pid, signal.SIGKILL)
    pid = again(cluster, pid, 2)
    assert set(clients.who_answers(8000, 20)) == {"1"}
    cluster.command("restart", "web", timeout=30)
    pid = again(cluster, pid, 2)
    cluster.configure(text % "env VERSION=2;")
    cluster.command("reload", "--wait", timeout=60)
    pid = again(cluster, pid, 2)
    cluster.wait(lambda: held(cluster) == [("up", False), ("draining", True)], 10, "the states")
    # It dies while no supervisor lives.
    cluster.kill_supervisor()
    os.kill(pid, signal.SIGKILL)
    cluster.up(None)
    cluster.wait(lambda: cluster.status(), 10, "an answer")
    pid = again(cluster, pid, 2)
    assert set(clients.who_answers(8000, 20)) == {"1"}
    cluster.command("drain", "web.2", "--undo")
    cluster.wait_up(2)
    assert cluster.pid(2) == pid and set(clients.who_answers(8000, 60)) == {"1", "2"}


def test_an_only_instance_stays_drained(cluster, programs):
    cluster.up(f"service web {{ run {programs.python('web')}; env WHO=$instance; }}")
    cluster.wait_up(1)
    cluster.command("drain", "web.1")
    pid = cluster.pid(1)
    os.kill(pid, signal.SIGKILL)
    again(cluster, pid, 1)
    with pytest.raises(OSError):
        clients.who_answers(8000, 1)
    cluster.command("drain", "web.1", "--undo")
    cluster.wait_up(1)
    assert set(clients.who_answers(8000, 1)) == {"1"}
