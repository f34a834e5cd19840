"""A changed file is taken into use, and what did not change does not notice."""

import os
import signal
import socket
import threading
import time

import pytest

from harness import clients

both_accounts = pytest.mark.both_accounts


class Load:
    """Requests without a pause; what went wrong is counted."""

    def __init__(self, port, threads=3):
        self.port, self.failed, self.done, self.over = port, [], 0, False
        self.threads = [threading.Thread(target=self.run) for _ in range(threads)]

    def run(self):
        while not self.over:
            try:
                clients.ask(self.port, timeout=10)
                self.done += 1
            except Exception as error:  # noqa: whatever it is, it is told
                self.failed.append(repr(error))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        for thread in self.threads:
            thread.join()


def web(programs, name="web", port=8000, more=""):
    return (f"service {name} {{ run {programs.python('web')}; env WHO={name}$instance PORT={port};"
            f" port {port}; {more} }}\n")


def pids(cluster, name="web"):
    return {number: instance["pid"] for number, instance in cluster.instances(name).items()}


def reload(cluster, text, *options, **others):
    cluster.configure(text)
    return cluster.command("reload", *options, **others)


@both_accounts
def test_nothing_changed(cluster, programs):
    text = web(programs, more="instances 2;") + "listen 8080 tcp -> web path=relay;"
    cluster.up(text)
    before = cluster.wait_up(2)
    gateway = cluster.status()["gateway_pid"]
    reload(cluster, text + "# a word\n")
    assert cluster.status()["generation"] == 2
    assert cluster.status()["gateway_pid"] == gateway
    assert pids(cluster) == {number: instance["pid"] for number, instance in before.items()}
    assert clients.who(8080) in {"web1", "web2"}


@both_accounts
def test_more_and_fewer_instances(cluster, programs):
    rest = "listen 8080 tcp -> web path=relay;"
    cluster.up(web(programs) + rest)
    cluster.wait_up(1)
    first = pids(cluster)[1]
    reload(cluster, web(programs, more="instances 3;") + rest)
    cluster.wait_up(3)
    assert set(clients.who_answers(8080, 30)) == {"web1", "web2", "web3"}
    reload(cluster, web(programs) + rest)
    cluster.wait_up(1)
    assert pids(cluster) == {1: first}


@both_accounts
def test_an_error_changes_nothing(cluster, programs):
    text = web(programs) + "listen 8080 tcp -> web path=relay;"
    cluster.up(text)
    cluster.wait_up(1)
    before = pids(cluster)
    done = reload(cluster, text + "servise x { }", check=False)
    assert done.returncode != 0 and "servise" in done.stderr and "nothing was changed" in done.stderr
    done = reload(cluster, "cluster other;" + text, check=False)
    assert cluster.status()["generation"] <= 2
    assert pids(cluster) == before and clients.who(8080) == "web1"


@both_accounts
def test_a_taken_port_changes_nothing(cluster, programs):
    text = web(programs) + "listen 8080 tcp -> web path=relay;"
    cluster.up(text)
    cluster.wait_up(1)
    stranger = socket.socket()
    stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    stranger.bind(("0.0.0.0", 8081))
    stranger.listen()
    done = reload(cluster, text + web(programs, "b", 8401) + "listen 8081 tcp -> b path=relay;",
                  check=False)
    assert done.returncode != 0 and "tcp:8081" in done.stderr
    assert cluster.status()["generation"] == 1
    assert [service["name"] for service in cluster.status()["services"]] == ["web"]
    assert clients.who(8080) == "web1"
    stranger.close()
    reload(cluster, text + web(programs, "b", 8401) + "listen 8081 tcp -> b path=relay;")
    cluster.wait_up(1, "b")
    assert clients.who(8081) == "b1" and clients.who(8080) == "web1"


@both_accounts
def test_a_dry_run_tells_and_does_nothing(cluster, programs):
    cluster.up(web(programs) + "listen 8080 tcp -> web path=relay;")
    cluster.wait_up(1)
    done = reload(cluster, web(programs, more="instances 2;") + web(programs, "b", 8401), "--dry-run")
    told = done.stdout + done.stderr
    for line in ("+ service b, 1 instance", "~ service web: 2 instances, were 1",
                 "- listen tcp:8080"):
        assert line in told, told
    assert cluster.status()["generation"] == 1 and clients.who(8080) == "web1"


