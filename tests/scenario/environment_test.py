"""What a program finds around itself: user, directory, environment, umask, limits, arguments."""

import os
import pwd
import resource

import pytest

from harness import clients, processes


def test_what_the_file_says(cluster):
    folder = cluster.folder("place/1")
    cluster.up(f"""
        service job {{
            run       /bin/sleep 100$instance;
            directory {cluster.directory}/place/$instance;
            user      nobody;
            env       NAME="two words" N=$instance HERE=$service.$cluster FROM=$env.HOME;
            umask     027;
            limit     nofile 123;
            port      none;
        }}""")
    pid = cluster.wait_up(1)[1]["pid"]
    assert processes.command_line(pid) == "/bin/sleep 1001"
    environment = processes.environment(pid)
    assert environment["NAME"] == "two words"
    assert environment["N"] == "1"
    assert environment["HERE"] == f"job.{cluster.name}"
    assert environment["FROM"] == cluster.environment["HOME"]
    status = processes.read(pid, "status").decode()
    entry = pwd.getpwnam("nobody")
    assert f"Uid:\t{entry.pw_uid}\t{entry.pw_uid}\t{entry.pw_uid}" in status
    assert f"Gid:\t{entry.pw_gid}\t{entry.pw_gid}\t{entry.pw_gid}" in status
    assert "Umask:\t0027" in status
    limits = processes.read(pid, "limits").decode()
    assert "Max open files            123" in limits
    assert os.readlink(f"/proc/{pid}/cwd") == str(folder)


@pytest.mark.both_accounts
def test_nothing_of_enginx_is_inherited(cluster):
    cluster.up("service job { run /bin/sleep 1000; port none; }")
    pid = cluster.wait_up(1)[1]["pid"]
    assert set(processes.descriptors(pid)) == {0, 1, 2}
    status = processes.read(pid, "status").decode()
    blocked = next(line for line in status.splitlines() if line.startswith("SigBlk"))
    ignored = next(line for line in status.splitlines() if line.startswith("SigIgn"))
    assert int(blocked.split()[1], 16) == 0
    # make starts its commands by posix_spawn(3), which leaves the C library's own signals, 32 and 33,
    # ignored; no program can change that by sigaction(2), and none uses them.
    assert int(ignored.split()[1], 16) & ~(3 << 31) == 0
    # enginx raises its own limit of open files, and not that of programs.
    limits = processes.read(pid, "limits").decode()
    own = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert next(line.split()[3:5] for line in limits.splitlines()
                if line.startswith("Max open files")) == [str(limit) for limit in own]
    # A session of its own: the terminal's Ctrl-C is for enginx, which stops it in order.
    assert int(processes.read(pid, "stat").rpartition(b")")[2].split()[3]) == pid


def test_shell(cluster):
    cluster.up("""
        service job { shell "echo $$((6 * 7)) from $service; exec sleep 1000"; port none; }""")
    cluster.wait_up(1)
    cluster.wait_output("42 from job")


def test_realm(cluster, programs):
    cluster.up(f"""
        realm s1 s2 {{
            service logic {{ run {programs.python("web")}; env WHO=$realm; instances 2; }}
        }}""")
    for name in ("s1.logic", "s2.logic"):
        cluster.wait_up(2, name)
        home = cluster.service(name)["home"]
        assert set(clients.who_answers(8000, 8, host=home)) == {name.split(".")[0]}
