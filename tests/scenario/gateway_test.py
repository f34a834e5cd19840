"""The gateway beside its instances: it has a listener's port, whoever else wants that, and both the
supervisor and it may be killed."""

import os
import signal
import socket
import threading
import time

import pytest

from harness import clients
from harness.processes import alive

pytestmark = pytest.mark.both_accounts


def gateway_pid(cluster):
    return cluster.status()["gateway_pid"]


def wait_other_gateway(cluster, pid):
    return cluster.wait(lambda: gateway_pid(cluster) not in (0, pid) and gateway_pid(cluster), 5,
                        "another gateway")


def test_the_programs_port_may_be_the_listeners(cluster, programs, account):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 3; }}
        service other {{ run {programs.python("web")}; env WHO=other; uses web; }}
        listen 8000 tcp -> web path=relay;""")
    cluster.wait_up(3, "web")
    cluster.wait_up(1, "other")
    assert set(clients.who_answers(8000, 30)) == {"1", "2", "3"}
    for number, instance in cluster.instances("web").items():
        assert clients.who(8000, host=instance["address"]) == str(number)
    other = cluster.instances("other")[1]["address"]
    assert clients.who(8000, host=other) == "other"
    if account.root:
        assert clients.who(8000, host=cluster.service("web")["home"]) in {"1", "2", "3"}
    # An instance of `other` means itself by its own port, whoever has that on the machine.
    assert clients.ask(8000, host=other, path="/fetch?127.0.0.1:8000").split()[0] == "other"
    service = cluster.service("web")
    assert service["path"] == "relay" and service["listeners"] == ["tcp:8000"]
    assert service["paths"][0]["path"] == "relay" and "path=relay" in service["paths"][0]["why"]


def test_listeners_at_addresses(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; }}
        listen 127.0.0.1:8080 tcp -> web path=relay;
        listen [::1]:8081 tcp -> web path=relay;
        listen 127.0.0.2:8000 tcp -> web path=relay;
        listen 8082 tcp -> web path=relay;""")
    cluster.wait_up(1)
    assert clients.who(8080) == "1" and clients.refused(8080, host="::1")
    assert clients.who(8081, host="::1") == "1" and clients.refused(8081)
    assert clients.who(8000, host="127.0.0.2") == "1"
    assert clients.who(8082) == "1" and clients.who(8082, host="::1") == "1"


def test_uses_leads_past_the_gateway(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}
        service user {{ run {programs.python("web")}; env PORT=8401; uses web; }}
        listen 8000 tcp -> web path=relay;
        listen 8401 tcp -> user;""")
    cluster.wait_up(2, "web")
    cluster.wait_up(1, "user")
    answers = {clients.ask(8401, path="/fetch?127.0.0.1:8000").split()[0] for _ in range(20)}
    assert answers == {"1", "2"}


def test_kill_of_the_gateway(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}
        listen 8080 tcp -> web path=relay;""")
    cluster.wait_up(2)
    for _ in range(3):
        pid = gateway_pid(cluster)
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        assert clients.who(8080) in {"1", "2"}  # refused by nobody, and soon
        assert time.monotonic() - began < 2
        wait_other_gateway(cluster, pid)
    assert len(cluster.instances()) == 2


def test_nobody_is_refused_while_gateways_are_killed(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}
        listen 8080 tcp -> web path=relay;""")
    cluster.wait_up(2)
    refused, done, over = [], [], threading.Event()

    def knock():
        while not over.is_set():
            try:
                clients.ask(8080)
                done.append(1)
            except ConnectionRefusedError:
                refused.append(1)
            except Exception:  # cut in the midst of it: that one was being served
                pass

    knocking = [threading.Thread(target=knock) for _ in range(4)]
    for thread in knocking:
        thread.start()
    for _ in range(5):
        pid = gateway_pid(cluster)
        os.kill(pid, signal.SIGKILL)
        wait_other_gateway(cluster, pid)
        time.sleep(0.2)
    over.set()
    for thread in knocking:
        thread.join()
    assert not refused and len(done) > 50


def test_crash_of_the_supervisor(cluster, programs):
    text = f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}
        listen 8080 tcp -> web path=relay;"""
    cluster.up(text)
    cluster.wait_up(2)
    gateway, pids = gateway_pid(cluster), {i["pid"] for i in cluster.instances().values()}
    cluster.process.kill()
    cluster.process.wait()
    assert clients.who(8080) in {"1", "2"}
    cluster.up(text)
    cluster.wait_up(2)
    assert gateway_pid(cluster) == gateway
    assert {i["pid"] for i in cluster.instances().values()} == pids
    assert clients.who(8080) in {"1", "2"}
    assert cluster.status()["generation"] == 2


