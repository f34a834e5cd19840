"""Services whose number of instances is a range: up with the load and down again; asleep when nobody
comes, and awake when somebody does."""

import os
import signal
import threading
import time

import pytest

from harness import clients
from harness.clients import Load

both_accounts = pytest.mark.both_accounts
PORT = 8080


def scale(cluster, name=None):
    return cluster.service(name)["scale"]


class Burn:
    """Keeps the service's processors busy: a request that does nothing but compute."""

    def __init__(self, port, workers):
        self.port, self.over = port, threading.Event()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(workers)]

    def run(self):
        while not self.over.is_set():
            clients.answer(self.port, path="/burn?0.05")

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()


def test_it_follows_the_load(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; quota cpu=20%;
                       instances 1..3 cpu=10% cool-down=3s; }}
        listen {PORT} tcp -> web;""")
    cluster.wait_up(1)
    with Burn(PORT, 4), Load(PORT, 1) as load:
        cluster.wait_up(3, within=40)
        assert "cpu" in scale(cluster)["why"]
    assert load.refused == 0 and not load.failed, load.failed[:3]
    with clients.Held(PORT, 6) as held:  # what is open goes on while instances leave
        assert sum(held.spread().values()) == 6
        cluster.wait(lambda: cluster.service()["wanted"] == 1, 40, "the others to leave")
    cluster.wait_up(1)
    lines = cluster.command("logs", "-n", "200", "enginx").stdout
    assert "service-scaled" in lines and "from=1 to=2" in lines, lines


def test_it_follows_connections(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance;
                       instances 1..4 connections=5 cool-down=2s; }}
        listen {PORT} tcp -> web;""")
    cluster.wait_up(1)
    with clients.Held(PORT, 12) as held:
        cluster.wait_up(3, within=20)
        assert sum(held.spread().values()) == 12  # nobody was moved
    cluster.wait_up(1, within=30)


SLEEPER = """
    service web {{ run {run}; env WHO=$instance; instances 0..2 connections=50 idle={idle} cool-down=1s; {more} }}
    {listen}"""
PATHS = {"direct": "listen 8080 tcp -> web;", "http": "listen 8080 http { route / -> web; }"}


@both_accounts
@pytest.mark.parametrize("path", PATHS)
def test_it_sleeps_and_a_connection_wakes_it(cluster, programs, path, record_property):
    cluster.up(SLEEPER.format(run=programs.python("web"), idle="1500ms", more="", listen=PATHS[path]))
    cluster.wait_up(1)
    assert clients.who(PORT) == "1"
    own = cluster.instances()[1]["since"]
    for _ in range(2):
        cluster.wait(lambda: scale(cluster)["asleep"] and cluster.instances()[1]["state"] == "idle", 15,
                     "it to sleep")
        assert cluster.instances()[1]["pid"] is None
        began = time.monotonic()
        assert clients.who(PORT, timeout=10) == "1"
        waited = time.monotonic() - began
        assert not scale(cluster)["asleep"]
        up = cluster.wait_up(1)[1]
        assert up["restarts"] == 0 and up["since"] >= own
    print(f"woken in {1000 * waited:.0f} ms")
    record_property("woken_ms", f"{1000 * waited:.0f}")


@both_accounts
def test_who_comes_while_it_falls_asleep_is_served(cluster, programs):
    """Again and again at the moment when it has just decided to."""
    cluster.up(SLEEPER.format(run=programs.python("web"), idle="100ms", more="", listen=PATHS["direct"]))
    cluster.wait_up(1)
    answers = []
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        answers.append(clients.who(PORT, timeout=10))
        time.sleep(0.8 + 0.13 * (len(answers) % 5))
    assert set(answers) == {"1"}
    lines = cluster.command("logs", "-n", "400", "enginx").stdout
    assert lines.count("service-sleeps") >= 2, lines


def test_what_is_open_keeps_it_awake(cluster, programs):
    cluster.up(SLEEPER.format(run=programs.python("web"), idle="1s", more="", listen=PATHS["direct"]))
    cluster.wait_up(1)
    with clients.Held(PORT, 1) as held:
        assert sum(held.spread().values()) == 1
        time.sleep(2.5)  # the point is that time goes by
        assert not scale(cluster)["asleep"]
    cluster.wait(lambda: scale(cluster)["asleep"], 10, "it to sleep")


@both_accounts
@pytest.mark.parametrize("path", ["direct", "relay"])
def test_what_no_connection_could_wake_stays_awake(cluster, programs, path):
    """A program with UDP sockets alone is not ended and started again each time it is idle."""
    listen = {"direct": "", "relay": "listen 9000 udp -> echo path=relay;"}[path]
    cluster.up(f"""
        service echo {{ run {programs.python("echo_udp")}; env WHO=$instance; instances 0..1 idle=200ms; }}
        {listen}""")
    first = cluster.wait_up(1)[1]
    cluster.wait_output("service-does-not-sleep")
    time.sleep(2.5)  # the point is that time goes by: it is looked at each second
    now = cluster.instances()[1]
    assert (now["pid"], now["state"]) == (first["pid"], "up")
    assert clients.ask_udp(9000 if listen else 4000).split()[0] == "1"
    assert cluster.output.count("service-does-not-sleep") == 1


@both_accounts
def test_commands_and_crashes_meet_a_sleeper(cluster, programs):
    text = SLEEPER.format(run=programs.python("web"), idle="1s", more="", listen=PATHS["direct"])
    cluster.up(text)
    cluster.wait_up(1)
    asleep = lambda: cluster.status() and scale(cluster)["asleep"]  # noqa
    cluster.wait(asleep, 15, "it to sleep")
    cluster.command("scale", "web=2")
    cluster.wait_up(2)
    cluster.wait(asleep, 20, "it to sleep")
    cluster.command("restart", "web")
    cluster.wait_up(1)
    cluster.wait(asleep, 15, "it to sleep")
    # A new supervisor may wake it; nobody is refused meanwhile.
    os.kill(cluster.supervisor(), signal.SIGKILL)
    cluster.process.wait()
    cluster.process = None
    with Load(PORT, 1) as load:
        cluster.up(text)
        cluster.wait_up(1)
        load.wait_more(5)
    assert load.refused == 0 and not load.failed, load.failed[:3]
    cluster.wait(asleep, 15, "it to sleep")
    cluster.configure(text.replace("0..2", "1..2").replace(" idle=1s", ""))
    cluster.command("reload")
    cluster.wait_up(1)
