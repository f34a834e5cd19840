"""Programs that are wrong: what enginx says, and that it goes on."""

import re
import subprocess
import sys

import pytest

from harness import clients

pytestmark = pytest.mark.both_accounts


def told(cluster, pattern, within=10):
    """Until enginx has said it, in its output or in status."""
    def check():
        text = cluster.output
        status = cluster.status()
        for service in (status or {"services": []})["services"]:
            text += "".join(f"\n{instance['exit']}" for instance in service["instances"])
        assert re.search(pattern, text, re.IGNORECASE | re.DOTALL), f"no /{pattern}/ in:\n{text}"
        return True
    cluster.wait(check, within, "enginx to tell")


def test_not_found(cluster):
    cluster.up("service web { run no-such-program --fast; }")
    told(cluster, r"no-such-program.*(no such file|not found)|(no such file|not found).*no-such-program")


def test_not_executable(cluster):
    path = cluster.file("server.sh", "#!/bin/sh\nsleep 100\n", mode=0o644)
    cluster.up(f"service web {{ run {path}; }}")
    told(cluster, "(not executable|permission denied)")


def test_exits_at_once(cluster, programs):
    cluster.up(f"""
        service web {{
            run {programs.python("exits")};
            restart always backoff=10ms..50ms tries=3 reset=1s;
        }}""")
    instance = cluster.wait_state("failed")
    assert "3" in instance["exit"]
    # The last words stand with the failure, so nobody has to look for them.
    told(cluster, "fatal: no licence file")
    assert cluster.process.poll() is None, "the supervisor itself goes on"


def test_one_that_fails_does_not_disturb_the_others(cluster, programs):
    cluster.up(f"""
        service bad {{ run {programs.python("exits")}; restart always backoff=10ms..20ms tries=3; }}
        service web {{ run {programs.python("web")}; env WHO=$instance; instances 2; }}""")
    cluster.wait_up(2, "web")
    cluster.wait_state("failed", "bad")
    assert set(clients.who_answers(8000, 20)) == {"1", "2"}


def test_never_listens(cluster, programs):
    cluster.up(f"""
        service web {{
            run {programs.python("silent")};
            start within=1s;
            restart always backoff=10ms..20ms tries=2;
        }}""")
    told(cluster, r"listen")
    cluster.wait_state("failed")


def test_listens_elsewhere(cluster, programs):
    cluster.up(f"""
        service web {{
            run {programs.python("web")}; port 9999;
            start within=1s;
            restart always backoff=10ms..20ms tries=2;
        }}""")
    told(cluster, r"9999.*8000|8000.*9999")


def test_port_taken_by_a_stranger(cluster, programs):
    stranger = subprocess.Popen([sys.executable, "-c", """
import socket, time
listener = socket.create_server(("0.0.0.0", 8000))
print("ready", flush=True)
time.sleep(60)"""], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
        **cluster.account.options())
    try:
        stranger.stdout.readline()
        cluster.up(f"""
            service web {{
                run {programs.python("web")}; restart always backoff=10ms..20ms tries=2; start within=2s;
            }}""")
        told(cluster, rf"8000.*{stranger.pid}|{stranger.pid}.*8000")
    finally:
        stranger.kill()
        stranger.wait()


def test_never_ready(cluster, programs):
    cluster.up(f"""
        service web {{
            run {programs.python("notify")}; env NEVER=1; check notify;
            start within=2s; restart always backoff=10ms..20ms tries=1;
        }}""")
    told(cluster, r"ready|notify")
