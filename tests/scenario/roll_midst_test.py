"""What happens in the midst of a roll: it is scaled, drained, reloaded, taken down, its supervisor is
killed. It ends well, and never with two programs."""

import os
import signal
import subprocess
import time

import pytest

from harness import clients
from harness.traffic import Traffic
from roll_test import pids, rollout, service

PAUSE = "roll surge=1 pause={pause};"


def begin(cluster, text, *states):
    """The file says this from now on, and its roll has come to one of the states."""
    cluster.configure(text)
    cluster.command("reload", timeout=30)
    wait_step(cluster, *states)


def wait_step(cluster, *states):
    def there():
        told = rollout(cluster)
        assert told and told["step"] in states, told
        return True
    cluster.wait(there, 20, f"the roll to be {states}")


def wait_state(cluster, *states, within=40):
    def there():
        assert rollout(cluster)["state"] in states, rollout(cluster)
        return True
    cluster.wait(there, within, f"the roll to be {' or '.join(states)}")


def kill(cluster):
    os.kill(cluster.supervisor(), signal.SIGKILL)
    cluster.process.wait(5)


def answers(times=16):
    return set(clients.who_answers(8080, times))


def test_scaled_up_and_down(cluster, programs):
    more = PAUSE.format(pause="700ms")
    cluster.up(service(programs, 3, "http", more))
    cluster.wait_up(3, "web")
    with Traffic(8080) as traffic:
        traffic.wait_each()
        begin(cluster, service(programs, 3, "http", more, version="two"), "pausing")
        cluster.command("scale", "web=5", timeout=40)
        wait_state(cluster, "done")
        assert len(cluster.wait_up(5, "web")) == 5 and answers() == {"two"}
        begin(cluster, service(programs, 5, "http", more, version="three"), "pausing")
        cluster.command("scale", "web=2", timeout=40)
        wait_state(cluster, "done")
        assert set(cluster.wait_up(2, "web")) == {1, 2} and answers() == {"three"}
        traffic.wait_each()
    assert not traffic.failed, traffic.failed[:5]


def test_scaled_down_while_the_first_starts(cluster, programs):
    """What was an instance is one too many then, and becomes the added one."""
    more = "roll surge=1; check exec /bin/sh -c 'sleep 1' every=5s timeout=5s;"
    cluster.up(service(programs, 4, "http", more))
    cluster.wait_up(4, "web", within=20)
    begin(cluster, service(programs, 4, "http", more, version="two"), "surging")
    cluster.command("scale", "web=2", timeout=60)
    wait_state(cluster, "done")
    assert set(cluster.wait_up(2, "web")) == {1, 2} and answers() == {"two"}


def test_drained_by_hand(cluster, programs):
    more = PAUSE.format(pause="500ms")
    cluster.up(service(programs, 3, "http", more))
    cluster.wait_up(3, "web")
    cluster.command("drain", "web.3")
    begin(cluster, service(programs, 3, "http", more, version="two"), "pausing")
    wait_state(cluster, "done")
    cluster.wait(lambda: {number: one["state"] for number, one in cluster.instances("web").items()}
                 == {1: "up", 2: "up", 3: "draining"}, 10, "it to be started anew, and drained still")
    assert answers() == {"two"}
    cluster.command("drain", "web.3", "--undo")
    cluster.wait_up(3, "web")


def test_another_reload(cluster, programs):
    """To a third program; and back to the first, which what is left of it may stay for."""
    more = PAUSE.format(pause="1s")
    cluster.up(service(programs, 3, "http", more))
    cluster.wait_up(3, "web")
    with Traffic(8080) as traffic:
        traffic.wait_each()
        begin(cluster, service(programs, 3, "http", more, version="two"), "pausing")
        cluster.configure(service(programs, 3, "http", more, version="three"))
        cluster.command("reload", "--wait", timeout=60)
        assert set(cluster.wait_up(3, "web")) == {1, 2, 3} and answers() == {"three"}
        stay = pids(cluster)
        begin(cluster, service(programs, 3, "http", more, version="four"), "pausing")
        cluster.configure(service(programs, 3, "http", more, version="three"))
        cluster.command("reload", "--wait", timeout=60)
        assert answers() == {"three"} and len(set(pids(cluster).values()) & set(stay.values())) >= 2
        # A third that fails leads to the first, not to the second, which nobody knows to be good.
        begin(cluster, service(programs, 3, "http", more, version="five"), "pausing")
        cluster.configure(service(programs, 3, "http", more, version="six", behave="exits"))
        done = cluster.command("reload", "--wait", check=False, timeout=60)
        assert done.returncode == 1 and "rolled back" in done.stderr
        cluster.wait_up(3, "web")
        assert answers() == {"three"}
        traffic.wait_each()
    assert not traffic.failed, traffic.failed[:5]


def test_the_cluster_goes_down(cluster, programs):
    more = PAUSE.format(pause="10s")
    cluster.up(service(programs, 2, "http", more))
    cluster.wait_up(2, "web")
    waiting = subprocess.Popen(cluster.arguments("roll", "web"), stderr=subprocess.PIPE, text=True,
                               cwd=cluster.directory, env=cluster.environment)
    wait_step(cluster, "pausing")
    assert cluster.command("roll", "web", check=False).returncode == 1  # one at a time
    assert "being rolled" in cluster.command("restart", "web", check=False).stderr
    cluster.down()
    assert waiting.wait(10) == 1
    assert "0 of 2 replaced, pausing" in waiting.stderr.read()


