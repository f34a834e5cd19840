"""Where outgoing connections of an instance lead: its own port to itself, what it `uses` to that
service's home."""

import pytest

from harness import clients

pytestmark = pytest.mark.both_accounts


def test_to_what_it_uses(cluster, programs):
    # Two services believe in port 8000; each front end reaches the one that it uses.
    cluster.up(f"""
        service one {{ run {programs.python("web")}; env WHO=one; instances 2; }}
        service two {{ run {programs.python("web")}; env WHO=two; instances 2; }}
        service left  {{ run {programs.python("web")}; env WHO=left  PORT=8201; uses one; }}
        service right {{ run {programs.python("web")}; env WHO=right PORT=8202; uses two; }}""")
    for name, count in (("one", 2), ("two", 2), ("left", 1), ("right", 1)):
        cluster.wait_up(count, name)
    for _ in range(6):
        assert clients.ask(8201, path="/fetch?127.0.0.1:8000").split()[0] == "one"
        assert clients.ask(8202, path="/fetch?127.0.0.1:8000").split()[0] == "two"
        assert clients.ask(8202, path="/fetch?localhost:8000").split()[0] == "two"


def test_its_own_port_is_itself(cluster, programs):
    cluster.up(f"""
        service web {{ run {programs.python("connector")}; env WHO=$instance; instances 3; }}""")
    cluster.wait_up(3)
    met = set()
    for _ in range(24):
        first, second = clients.ask(8088, path="/self").splitlines()
        assert first == second
        met.add(first.split()[0])
    assert met == {"1", "2", "3"}
