"""Resources that run out: an event that says so, and service goes on for what is there."""

import os
import resource
import subprocess

import pytest

from harness import clients, processes
from harness.cluster import Account


def test_a_quota_that_cannot_be_set(cluster, programs):
    # Less memory than any process needs to start is refused by the kernel or kills at once; a quota
    # without a controller is a warning. Without privileges there may be no group at all.
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; quota memory=256m cpu=50% tasks=64; }}""")
    cluster.wait_up(1)
    assert clients.who(8000) == "1"


@pytest.mark.parametrize("account", ["nobody"], indirect=True)
def test_without_control_groups_a_warning_says_what_is_not_enforced(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance; quota memory=256m; }}""")
    cluster.wait_up(1)
    cluster.wait_output(r"(?i)warn.*memory|memory.*not enforced")


@pytest.mark.both_accounts
def test_no_descriptors_left(cluster, programs):
    # The supervisor runs out, not the programs: those that are up serve on, and it still answers.
    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
    text = f"""
        service web {{
            run {programs.python("web")}; env WHO=$instance; instances 2;
            restart always backoff=50ms..100ms;
        }}"""
    cluster.configure(text)
    cluster.start("up", cluster.directory / "enginx.conf", preexec_fn=limit)
    cluster.wait_up(2)
    done = cluster.command("scale", "web=60", check=False)
    assert done.returncode in (0, 1)
    cluster.wait_output(r"(?i)descriptors|too many open files")
    assert cluster.status() is not None
    assert clients.who(8000)
    cluster.command("scale", "web=2")
    cluster.wait_up(2)


def test_no_pids_left(clusters, programs):
    # A user of its own, whose processes nobody else adds to: enginx has three, two programs fit.
    cluster = clusters(Account(str(62000 + os.getpid() % 1000)))

    def limit():
        resource.setrlimit(resource.RLIMIT_NPROC, (5, 5))
    path = cluster.configure(f"""
        service web {{
            run {programs.python("web")}; env WHO=$instance; instances 4;
            restart always backoff=50ms..100ms tries=2;
        }}""")
    cluster.start("up", path, preexec_fn=limit)
    # Two start, the others cannot be forked, and are tried again for ever.
    cluster.wait_output(r"(?i)resource temporarily unavailable|no more processes")

    def two_are_up():
        states = [instance["state"] for instance in cluster.instances().values()]
        assert states.count("up") == 2 and "failed" not in states, states
        return True
    cluster.wait(two_are_up, 8, "two to be up")
    assert len(clients.who_answers(8000, 20)) == 2


def test_a_full_disk_for_logs_blocks_nobody(cluster, programs):
    small = cluster.folder("logs")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0777", "tmpfs", small], check=True)
    try:
        cluster.up(f"""
            log directory={small} size=1m keep=1;
            service talker {{
                run {programs.python("chatty")} {cluster.directory}/took;
                env LINES=20000 LINE_BYTES=100; port none;
            }}
            service web {{ run {programs.python("web")}; env WHO=$instance; }}""")
        cluster.wait_up(1, "web")
        took = cluster.directory / "took"
        processes.wait_for(lambda: took.exists() and took.read_text(), 10, "the program to print all")
        assert float(took.read_text()) < 8
        assert clients.who(8000) == "1"
        assert cluster.status() is not None
        # With room again it goes on, and says how much is missing.
        for path in small.iterdir():
            os.truncate(path, 0)
        subprocess.run(["mount", "-o", "remount,size=4m", small], check=True)
        cluster.command("restart", "web")
        cluster.wait(lambda: any("lost" in path.read_text(errors="replace")
                                 for path in small.iterdir()), 8, "a line about what was lost")
        cluster.down()
    finally:
        subprocess.run(["umount", "-l", small], check=True)


@pytest.mark.both_accounts
def test_kernel_features_that_are_missing_are_named(cluster, programs, account):
    cluster.configure(f"service web {{ run {programs.python('web')}; }}")
    said = cluster.command("check", "--explain").stdout
    if account.root:
        assert "bpf" in said.lower()
    else:
        # Which mechanism serves instead of the better one, and what the better one would need.
        assert "seccomp" in said.lower() and "bpf" in said.lower()


def test_steering_that_is_demanded_and_cannot_be_had(clusters, programs):
    cluster = clusters(Account("nobody"))
    path = cluster.configure(f"steering bpf; service web {{ run {programs.python('web')}; }}")
    done = cluster.command("up", path, check=False)
    assert done.returncode in (1, 2)
    assert "bpf" in (done.stdout + done.stderr).lower()
