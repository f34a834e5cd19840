"""`uses` gives the order: what is used starts first and stops last."""

import re

import pytest

from harness import clients

CONFIGURATION = """
    service web   {{ run {web}; env WHO=web PORT=8001; uses api; }}
    service api   {{ run {web}; env WHO=api PORT=8002 START_DELAY=0.5; uses cache db; }}
    service cache {{ run {web}; env WHO=cache PORT=8003; }}
    service db    {{ run {web}; env WHO=db PORT=8004 START_DELAY=0.5; }}"""


def up_since(cluster):
    return {name: cluster.instances(name)[1] for name in ("web", "api", "cache", "db")}


@pytest.mark.both_accounts
def test_start_and_stop(cluster, programs):
    cluster.up(CONFIGURATION.format(web=programs.python("web")))

    # While the database starts, nothing that uses it does.
    def waiting():
        states = {name: one["state"] for name, one in up_since(cluster).items()}
        assert states["db"] == "starting", states
        return states
    states = cluster.wait(waiting, 5, "the database to start")
    assert states["api"] == states["web"] == "idle"

    for name in ("db", "cache", "api", "web"):
        cluster.wait_up(1, name)
    assert clients.who(8001) == "web"

    before = up_since(cluster)
    started = {name: start_ticks(one["pid"]) for name, one in before.items()}
    assert started["db"] < started["api"] < started["web"]
    assert started["cache"] < started["api"]

    cluster.down()
    ends = re.findall(r"instance-ended instance=(\w+)\.1 ", cluster.output)
    assert sorted(ends) == ["api", "cache", "db", "web"]
    assert ends.index("web") < ends.index("api") < min(ends.index("cache"), ends.index("db"))


def start_ticks(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[19])


def test_the_used_one_outlives_its_user(cluster, programs):
    # The front end takes a while to stop, and needs its back end until the end.
    front = cluster.file("front.py", """
import signal, socket, sys, time, urllib.request
def stop(*_):
    time.sleep(0.7)
    body = urllib.request.urlopen("http://127.0.0.1:8000/whoami", timeout=3).read()
    print("the last answer was", body.decode().strip(), flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
server = socket.create_server(("127.0.0.1", 8200))
while True:
    signal.pause()
""")
    cluster.up(f"""
        service front {{ run /usr/bin/python3 -u {front}; uses back; stop SIGTERM within=5s; }}
        service back  {{ run {programs.python("web")}; env WHO=back; }}""")
    cluster.wait_up(1, "front")
    cluster.down()
    assert "the last answer was back" in cluster.output
