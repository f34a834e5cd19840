"""An ordinary user in control groups that were given to it (systemd: Delegate=yes): instances live in
groups below, quotas hold, and what enginx could not have it names. On machines whose controllers are
bound to cgroup v1 the limits are looked for there."""

import os
import secrets
import signal
from pathlib import Path

import pytest

from harness import cgroups, clients, processes
from harness.cluster import Account

LIMITS = {  # by controller: the files of v2 and of v1, with what stands in them for QUOTA
    "memory": {"memory.max": "67108864", "memory.limit_in_bytes": "67108864"},
    "cpu": {"cpu.max": "50000 100000", "cpu.cfs_quota_us": "50000"},
    "pids": {"pids.max": "8"},
}
QUOTA = "quota memory=64m cpu=50% tasks=8;"


@pytest.fixture
def make(clusters):
    """Makes a cluster of nobody in groups of its own."""
    made = []

    def make(**options):
        cluster = clusters(Account("nobody"))
        cluster.delegated = cgroups.Delegated(cluster.account, "enginx-test-" + secrets.token_hex(4),
                                              **options)
        made.append(cluster)
        return cluster

    yield make
    for cluster in made:
        cluster.end()
        left = cluster.delegated.below(cluster.cgroup)
        cluster.delegated.remove()
        assert not left


def groups_of(pid):
    """Controller ("" for v2) → the folder of the process's group."""
    mounts = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, kind, options = line.split()[:4]
        for controller in [""] if kind == "cgroup2" else options.split(","):
            mounts[controller] = mount if kind.startswith("cgroup") else mounts.get(controller)
    found = {}
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            if mounts.get(controller):
                found[controller] = Path(mounts[controller] + path)
    return found


def assert_limited(pid):
    groups = groups_of(pid)
    for controller, files in LIMITS.items():
        folder = groups.get(controller, groups[""])
        said = {name: (folder / name).read_text().strip() for name in files
                if (folder / name).exists()}
        assert said and all(files[name] == text for name, text in said.items()), (folder, said)


def test_instances_live_below_it_with_their_quotas(make, programs):
    cluster = make()
    cluster.up(f"""
        service web {{
            run {programs.python("web")}; env WHO=$instance; instances 2; {QUOTA}
            restart always backoff=50ms..100ms;
        }}""")
    before = cluster.wait_up(2)
    for number in (1, 2):
        folder = groups_of(before[number]["pid"])[""]
        assert folder == cluster.delegated.v2 / cluster.cgroup / cluster.name / f"web.{number}"
        assert_limited(before[number]["pid"])
    assert "not-enforced" not in cluster.output

    assert 1 <= int(clients.ask(8000, host=before[2]["address"], path="/fork?50")) <= 7
    with pytest.raises(OSError):
        for _ in range(20):
            clients.ask(8000, host=before[1]["address"], path="/eat?32")
    assert "out of memory" in cluster.wait_restarted(1, before[1]["pid"])["exit"]
    assert_limited(cluster.pid(1))
    assert cluster.pid(2) == before[2]["pid"], "its sibling lives"


def test_the_ceiling_for_all_holds(make, programs):
    cluster = make()
    cluster.up(f"""
        quota tasks=12;
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}""")
    up = cluster.wait_up(2)
    forked = [int(clients.ask(8000, host=up[number]["address"], path="/fork?50"))
              for number in (1, 2)]
    assert 1 <= sum(forked) <= 10


def test_what_goes_into_the_background_is_found(make):
    """By its group: the mark in the environment is taken away, and so is the session."""
    cluster = make()
    cluster.up("""
        service daemon {
            run /bin/sh -c "env -i setsid sleep 1001 & sleep 1002"; port none;
            restart always backoff=50ms..100ms;
        }""")
    pid = cluster.wait_up(1)[1]["pid"]
    group = groups_of(pid)[""]
    cluster.wait(lambda: len(cgroups.processes(group)) == 3, 5, "three processes")
    others = [other for other in cgroups.processes(group) if other != pid]
    os.kill(pid, signal.SIGKILL)
    cluster.wait_restarted(1, pid)
    assert not any(processes.alive(other) for other in others)


def test_a_restarted_supervisor_finds_them_again(make, programs):
    cluster = make()
    text = f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; {QUOTA} }}
        service idle {{ run /bin/sleep 1000; port none; }}"""
    cluster.up(text)
    before = cluster.wait_up(2, "web")
    idle = cluster.wait_up(1, "idle")[1]["pid"]
    os.kill(cluster.supervisor(), signal.SIGKILL)
    cluster.process.wait()
    cluster.up()
    after = cluster.wait_up(2, "web")
    assert [after[number]["pid"] for number in (1, 2)] == [before[number]["pid"] for number in (1, 2)]
    assert cluster.pid(1, "idle") == idle
    for number in (1, 2):
        assert_limited(after[number]["pid"])
    os.kill(before[1]["pid"], signal.SIGKILL)
    assert_limited(cluster.wait_restarted(1, before[1]["pid"], "web")["pid"])


def test_what_was_not_given_is_named(make, programs):
    """Of all groups only v2's is given, without the controllers that are bound to v1."""
    cluster = make(only_v2=True)
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; {QUOTA} }}""")
    pid = cluster.wait_up(1)[1]["pid"]
    assert groups_of(pid)[""].is_relative_to(cluster.delegated.v2)
    for name, controller in (("memory", "memory"), ("cpu", "cpu"), ("tasks", "pids")):
        if controller in groups_of(os.getpid()):  # bound to v1
            cluster.wait_output(rf'quota-not-enforced instance=web\.1 what={name} why="/sys\S*{controller}'
                                r'.*: Permission denied')
