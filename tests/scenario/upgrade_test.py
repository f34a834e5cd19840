"""Another executable of enginx takes the place of the one that runs: nobody notices; and one that does
not do is given up for the old one.

A hundred WebSockets and UDP sessions, two upgrades; SOCKETS=1000 and UPGRADES=20 make it the long
version."""

import http.client
import os
import shutil
import signal
import socket
import threading
import time

import pytest

from harness import clients, processes
from harness.clients import Load, ask_udp
from harness.websocket import Closed, WebSocket
from udp_relay_test import udp

SOCKETS = int(os.environ.get("SOCKETS", "100"))
UPGRADES = int(os.environ.get("UPGRADES", "2"))
HTTP, RELAY, DIRECT, UDP = 8080, 9000, 8000, 4500
both_accounts = pytest.mark.both_accounts


class KeptAlive:
    """Requests, one after the other, over a connection that ends only where an answer said so. Each
    has a body, so that nobody may repeat it unasked. What went wrong is in `failed`."""

    def __init__(self, port, pause=0.002):
        self.port, self.pause = port, pause
        self.failed, self.done, self.connections, self.over = [], 0, 0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        connection = None
        while not self.over.wait(self.pause):
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                    self.connections += 1
                connection.request("POST", "/whoami", body=b"x")
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200, answer.status
                self.done += 1
                if answer.will_close:
                    connection.close()
                    connection = None
            except Exception as error:  # noqa: whatever it is, it is told
                self.failed.append(repr(error))
                connection = None

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def text(programs):
    return f"""
        service chat {{ run node {programs.path("websocket.js")}; port 8100; instances 2;
                        env WHO=$instance NODE_PATH=/usr/share/nodejs; }}
        service echo {{ run {programs.built("echo_udp")}; env WHO=$instance; instances 3; }}
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}
        listen {UDP} udp -> echo port=4001 path=relay idle=10m;
        listen {RELAY} tcp -> web path=relay;
        listen {HTTP} http {{ route /chat -> chat; route / -> web; }}"""


def up(cluster, programs):
    cluster.up(text(programs))
    for name, instances in (("chat", 2), ("echo", 3), ("web", 2)):
        cluster.wait_up(instances, name)


def upgrade(cluster, *arguments, check=True):
    return cluster.command("upgrade", *arguments, check=check, timeout=60)


def draining(cluster):
    return cluster.status()["gateways_draining"]


@both_accounts
def test_nobody_notices(cluster, programs):
    up(cluster, programs)
    before = cluster.status()
    sockets = [WebSocket(HTTP, path="/chat") for _ in range(SOCKETS)]
    sessions = [udp() for _ in range(SOCKETS)]
    homes = [one.ask("who") for one in sockets]
    places = [ask_udp(UDP, client=one) for one in sessions]
    with Load(HTTP, 2) as load, Load(RELAY, 1) as relayed, Load(DIRECT, 1) as direct, \
            KeptAlive(HTTP) as kept, clients.Held(DIRECT, 5) as held, clients.Held(RELAY, 5) as tunnels:
        load.wait_more(30)
        for number in range(UPGRADES):
            if number >= 2:  # two may drain: those of before must end
                for one in sockets + tunnels.connections:
                    one.close()
                sockets, homes, tunnels.connections = [], [], []
                cluster.wait(lambda: not draining(cluster), 100, "the old gateways to end")
            done = upgrade(cluster)
            assert "upgraded from" in done.stdout, done
            load.wait_more(30)
            assert [one.ask("who") for one in sockets] == homes, "a WebSocket was cut"
            assert [ask_udp(UDP, client=one) for one in sessions] == places, "a session moved"
            assert sum(held.spread().values()) == 5
            assert sum(tunnels.spread().values()) == len(tunnels.connections)
    for name, one in (("http", load), ("relay", relayed), ("direct", direct)):
        assert one.refused == 0 and not one.failed, (name, one.refused, one.failed[:3])
    assert kept.done > 20 and not kept.failed, kept.failed[:3]
    after = cluster.status()
    assert after["pid"] == before["pid"] and after["gateway_pid"] != before["gateway_pid"]
    assert after["upgrade"]["count"] == UPGRADES and after["upgrade"]["outcome"] == "done"
    for name in ("chat", "echo", "web"):
        for number, instance in cluster.instances(name).items():
            assert instance["restarts"] == 0
    print(f"{UPGRADES} upgrades, {load.done + relayed.done + direct.done + kept.done} requests")
    for one in sockets + sessions:
        one.close()


