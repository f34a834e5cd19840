"""However a program listens, it joins."""

import pytest

from harness import clients

pytestmark = pytest.mark.both_accounts

CASES = {
    "any IPv4": ("0.0.0.0", ["127.0.0.1"]),
    "loopback only": ("127.0.0.1", ["127.0.0.1"]),
    "dual stack": ("::", ["127.0.0.1", "::1"]),
    "IPv6 only": ("::only", ["::1"]),
    "one of each": ("0.0.0.0 ::only", ["127.0.0.1", "::1"]),
    "IPv6 loopback": ("::1", ["::1"]),
}


@pytest.mark.parametrize("case", CASES)
def test_listener(cluster, programs, case):
    bind, hosts = CASES[case]
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance "BIND={bind}"; instances 3; }}""")
    cluster.wait_up(3)
    for host in hosts:
        assert set(clients.who_answers(8000, 40, host=host)) == {"1", "2", "3"}, host


def test_workers_that_share_by_themselves(cluster, programs, account):
    cluster.up(f"""
        service web {{ run {programs.python("web")}; env WHO=$instance WORKERS=4; instances 2; }}""")
    cluster.wait_up(2)
    with clients.Held(8000, 40) as held:
        spread = held.spread()
    assert set(spread) == {"1", "2"}
    if account.root:
        assert abs(spread["1"] - 20) <= 1


def test_two_ports(cluster, programs):
    web = programs.path("web.py")
    second = cluster.file("two.py", f"""
import os, subprocess
subprocess.Popen(["/usr/bin/python3", "{web}"], env=dict(os.environ, PORT="8401"))
os.execv("/usr/bin/python3", ["/usr/bin/python3", "{web}"])
""")
    cluster.up(f"""
        service web {{ run /usr/bin/python3 {second}; env WHO=$instance; instances 2; port 8000; port 8401; }}""")
    cluster.wait_up(2)
    assert set(clients.who_answers(8000, 20)) == {"1", "2"}
    assert set(clients.who_answers(8401, 20)) == {"1", "2"}
    assert set(cluster.service()["ports"]) == {"tcp:8000", "tcp:8401"}
