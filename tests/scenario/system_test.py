"""enginx on a system: what it tells a service manager and the journal, and that it can be process 1."""

import os
import re
import signal
import socket
import subprocess

import pytest

from harness import clients, processes
from harness.clients import Load


class Manager:
    """The service manager's end: datagrams as they come, each as a dictionary."""

    def __init__(self, cluster):
        path = cluster.folder("manager") / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        path.chmod(0o666)
        cluster.environment["NOTIFY_SOCKET"] = str(path)
        self.told = []

    def next(self, within=10):
        self.socket.settimeout(within)
        text = self.socket.recv(4096).decode()
        self.told.append(dict(line.split("=", 1) for line in text.split("\n")))
        return self.told[-1]

    def until(self, key, value=None):
        while True:
            one = self.next()
            if key in one and value in (None, one[key]):
                return one

    def forget(self):
        """What was told so far."""
        self.socket.setblocking(False)
        try:
            while True:
                self.socket.recv(4096)
        except BlockingIOError:
            pass


@pytest.fixture
def manager(cluster):
    made = Manager(cluster)
    yield made
    made.socket.close()


def text(programs, instances=2):
    return f"""service web {{ run {programs.python("web")}; env WHO=$instance; port 8000; instances {instances}; }}"""


@pytest.mark.both_accounts
def test_ready_when_it_serves_and_stopping_when_it_does_not(cluster, manager, programs):
    cluster.up(text(programs))
    ready = manager.until("READY", "1")
    assert clients.answer(8000) and cluster.name in ready["STATUS"]
    for pid in [one["pid"] for one in cluster.instances().values()]:
        environment = open(f"/proc/{pid}/environ").read()
        assert "NOTIFY_SOCKET" not in environment
    os.kill(cluster.supervisor(), signal.SIGTERM)
    manager.until("STOPPING", "1")
    assert cluster.wait_exit() == 0


def test_a_reload_is_told_from_its_beginning_to_its_end(cluster, manager, programs):
    cluster.up(text(programs))
    manager.until("READY", "1")
    cluster.configure(text(programs, instances=3))
    cluster.command("reload")
    begun = manager.next()
    assert begun["RELOADING"] == "1" and int(begun["MONOTONIC_USEC"]) > 0
    assert manager.next()["READY"] == "1"
    cluster.configure("service web { rnu x; }")
    assert cluster.command("reload", check=False).returncode == 1
    cluster.configure(text(programs, instances=1))
    os.kill(cluster.supervisor(), signal.SIGHUP)
    manager.until("RELOADING")
    manager.until("READY", "1")
    cluster.wait_up(1)


def test_one_that_does_not_come_up_keeps_nobody_waiting(cluster, manager, programs):
    cluster.up(text(programs) + "service gone { run /nonexistent/program; restart never; }")
    assert "not everything" in manager.until("READY", "1")["STATUS"]


def test_an_upgrade_is_guarded_by_another_main_process(cluster, manager, programs):
    cluster.up(text(programs))
    manager.until("READY", "1")
    cluster.command("upgrade", timeout=60)
    guard = int(manager.until("MAINPID")["MAINPID"])
    assert guard != cluster.supervisor()
    assert int(manager.until("MAINPID")["MAINPID"]) == cluster.supervisor()
    assert any(one.get("READY") for one in manager.told[1:])


def up_watched(cluster, pid, text):
    """As a service manager starts it that expects to hear from its main process; pid: whom it names as that."""
    cluster.environment["WATCHDOG_USEC"] = "200000"
    binary = cluster.binary
    cluster.binary = cluster.file("watched", f'#!/bin/sh\nWATCHDOG_PID={pid} exec {binary} "$@"\n', 0o755)
    cluster.up(text)
    cluster.binary = binary