@both_accounts
def test_an_old_gateway_goes_on_until_its_last_connection_ends(cluster, programs):
    up(cluster, programs)
    with WebSocket(HTTP, path="/chat") as chat:
        old = cluster.status()["gateway_pid"]
        upgrade(cluster)
        assert draining(cluster) == [old]
        # What it serves is counted still, beside what the new one does.
        assert sum(one["requests"] for one in cluster.instances("chat").values()) == 1
        # A supervisor that is killed and started again knows of it.
        os.kill(cluster.supervisor(), signal.SIGKILL)
        cluster.process.wait()
        cluster.process = None
        cluster.up()
        cluster.wait(lambda: cluster.status() and draining(cluster) == [old], 5, "the old gateway")
        assert chat.ask("still there") == "still there"
    cluster.wait(lambda: draining(cluster) == [], 10, "the old gateway to end")
    assert not processes.alive(old)
    with WebSocket(HTTP, path="/chat") as chat:
        upgrade(cluster)
        assert len(draining(cluster)) == 1
        cluster.down()  # what is left, the fixture sees
        with pytest.raises((Closed, OSError)):
            chat.ask("nobody")


def wrapper(cluster, binary, otherwise):
    """An executable that passes its trial, and is of no use then."""
    return cluster.file("wrapper", f"""#!/bin/sh
case "$1" in --role) exec {binary} "$@" ;; esac
{otherwise}
""", 0o755)


@pytest.mark.parametrize("otherwise", ["exit 3", "exec {binary} up /nowhere"])
def test_one_that_fails_is_rolled_back(cluster, programs, otherwise):
    up(cluster, programs)
    with WebSocket(HTTP, path="/chat") as chat, Load(HTTP, 2) as load, Load(DIRECT, 1) as direct:
        path = wrapper(cluster, cluster.binary, otherwise.format(binary=cluster.binary))
        done = upgrade(cluster, "--binary", path, check=False)
        assert done.returncode == 1 and "rolled back" in done.stderr, done
        load.wait_more(30)
        assert chat.ask("still there") == "still there"
    assert load.refused == 0 and not load.failed, load.failed[:3]
    assert direct.refused == 0 and not direct.failed, direct.failed[:3]
    status = cluster.status()
    assert status["upgrade"]["outcome"] == "rolled-back" and status["upgrade"]["why"]
    cluster.process = None  # another process than the one that was started
    upgrade(cluster)  # and a good one does
    assert clients.who(HTTP) in "12"


@both_accounts
def test_what_cannot_take_over_is_not_tried(cluster, programs):
    up(cluster, programs)
    before = cluster.status()
    for path, why in (("/bin/true", "no executable of enginx"), ("/nowhere", "no such file"),
                      (cluster.file("text", "words\n"), "")):
        done = upgrade(cluster, "--binary", path, check=False)
        assert done.returncode == 1 and why in done.stderr, done
    cluster.configure(text(programs) + "\nservice { nonsense")
    done = upgrade(cluster, check=False)
    assert done.returncode == 1 and "does not accept the configuration" in done.stderr, done
    after = cluster.status()
    assert (after["pid"], after["gateway_pid"], after["upgrade"]) == (
        before["pid"], before["gateway_pid"], None)


def test_a_file_that_was_replaced_is_used_when_it_is_asked_for(cluster, programs, place):
    """As a package manager does it: the file is another while the old one runs."""
    own = place / f"own-{cluster.name}"
    own.mkdir()
    cluster.binary = shutil.copy2(cluster.binary, own / "enginx")
    cluster.up(text(programs))
    cluster.wait_up(2, "web")
    os.unlink(cluster.binary)
    with open(cluster.binary, "w") as file:
        file.write("#!/bin/sh\nexit 9\n")
    os.chmod(cluster.binary, 0o755)
    pid = cluster.process.pid
    gateway = int(next(line for line in processes.children(pid) if "gateway" in processes.command_line(line)))
    os.kill(gateway, signal.SIGKILL)  # another one is started: of the old executable
    processes.wait_for(lambda: clients.answer(HTTP), 5, "an answer")
    shutil.copy2(f"/proc/{pid}/exe", own / "new")
    os.rename(own / "new", cluster.binary)
    os.kill(pid, signal.SIGUSR2)
    def outcome():
        upgraded = (cluster.status() or {}).get("upgrade")
        return upgraded and upgraded["outcome"]

    cluster.wait(lambda: outcome() == "done", 20, "the upgrade")
    assert os.readlink(f"/proc/{pid}/exe") == str(cluster.binary)
    assert cluster.status()["pid"] == pid and clients.who(HTTP) in "12"