@both_accounts
def test_services_come_and_go(cluster, programs):
    a = web(programs, "a", 8401, "instances 2;") + "listen 9001 tcp -> a path=relay;"
    b = web(programs, "b", 8402, "instances 2;") + "listen 9002 tcp -> b;"
    c = web(programs, "c", 8403, "instances 2;") + "listen 9003 tcp -> c;"
    cluster.up(a + b)
    cluster.wait_up(2, "a")
    cluster.wait_up(2, "b")
    of_a = pids(cluster, "a")
    reload(cluster, c + a)  # b goes, c comes, and the order is another
    cluster.wait_up(2, "c")
    cluster.wait(lambda: {service["name"] for service in cluster.status()["services"]} == {"a", "c"})
    assert set(clients.who_answers(9003, 20)) == {"c1", "c2"}
    assert set(clients.who_answers(9001, 20)) == {"a1", "a2"}
    cluster.wait(lambda: clients.refused(9002))
    assert pids(cluster, "a") == of_a
    reload(cluster, b + a)
    cluster.wait_up(2, "b")
    assert set(clients.who_answers(9002, 20)) == {"b1", "b2"}
    cluster.wait(lambda: clients.refused(9003))
    # A crash of the supervisor finds everybody in place.
    of_b = pids(cluster, "b")
    cluster.process.kill()
    cluster.process.wait()
    cluster.up(a + b)
    cluster.wait_up(2, "a")
    cluster.wait_up(2, "b")
    assert pids(cluster, "a") == of_a and pids(cluster, "b") == of_b
    assert set(clients.who_answers(9001, 20)) == {"a1", "a2"}
    assert set(clients.who_answers(9002, 20)) == {"b1", "b2"}


@both_accounts
def test_a_program_that_changed_is_restarted_in_turn(cluster, programs):
    rest = "listen 8080 tcp -> web path=relay;"
    other = web(programs, "other", 8401)
    cluster.up(web(programs, more="instances 2;") + other + rest)
    before = cluster.wait_up(2, "web")
    cluster.wait_up(1, "other")
    unchanged = pids(cluster, "other")
    changed = web(programs, more="instances 2; env NEW=1;")
    with Load(8080) as load:
        time.sleep(0.3)
        reload(cluster, changed + other + rest)
        cluster.wait(lambda: set(pids(cluster).values()).isdisjoint(
            {instance["pid"] for instance in before.values()}))
        cluster.wait_up(2, "web")
    assert load.done > 20 and not load.failed, load.failed[:3]
    assert pids(cluster, "other") == unchanged


def test_a_listener_moves_without_a_loss(cluster, programs):
    """With BPF, between direct and the gateway, also at the program's own port."""
    paths = ["path=direct", "path=relay", "path=direct", "path=relay"]
    for port, own in ((8080, 8000), (8000, 8000)):
        service = web(programs, more="instances 2;")
        cluster.up(service + f"listen {port} tcp -> web {paths[0]};")
        before = cluster.wait_up(2)
        with Load(port) as load:
            for path in paths[1:]:
                time.sleep(0.3)
                reload(cluster, service + f"listen {port} tcp -> web {path};")
                expected = path.removeprefix("path=")
                assert cluster.service("web")["path"] == expected
            time.sleep(0.3)
        assert load.done > 50 and not load.failed, load.failed[:3]
        assert pids(cluster) == {number: instance["pid"] for number, instance in before.items()}
        cluster.down()


@both_accounts
def test_the_first_listener_of_a_gateway(cluster, programs):
    service = web(programs, more="instances 2;")
    cluster.up(service)
    cluster.wait_up(2)
    assert cluster.status()["gateway_pid"] == 0
    reload(cluster, service + "listen 8080 tcp -> web path=relay;")
    assert cluster.status()["gateway_pid"] > 0
    assert set(clients.who_answers(8080, 20)) == {"web1", "web2"}
    reload(cluster, service)
    cluster.wait(lambda: clients.refused(8080))
    assert cluster.status()["generation"] == 3


