"""Quotas of memory, cpu and tasks hold, for an instance and for the whole cluster."""

import re
import time

import pytest

from harness import cgroups, clients



def test_memory(cluster, programs):
    cluster.up(f"""
        service web {{
            run {programs.python("web")}; env WHO=$instance; instances 2;
            quota memory=64m; restart always backoff=50ms..100ms;
        }}""")
    before = cluster.wait_up(2)
    with pytest.raises(OSError):
        for _ in range(20):
            clients.ask(8000, host=before[1]["address"], path="/eat?32")
    instance = cluster.wait_restarted(1, before[1]["pid"])
    assert re.fullmatch(r"killed by SIGKILL \(out of memory at 6[0-4]\.\d MiB\)", instance["exit"]), instance
    assert 0 < cluster.instances()[2]["memory_peak_bytes"] <= 64 << 20
    assert cluster.pid(2) == before[2]["pid"], "its sibling lives"


def test_tasks(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; quota tasks=8; }}""")
    cluster.wait_up(1)
    assert 1 <= int(clients.ask(8000, path="/fork?50")) <= 7


def test_tasks_of_all_together(cluster, programs):
    cluster.up(f"""
        quota tasks=12;
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}""")
    before = cluster.wait_up(2)
    forked = [int(clients.ask(8000, host=before[number]["address"], path="/fork?50"))
              for number in (1, 2)]
    assert sum(forked) <= 10


def test_cpu(cluster):
    cluster.up("""
        service burner { run /bin/sh -c "while :; do :; done"; port none; quota cpu=20%; }""")
    pid = cluster.wait_up(1)[1]["pid"]

    def used():
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100  # utime and stime in ticks of 10 ms
    before, started = used(), time.monotonic()
    cluster.wait(lambda: time.monotonic() - started > 2, 5, "two seconds to go by")
    share = (used() - before) / (time.monotonic() - started)
    assert share < 0.3, share
    assert cluster.instances()[1]["cpu_percent"] < 35


def io_weight(cluster, group):
    """The control group's, as this kernel has it on v2 or v1."""
    for folder in cgroups.all_below(cluster.cgroup):
        for name in ("io.bfq.weight", "io.weight", "blkio.bfq.weight"):
            if folder.name == group and (folder / name).exists():
                return int((folder / name).read_text().split()[-1])
    return None


def test_io_weight(cluster, programs):
    """Which disks heed it is the machine's matter; that the group has it, and the program is in it, is ours."""
    text = f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; quota io-weight=%d; }}"""
    cluster.up(text % 50)
    cluster.wait_up(2)
    if "io-weight: cgroup" not in cluster.command("check", "--explain").stdout:
        assert "what=io-weight" in cluster.output
        pytest.skip("no io controller here")
    assert io_weight(cluster, "web.1") == 50
    folders = [folder for folder in cgroups.all_below(cluster.cgroup) if folder.name == "web.1"]
    assert all(cluster.pid(1) in cgroups.processes(folder) for folder in folders), folders
    cluster.configure(text % 90)
    cluster.command("reload", "--wait")
    assert io_weight(cluster, "web.1") == 90