def test_a_watchdog_hears_from_whoever_goes_on(cluster, manager, programs):
    """Also from the guard that follows an upgrade which failed."""
    broken = cluster.file("broken", f'#!/bin/sh\ncase "$1" in --role) exec {cluster.binary} "$@" ;; esac\nexit 3\n', 0o755)
    up_watched(cluster, "$$", text(programs))
    manager.until("READY", "1")
    manager.until("WATCHDOG", "1")
    for one in cluster.instances().values():
        assert "WATCHDOG" not in open(f"/proc/{one['pid']}/environ").read()
    first = cluster.status()["pid"]
    assert cluster.command("upgrade", "--binary", broken, check=False, timeout=60).returncode == 1
    cluster.process = None  # another one than was started
    second = cluster.wait(cluster.status, 10, "the guard's answer")["pid"]
    assert second != first
    manager.forget()
    manager.until("WATCHDOG", "1")
    os.kill(second, signal.SIGSTOP)
    manager.forget()
    with pytest.raises(TimeoutError):
        manager.next(within=0.5)
    os.kill(second, signal.SIGCONT)
    manager.until("WATCHDOG", "1")


def test_a_watchdog_of_another_process_hears_nothing(cluster, manager, programs):
    up_watched(cluster, 1, text(programs, instances=1))
    manager.until("READY", "1")
    with pytest.raises(TimeoutError):
        manager.next(within=0.5)


def test_who_is_upgraded_and_stopped_at_once_stays_down(cluster, manager, programs):
    cluster.up(text(programs))
    manager.until("READY", "1")
    os.kill(cluster.supervisor(), signal.SIGUSR2)
    guard = int(manager.until("MAINPID")["MAINPID"])
    manager.until("READY", "1")
    cluster.down()
    processes.wait_for(lambda: not processes.alive(guard), 5, "the guard to end")
    assert cluster.enginx_processes() == []


def test_a_killed_supervisor_is_followed_by_one_that_adopts(cluster, manager, programs):
    """What the unit's KillMode=process and Restart=on-failure rely on."""
    cluster.up(text(programs))
    manager.until("READY", "1")
    before = {number: one["pid"] for number, one in cluster.instances().items()}
    with Load(8000, 2) as load:
        load.wait_more(10)
        os.kill(cluster.supervisor(), signal.SIGKILL)
        cluster.process.wait()
        cluster.up()
        manager.until("READY", "1")
        load.wait_more(10)
    assert load.refused == 0 and not load.failed, load.failed[:3]
    assert before == {number: one["pid"] for number, one in cluster.instances().items()}


def test_lines_to_the_journal_have_a_priority(cluster, programs):
    ours, theirs = socket.socketpair()
    status = os.fstat(theirs.fileno())
    cluster.configure(text(programs) + "service gone { run /nonexistent/program; restart never; }")
    environment = {**cluster.environment, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
    enginx = subprocess.Popen(cluster.arguments("up"), stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
                              cwd=cluster.directory, env=environment, start_new_session=True)
    theirs.close()
    try:
        cluster.wait_up(2, "web")
        cluster.wait_state("failed", "gone")
        cluster.down()
        assert enginx.wait(10) == 0
    finally:
        enginx.poll() is None and enginx.kill()
    lines = b"".join(iter(lambda: ours.recv(65536), b"")).decode().splitlines()
    ours.close()
    assert all(re.match(r"<[3467]>.*\S", line) for line in lines), lines
    assert any(line.startswith("<6>web.1: ") for line in lines), lines
    assert any(re.match(r"<[34]>enginx !: .*gone\.1", line) for line in lines), lines


def test_it_is_process_1_of_a_container(cluster, programs):
    """It reaps whatever is left to it, and its end by SIGTERM is one in order."""
    orphan = cluster.file("orphan.sh", f"#!/bin/sh\n(sh -c 'sleep 0.2; exit 3' & )\nexec {programs.python('web')}\n", 0o755)
    path = cluster.configure(f"service web {{ run {orphan}; env WHO=$instance; port 8000; instances 2; }}")
    with open(cluster.output_path, "ab") as output:
        cluster.process = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *cluster.arguments("up", path)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=cluster.directory,
            env=cluster.environment, start_new_session=True)
    cluster.wait_up(2)
    assert cluster.status()["pid"] == 1
    assert clients.answer(8000)
    first, = [pid for pid in cluster.enginx_processes() if "--role" not in processes.command_line(pid)]

    def children():
        return open(f"/proc/{first}/task/{first}/children").read().split()

    def state(pid):
        try:
            return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0]
        except OSError:
            return None
    cluster.wait(lambda: all(state(pid) not in ("Z", None) for pid in children()), 5, "orphans to be reaped")
    os.kill(first, signal.SIGTERM)
    assert cluster.wait_exit() == 0, cluster.output
    cluster.process = None