def test_crash_and_another_file(cluster, programs):
    """A gateway that nobody needs any more goes; and one comes when it is needed again."""
    service = f"""service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}"""
    cluster.up(service + "listen 8080 tcp -> web path=relay;")
    cluster.wait_up(2)
    gateway = gateway_pid(cluster)
    for text, served in ((service, False), (service + "listen 8080 tcp -> web path=relay;", True)):
        cluster.process.kill()
        cluster.process.wait()
        cluster.up(text)
        cluster.wait_up(2)
        assert (gateway_pid(cluster) > 0) == served
        cluster.wait(lambda: not alive(gateway), 5, "the old gateway to be gone")
        assert clients.refused(8080) != served


def test_crash_of_both(cluster, programs):
    text = f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}
        listen 8080 tcp -> web path=relay;"""
    cluster.up(text)
    cluster.wait_up(2)
    gateway = gateway_pid(cluster)
    cluster.process.kill()
    cluster.process.wait()
    os.kill(gateway, signal.SIGKILL)
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(clients.who(8080, timeout=10)))
    waiting.start()
    time.sleep(0.2)
    cluster.up(text)
    waiting.join()
    assert answers and answers[0] in {"1", "2"}  # it waited in the listener's queue


def test_a_check_over_the_network(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance START_DELAY=0.5; instances 2;
                       check tcp every=100ms; }}
        listen 8080 tcp -> web path=relay;""")
    cluster.wait_up(2)
    assert all(instance["healthy"] for instance in cluster.instances().values())
    assert set(clients.who_answers(8080, 20)) == {"1", "2"}


def test_death_of_an_instance(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}
        listen 8080 tcp -> web path=relay;""")
    cluster.wait_up(2)
    pid = cluster.pid(1)
    os.kill(pid, signal.SIGKILL)
    assert set(clients.who_answers(8080, 30)) <= {"1", "2"}
    cluster.wait_restarted(1, pid)


def test_a_taken_port(cluster, programs, account):
    stranger = socket.socket()
    stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    stranger.bind(("0.0.0.0", 8080))
    stranger.listen()
    cluster.up(f"""
        service web {{ run {programs.python("web")}; }}
        listen 8080 tcp -> web path=relay;""")
    assert cluster.wait_exit() != 0
    assert "listen tcp:8080" in cluster.output
    if account.root:  # who else may look into our descriptors?
        assert f"process {os.getpid()}" in cluster.output
    stranger.close()


def test_the_path_of_each_listener_is_explained(cluster, programs):
    path = cluster.configure(f"""
        service web {{ run {programs.python("web")}; port 8000; instances 2; }}
        service away {{ at 127.0.0.1:9 127.0.0.1:10; }}
        listen 8080 tcp -> web;
        listen 8081 tcp -> web path=relay;
        listen 8082 http {{ route /a -> web; route / -> away; }}
        listen 8083 tcp -> away;
        metrics 127.0.0.1:9100;""")
    told = cluster.command("check", path, "--explain").stdout

    def line(start):
        found = [line for line in told.splitlines() if line.startswith(start)]
        assert len(found) == 1, told
        return found[0]

    assert " -> web: direct" in line("listen     tcp:8080")
    assert " -> web: relay" in line("listen     tcp:8081")
    assert "path=relay" in line("listen     tcp:8081")
    assert " -> web, away: http" in line("listen     tcp:8082")
    assert " -> away: relay" in line("listen     tcp:8083")
    assert "elsewhere" in line("listen     tcp:8083") and "127.0.0.1:9" in line("service    away")
    assert "http" in line("listen     tcp:127.0.0.1:9100")


def test_the_gateway_has_no_rights(cluster, programs, account):
    """Whoever takes it over by what it parses gains nothing: no user, no capability, no file."""
    cluster.up(f"""
        service web {{ run {programs.python("web")}; }}
        listen 8080 http {{ route / -> web; }}""")
    cluster.wait_up(1)
    pid = gateway_pid(cluster)
    fields = dict(line.split(":\t", 1) for line in
                  open(f"/proc/{pid}/status").read().splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["65534"] * 4 or not account.root
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0
    assert fields["NoNewPrivs"] == "1" and fields["Seccomp"] == "2"
    for task in os.listdir(f"/proc/{pid}/task"):
        status = open(f"/proc/{pid}/task/{task}/status").read()
        assert "Seccomp:\t2" in status, f"thread {task} has no filter"
    files = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    assert not [name for name in files if name.startswith("/") and name != "/dev/null"
                and not name.startswith("/memfd:")], files
