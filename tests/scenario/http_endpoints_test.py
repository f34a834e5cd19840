"""HTTP to instances: balance, stickiness, hashing, holding, retries, limits, checks — with real
programs that die, start slowly and fall ill."""

import collections
import http.client
import os
import signal
import threading
import time

import pytest

from harness import clients
from harness.clients import Load

PORT = 8080


def site(programs, service="", instances=3, listen="", environment=""):
    return f"""
        service web {{ run {programs.python("web")}; env WHO=$instance {environment}; instances {instances};
                       {service} }}
        listen {PORT} http {{ {listen} route / -> web; }}"""


def answers(times, **fields):
    """Who answers, over one kept connection: the gateway chooses for each request."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    found = collections.Counter()
    for _ in range(times):
        connection.request("GET", fields.get("path", "/whoami"), headers=fields.get("headers", {}))
        answer = connection.getresponse()
        found[answer.read().decode().split()[0]] += 1
    connection.close()
    return found


@pytest.mark.parametrize("policy", ["least", "round-robin", "random", "ewma"])
def test_every_instance_gets_its_part(cluster, programs, policy):
    cluster.up(site(programs, f"balance {policy};"))
    cluster.wait_up(3)
    found = answers(90)
    assert set(found) == {"1", "2", "3"}
    if policy == "round-robin":
        assert max(found.values()) - min(found.values()) <= 2


def test_weights(cluster, programs):
    cluster.up(site(programs, "weight 6 3 0;"))
    cluster.wait_up(3)
    found = answers(90)
    assert abs(found["1"] - 60) <= 2 and abs(found["2"] - 30) <= 2 and not found["3"]


def test_a_hash_of_the_path_stays_where_it_was(cluster, programs):
    cluster.up(site(programs, "balance hash header:X-Room;"))
    cluster.wait_up(3)
    homes = {}
    for room in range(30):
        found = answers(4, headers={"X-Room": f"room-{room}"})
        assert len(found) == 1, f"room {room} is at {found}"
        homes[room] = next(iter(found))
    assert set(homes.values()) == {"1", "2", "3"}


def test_a_cookie_sticks(cluster, programs):
    cluster.up(site(programs, "balance sticky cookie:room;"))
    cluster.wait_up(3)
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    connection.request("GET", "/whoami")
    answer = connection.getresponse()
    first = answer.read().decode().split()[0]
    cookie = answer.getheader("Set-Cookie")
    assert cookie.startswith("room=") and "HttpOnly" in cookie
    again = answers(20, headers={"Cookie": "a=b; " + cookie.split(";")[0]})
    assert again == {first: 20}
    # The instance dies: another takes over, and the client is served.
    os.kill(cluster.pid(int(first)), signal.SIGKILL)
    assert sum(answers(3, headers={"Cookie": cookie.split(";")[0]}).values()) == 3


def test_the_death_of_one_of_several_is_not_seen(cluster, programs):
    cluster.up(site(programs, instances=3))
    cluster.wait_up(3)
    with Load(PORT, workers=4) as load:
        load.wait_more(50)
        for number in (1, 2, 3):
            pid = cluster.pid(number)
            os.kill(pid, signal.SIGKILL)
            cluster.wait_restarted(number, pid)
            load.wait_more(30)
    assert load.refused == 0
    assert not load.failed, load.failed[:3]  # GET is tried again elsewhere


def test_requests_are_held_while_the_only_instance_restarts(cluster, programs):
    cluster.up(site(programs, instances=1, environment="START_DELAY=0.3"))
    cluster.wait_up(1)
    with Load(PORT, workers=4) as load:
        load.wait_more(20)
        for _ in range(3):
            pid = cluster.pid(1)
            os.kill(pid, signal.SIGKILL)
            cluster.wait_restarted(1, pid)
            load.wait_more(20)
    assert load.refused == 0
    assert not load.failed, load.failed[:3]
    assert load.slowest > 0.25, "nobody waited for the restart"


def test_a_rolling_restart_is_not_seen(cluster, programs):
    cluster.up(site(programs, instances=2))
    cluster.wait_up(2)
    with Load(PORT, workers=4) as load:
        load.wait_more(30)
        cluster.command("restart", "web", timeout=60)
        load.wait_more(30)
    assert load.refused == 0 and not load.failed, load.failed[:3]


def test_nobody_is_waited_for_when_nobody_comes(cluster, programs):
    """A service that failed for good is told about at once, not after the time of holding."""
    cluster.up(f"""
        service web {{ shell "exit 3"; restart never; }}
        listen {PORT} http {{ route / -> web; }}""")
    cluster.wait(lambda: not clients.refused(PORT), 5, "the gateway")
    started = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
    connection.request("GET", "/")
    assert connection.getresponse().status == 503
    assert time.monotonic() - started < 3


def test_a_check_decides_who_serves(cluster, programs):
    """/healthz of an instance tells 200 or 503 by a file; the other instances go on."""
    flag = cluster.folder("flags")
    cluster.up(site(programs, "check http /healthz every=100ms timeout=500ms rise=2 fall=2;",
                    environment=f"HEALTH_FILE={flag}/$instance"))
    cluster.wait_up(3)
    (flag / "2").write_text("ill")
    cluster.wait(lambda: cluster.instances()[2]["healthy"] is False, 5, "instance 2 to be ill")
    assert "503" in (cluster.instances()[2]["reason"] or "")
    assert set(answers(30)) == {"1", "3"}
    (flag / "2").unlink()
    cluster.wait(lambda: cluster.instances()[2]["healthy"], 5, "instance 2 to be well")
    assert set(answers(60)) == {"1", "2", "3"}


def test_capacity_is_kept_and_the_rest_waits(cluster, programs):
    cluster.up(site(programs, "capacity requests=1; hold requests=2 within=5s;", instances=1))
    cluster.wait_up(1)
    found = []

    def slow():
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=10)
        connection.request("GET", "/sleep?0.5")
        found.append(connection.getresponse().status)

    threads = [threading.Thread(target=slow) for _ in range(5)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    # One is served, two wait, the others find the queue full.
    assert sorted(found) == [200, 200, 200, 503, 503]


def test_an_ejected_endpoint_elsewhere_comes_back(cluster, programs):
    """Two servers that somebody else runs; one dies and returns. Nobody sees it."""
    import subprocess
    def start(port):
        return subprocess.Popen(["/usr/bin/python3", str(programs.path("web.py"))],
                                env={"PORT": str(port), "WHO": str(port), "PATH": os.environ["PATH"]})
    servers = {port: start(port) for port in (9001, 9002)}
    try:
        cluster.up(f"""
            service web {{ at 127.0.0.1:9001; at 127.0.0.1:9002; eject failures=2 for=300ms;
                           check http /whoami every=200ms; }}
            listen {PORT} http {{ route / -> web; }}""")
        cluster.wait(lambda: not clients.refused(PORT), 5, "the gateway")
        cluster.wait(lambda: set(answers(10)) == {"9001", "9002"}, 10, "both")
        with Load(PORT, workers=4) as load:
            load.wait_more(20)
            servers[9001].kill()
            servers[9001].wait()
            load.wait_more(60)
            servers[9001] = start(9001)
            cluster.wait(lambda: "9001" in answers(20), 10, "9001 to come back")
        assert load.refused == 0 and not load.failed, load.failed[:3]
    finally:
        for server in servers.values():
            server.kill()
            server.wait()