@pytest.mark.both_accounts
@pytest.mark.parametrize("step", ["surging", "pausing", "replacing", "trimming"])
def test_the_supervisor_dies(cluster, programs, account, step):
    """The next one finishes it. Connections kept alive hold an instance that is drained or trimmed."""
    if step != "replacing" and not account.root:
        pytest.skip("the way that sockets are steered matters while instances are drained")
    more = PAUSE.format(pause="500ms" if step == "pausing" else "0ms")
    if step == "surging":
        more += " check exec /bin/sh -c 'sleep 0.5' every=5s timeout=5s;"
    path = "direct" if step in ("replacing", "trimming") else "http"
    cluster.up(service(programs, 2, path, more))
    cluster.wait_up(2, "web", within=20)
    with Traffic(8080) as traffic:
        traffic.wait_each()
        begin(cluster, service(programs, 2, path, more, version="two"), step)
        kill(cluster)
        traffic.wait_each()
        cluster.up()
        wait_state(cluster, "done")
        assert set(cluster.wait_up(2, "web")) == {1, 2}
        traffic.wait_each()
    assert not traffic.failed, traffic.failed[:5]
    assert answers() == {"two"}


def test_the_supervisor_dies_on_the_way_back(cluster, programs):
    more = "roll surge=1;"
    cluster.up(service(programs, 2, "http", more))
    cluster.wait_up(2, "web")
    bad = service(programs, 2, "http", more + " check exec /bin/sh -c 'test ! -e bad' every=200ms fall=1;",
                  version="two")
    with Traffic(8080, downloads=0, websockets=0) as traffic:
        traffic.wait_each()
        begin(cluster, bad.replace("surge=1", "surge=1 watch=30s"), "watching")
        assert answers() == {"two"}
        cluster.file("bad", "")
        wait_state(cluster, "rolling back", "rolled back")  # a busy machine may look too late
        kill(cluster)
        cluster.up()
        wait_state(cluster, "rolled back")
        cluster.wait_up(2, "web")
        assert answers() == {"one"}


@pytest.mark.both_accounts
@pytest.mark.parametrize("path", ["http", "direct"])
def test_a_canary_gets_its_share(cluster, programs, account, path):
    if path == "http" and not account.root:
        pytest.skip("the gateway does the same for both")
    cluster.up(service(programs, 2, path, "roll surge=1;"))
    cluster.wait_up(2, "web")
    rolling = subprocess.Popen(cluster.arguments("roll", "web", "canary=10%", "step=1500ms"),
                               stderr=subprocess.PIPE, text=True, cwd=cluster.directory,
                               env=cluster.environment, **account.options())
    wait_step(cluster, "canary")
    fresh = str(cluster.pid(3, "web"))
    asked = []
    while rollout(cluster)["share_percent"] == 10 and len(asked) < 200:
        asked += [clients.ask(8080).split()[1] for _ in range(20)]
    assert len(asked) >= 40
    assert 0.01 <= asked.count(fresh) / len(asked) <= 0.21  # a third without it; by chance, without BPF
    assert rolling.wait(40) == 0
    progress = rolling.stderr.read()
    assert "canary 10%" in progress and "canary 20%" in progress and "canary 80%" in progress
    assert len(cluster.wait_up(2, "web")) == 2


def test_one_that_sleeps_is_woken_and_does_not_sleep_in_the_midst(cluster, programs):
    more = "roll watch=3s;"
    cluster.up(service(programs, "0..1 idle=1s", "http", more))
    cluster.wait(lambda: clients.answer(8080) or None, 10, "an answer")
    cluster.wait_state("idle", "web", within=15)
    before = cluster.instances("web")[1]["revision"]
    rolling = subprocess.Popen(cluster.arguments("roll", "web"), cwd=cluster.directory, env=cluster.environment)
    wait_step(cluster, "watching")
    cluster.wait_up(1, "web")
    assert rolling.wait(30) == 0
    assert cluster.instances("web")[1]["revision"] == before + 1
    cluster.wait_state("idle", "web", within=15)


def test_what_is_asked_wrongly(cluster, programs):
    cluster.up(service(programs, 1, "http"))
    cluster.wait_up(1, "web")
    for words, code, said in ((["nobody"], 1, "no such service"), (["web", "canary=5%"], 1, "surge=1"),
                              (["web", "surge=x"], 2, "surge=x"), (["web", "speed=2"], 2, "no option"),
                              (["web", "step=1s"], 2, "canary"), ([], 2, "usage")):
        done = cluster.command("roll", *words, check=False)
        assert done.returncode == code and said in done.stderr, (words, done)
    done = cluster.command("check", cluster.configure(
        service(programs, 1, "http", "roll surge=0 unavailable=0;"), "bad.conf"), check=False)
    assert done.returncode == 2 and "nothing can be replaced" in done.stderr
    before = time.monotonic()
    done = cluster.command("roll", "web", "within=1ms", check=False)
    assert done.returncode == 1 and "not over within" in done.stderr and time.monotonic() - before < 10
    cluster.wait_up(1, "web")