@both_accounts
def test_going_down_after_a_service_is_gone(cluster, programs):
    text = web(programs) + "listen 8080 tcp -> web path=relay;"
    cluster.up(text + web(programs, "b", 8401))
    cluster.wait_up(1, "web")
    cluster.wait_up(1, "b")
    reload(cluster, text)
    cluster.wait(lambda: [service["name"] for service in cluster.status()["services"]] == ["web"])
    cluster.down()


def test_a_signal_reloads(cluster, programs):
    cluster.up(web(programs))
    cluster.wait_up(1)
    cluster.configure(web(programs, more="instances 2;"))
    os.kill(cluster.supervisor(), signal.SIGHUP)
    cluster.wait_up(2)
    assert cluster.status()["generation"] == 2


def test_connections_live_through_many_reloads(cluster, programs):
    service = web(programs, more="instances 2;")
    cluster.up(service + "listen 8080 tcp -> web path=relay; listen 8081 tcp -> web;")
    cluster.wait_up(2)
    with clients.Held(8080, 20) as relayed, clients.Held(8081, 20) as direct:
        for turn in range(20):
            more = f"listen {9000 + turn} tcp -> web path=relay;" if turn % 2 else ""
            reload(cluster, service + "listen 8080 tcp -> web path=relay;"
                   "listen 8081 tcp -> web;" + more)
        assert set(relayed.spread()) == {"web1", "web2"}
        assert set(direct.spread()) == {"web1", "web2"}
    assert cluster.status()["generation"] == 21


@pytest.mark.parametrize("account", ["nobody"], indirect=True)
@pytest.mark.parametrize("port", [8080, 8000])
def test_a_listener_moves_without_privileges(cluster, programs, port):
    """Its instances are restarted in turn, since their sockets must be bound elsewhere."""
    service = web(programs, more="instances 2;")
    cluster.up(service + f"listen {port} tcp -> web;")
    cluster.wait_up(2)
    for way in ("tcp -> web path=relay;", "tcp -> web;", "tcp -> web path=relay;"):
        before = set(pids(cluster).values())
        reload(cluster, service + f"listen {port} {way}")
        cluster.wait(lambda: set(pids(cluster).values()).isdisjoint(before))
        cluster.wait_up(2)
        relayed = cluster.service("web")["requests_total"]
        assert set(clients.who_answers(port, 30)) == {"web1", "web2"}, way
        relayed = cluster.service("web")["requests_total"] - relayed
        assert relayed == (30 if "relay" in way else 0)


def udp_who(port, count=1, host="127.0.0.1"):
    answers = []
    for _ in range(count):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(1)
            asking.sendto(b"x", (host, port))
            try:
                answers.append(asking.recv(2048).split()[0].decode())
            except TimeoutError:  # its instance is being restarted
                return None
    return set(answers)


@both_accounts
def test_datagrams_move_between_direct_and_relay(cluster, programs):
    service = (f"service echo {{ run {programs.python('echo_udp')}; env WHO=$instance;"
               " port 4000 udp; instances 2; stop SIGTERM drain=100ms; }\n")
    cluster.up(service + "listen 4000 udp -> echo;")
    cluster.wait_up(2)
    for listen in ("listen 4000 udp -> echo path=relay;", "listen 4001 udp -> echo port=4000;",
                   "listen 4000 udp -> echo;"):
        reload(cluster, service + listen)
        port = int(listen.split()[1])
        cluster.wait(lambda: udp_who(port, 30) == {"1", "2"})
        cluster.wait_up(2)


@pytest.mark.both_accounts
def test_a_reload_ends_a_start_that_is_under_way(cluster, programs):
    """The only instance was killed; a reload ends the one that starts instead before it listens. Nobody is refused."""
    text = f"""
        service one {{ run node {programs.path('rolled.js')}; env WHO=$instance PORT=3100 NODE_PATH=/usr/share/nodejs
                       REVISION=%d; port 3100; restart always backoff=10ms..50ms; }}"""
    cluster.up(text % 0)
    cluster.wait_up(1, "one")
    with clients.Load(3100, 4) as load:
        load.wait_more(20)
        cluster.configure(text % 1)
        os.kill(cluster.instances("one")[1]["pid"], signal.SIGKILL)
        cluster.command("reload", "--wait", timeout=60)
        load.wait_more(20)
    assert load.refused == 0
